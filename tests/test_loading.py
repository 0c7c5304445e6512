import shutil
from pathlib import Path
from typing import Any

import pytest

from onesec import loading
from onesec.backend.cpu import CpuBackend
from onesec.budget.latency import GearCost, LatencyModel
from onesec.cli.main import main
from onesec.core.clock import MonotonicClock
from onesec.core.errors import InvalidRequest
from onesec.loading import find_model, latency_model, load_model
from onesec.model.config import ModelConfig
from onesec.model.gguf_writer import GGUFWriter
from onesec.model.partfolder import written_bytes


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    with load_model("onesec-mini", context=128, threads=1, sequences=3) as loaded:
        assert loaded.backend.num_blocks * loaded.backend.block_size == 3 * 128
        found: ModelConfig = loaded.backend.config  # type: ignore[union-attr]
        return found


@pytest.mark.parametrize(("free_bytes", "expected"), [(1 << 20, 2), (1 << 40, 64)])
def test_a_cache_of_no_set_size_has_bounds(
    monkeypatch: pytest.MonkeyPatch, config: ModelConfig, free_bytes: int, expected: int
) -> None:
    monkeypatch.setattr(loading, "free_memory_bytes", lambda: free_bytes)
    assert loading._sequences_at_hand(config, 128, "f16") == expected


def test_a_cache_of_no_set_size_holds_as_many_contexts_as_its_bytes_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "_CACHE_BYTES", 4 << 20)
    with load_model("onesec-mini", context=128, threads=1, sequences=None) as loaded:
        backend = loaded.backend
        held = backend.num_blocks * backend.kv_block_bytes  # type: ignore[union-attr]
        one = held * 128 // (backend.num_blocks * backend.block_size)
        assert 4 << 20 >= held > (4 << 20) - one


@pytest.mark.parametrize(
    ("options", "use"),
    [([], "kept"), (["--deadline", "5s"], "checked"), (["--tpot", "1s"], "checked")],
)
def test_only_answers_with_a_limit_wait_for_the_kept_profile_s_check(
    options: list[str],
    use: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["generate", "onesec-mini", "When do you open?", "--max-tokens", "4", *options]
    assert main(arguments) == 0  # measures and keeps a profile
    checks: list[object] = []
    monkeypatch.setattr(loading, "holds", lambda backend, kept: checks.append(kept) or True)
    monkeypatch.setattr(loading, "profile", lambda *_: pytest.fail("measured again"))
    assert main(arguments) == 0
    assert capsys.readouterr().out
    assert len(checks) == (1 if use == "checked" else 0)


def test_a_kept_profile_of_another_ladder_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    clock = MonotonicClock()
    costs = {"4": GearCost(b_ms=1.0, q_ms=1.0)}
    monkeypatch.setattr(loading, "profile", lambda *_: LatencyModel(costs))
    with load_model("onesec-mini", context=128, threads=1) as loaded:
        backend = loaded.backend
        assert isinstance(backend, CpuBackend)
        latency_model(backend, clock, "fresh")  # keeps one that lacks most gears
        costs |= {gear.name: costs["4"] for gear in backend.gears}
        assert set(latency_model(backend, clock, "kept").gears) == set(costs)


def test_an_artifact_that_is_saved_again_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    with load_model("onesec-mini", context=64, threads=1) as loaded:
        loaded.save(tmp_path / "again")
        for name in ("gears.json", "recipe.json", "confidence.json"):
            assert (tmp_path / "again" / name).read_bytes() == (loaded.path / name).read_bytes()
        gears = [gear.name for gear in loaded.backend.gears]
    with load_model(tmp_path / "again", context=64, threads=1) as again:
        assert [gear.name for gear in again.backend.gears] == gears


@pytest.mark.parametrize("gguf", [False, True])
def test_what_companions_take_is_known_before_they_are_written(gguf: bool, tmp_path: Path) -> None:
    path = find_model("onesec-mini")
    if gguf:
        path = tmp_path / "mini.gguf"
        assert main(["export", "onesec-mini", "-o", str(path)]) == 0
    else:
        path = shutil.copytree(path, tmp_path / "mini")
        (path / "NOTICE").symlink_to(path / "nowhere")
        (path / "LICENSE").write_text("mine")
    folder = tmp_path / "beside"
    folder.mkdir()
    with load_model(path, context=64, threads=1) as loaded:
        loaded.write_companions(folder)
        assert loaded.companion_bytes() == written_bytes(folder) > 0


def test_what_a_tokenizer_s_reader_guessed_is_told(tmp_path: Path) -> None:
    keys = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "magic",
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.merges": ["a b"],
    }
    with GGUFWriter(tmp_path / "m.gguf", keys, []):
        pass
    with pytest.warns(UserWarning, match=r"m\.gguf: The pre-tokenizer 'magic' is not known"):
        assert loading.open_tokenizer(tmp_path / "m.gguf").vocab_size == 3


@pytest.mark.parametrize("sequences", [1, None])
def test_a_cache_of_another_type_is_refused(sequences: int | None) -> None:
    kind: Any = "f8"
    with pytest.raises(InvalidRequest, match="kv_dtype is 'f8'"):
        load_model("onesec-mini", context=64, kv_dtype=kind, sequences=sequences)


@pytest.mark.parametrize("device", [None, 5])
def test_a_device_has_a_name(device: Any) -> None:
    with pytest.raises(InvalidRequest, match="There is no device"):
        load_model("onesec-mini", context=64, device=device)
