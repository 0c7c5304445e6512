"""resolve_model: what a name means, what is fetched, and that hostile names go nowhere."""

from __future__ import annotations

import random
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from onesec.core.errors import ModelNotFound, OneSecError, UnsupportedModel
from onesec.model.hub import is_hub_name, resolve_model


def no_download(**_: Any) -> str:
    raise AssertionError("nothing may be fetched")


def model_folder(folder: Path, *, weights: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if weights:
        (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_paths_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "user" / "model")
    assert resolve_model(str(folder), download=no_download) == folder
    (tmp_path / "a.gguf").write_bytes(b"")
    assert resolve_model(str(tmp_path / "a.gguf"), download=no_download) == tmp_path / "a.gguf"
    monkeypatch.chdir(tmp_path)
    assert resolve_model("user/model", download=no_download) == Path("user/model")


def test_a_folder_that_is_there_is_never_a_name_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("user") / "model"
    folder.mkdir(parents=True)
    with pytest.raises(ModelNotFound, match=r"no \.gguf file.*on the Hub is meant"):
        resolve_model("user/model", download=no_download)
    (folder / "a.gguf").write_bytes(b"")
    assert resolve_model("user/model", download=no_download) == folder / "a.gguf"
    (folder / "b.gguf").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"holds 2 GGUF files.* Name one"):
        resolve_model("user/model", download=no_download)
    (folder / "config.json").write_text("{}")
    assert resolve_model("user/model", download=no_download) == folder


def test_shipped_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "onesec-mini")
    assert resolve_model("onesec-mini", assets=tmp_path, download=no_download) == folder
    for assets in (None, tmp_path / "none"):
        with pytest.raises(ModelNotFound, match="not part of this installation"):
            resolve_model("onesec-mini", assets=assets, download=no_download)


def test_hub_model_is_fetched_by_the_allow_list(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def download(**options: Any) -> str:
        asked.append(options)
        return str(model_folder(tmp_path / "snapshot"))

    assert resolve_model("some-user/some.model_1", download=download) == tmp_path / "snapshot"
    (options,) = asked
    assert options["repo_id"] == "some-user/some.model_1"

    def fetched(name: str) -> bool:
        allowed = any(fnmatch(name, pattern) for pattern in options["allow_patterns"])
        return allowed and not any(fnmatch(name, p) for p in options["ignore_patterns"])

    data = ["model-00001-of-00002.safetensors", "config.json", "chat_template.jinja"]
    data += ["additional_chat_templates/tool_use.jinja", "LICENSE", "NOTICE"]
    code = ["x.bin", "x.pt", "x.py", "x.pkl", "x.pth", "x.ckpt", "x.so", "LICENSE.py", "a/b.py"]
    copies = ["original/model.safetensors", "consolidated.safetensors"]
    assert all(fetched(name) for name in data)
    assert not any(fetched(name) for name in code + copies)


def test_hub_model_without_what_is_needed(tmp_path: Path) -> None:
    bare = model_folder(tmp_path / "bare", weights=False)
    with pytest.raises(UnsupportedModel, match="safetensors"):
        resolve_model("user/model", download=lambda **_: str(bare))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"no config\.json.*GGUF files are not fetched"):
        resolve_model("user/model", download=lambda **_: str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RepositoryNotFoundError", "no such model"),
        ("GatedRepoError", "HF_TOKEN"),
        ("LocalEntryNotFoundError", "HF_HUB_OFFLINE"),
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE"),
        ("ConnectionError", "ConnectionError"),
    ],
)
def test_every_failure_names_the_next_step(name: str, says: str) -> None:
    def download(**_: Any) -> str:
        raise type(name, (Exception,), {})("secret detail of the transport")

    with pytest.raises(ModelNotFound, match=says) as caught:
        resolve_model("user/model", download=download)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


def test_the_names_of_the_hubs_errors_exist() -> None:
    from huggingface_hub import errors

    from onesec.model.hub import _REASONS

    assert all(hasattr(errors, name) for name in _REASONS)


def hostile_names() -> list[str]:
    rng = random.Random(0)
    seeds = [
        "..",
        "../..",
        "../../etc/passwd",
        "/etc/passwd",
        "/",
        ".",
        "",
        " ",
        "a",
        "a/",
        "/a",
        "a/b/c",
        "user/..",
        "../model",
        "user/../model",
        "user/./model",
        "user//model",
        "user\\model",
        "..\\..\\x",
        "user/model\0",
        "\0",
        "user/mo\0del",
        "user/model\n",
        "user/model ",
        " user/model",
        "user/-model",
        "-user/model",
        ".user/model",
        "user/.model",
        "user/model.",
        "user/model-",
        "user/a--b",
        "us--er/model",
        "user/a..b",
        "user/model@main",
        "user/model?x=1",
        "user/model#x",
        "user/model%2e%2e",
        "%2e%2e/model",
        "https://example.com/a",
        "file:///etc",
        "~root/model",
        "~",
        "uşer/model",
        "user/mödel",
        "user/模型",
        "ｕｓｅｒ/model",
        "user／model",
        "user∕model",
        "user/model\u202e",
        "user\u200b/model",
        "user/\ufeffmodel",
        "user/model\ud800",
        "CON/NUL",
        "user/model.gguf/..",
        "$HOME/model",
        "`id`/model",
        "user/model;id",
        "user/model|id",
        "x" * 97 + "/model",
        "user/" + "x" * 97,
        "x" * 100_000,
        "a/" * 5000,
        "user/model\x7f",
    ]
    bad = "\0\n\r\t\\%@?#:;|&$~\u202e\u200b／∕é模 \ud800*<>\"'"
    while len(seeds) < 1000:
        name = list(rng.choice(["user/model", "Qwen/Qwen2.5-0.5B", "a/b"]))
        for _ in range(rng.randint(1, 3)):
            name.insert(rng.randint(0, len(name)), rng.choice(bad))
        seeds.append("".join(name))
    return seeds


def test_a_thousand_hostile_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [name for name in hostile_names() if name != "CON/NUL"]  # an ordinary name elsewhere
    assert len(names) >= 999
    for name in names:
        with pytest.raises(OneSecError) as caught:
            resolve_model(name, assets=tmp_path, download=no_download)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", ["a/b", "Qwen/Qwen2.5-0.5B", "user_1/model-v1.0_x", "01-ai/Yi-6B"])
def test_plain_names(name: str) -> None:
    assert is_hub_name(name)
