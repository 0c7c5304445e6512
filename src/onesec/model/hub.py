"""From a model's name to its folder: a path, the shipped model, or one from the Hugging Face Hub.

It must not know what the files hold. Names come from the person who starts the program, never from
a request; even so only names of a plain form are looked up, and only data files are fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from onesec.core.errors import ModelNotFound, UnsupportedModel

from .folder import only_gguf

SHIPPED = "onesec-mini"
# Data only. Weights in pickles (*.bin, *.pt) and code (*.py) never leave the Hub.
ALLOWED_FILES = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "NOTICE.md",
)
# Second copies of the same weights, in other layouts.
SKIPPED_FILES = ("*/*.safetensors", "consolidated*.safetensors")
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_NAME = re.compile(rf"{_PART}/{_PART}", re.ASCII)
# What went wrong, by the name of the Hub's exception class: importing the classes would cost
# every start the library's import.
_REASONS = {
    "GatedRepoError": (
        "its owner asks for an agreement",
        "Accept it on the model's page and set HF_TOKEN.",
    ),
    "RepositoryNotFoundError": (
        "the Hub has no such model, or it is private",
        "Check the spelling; for private models set HF_TOKEN.",
    ),
    "LocalEntryNotFoundError": (
        "it is not in the local cache and the Hub cannot be reached",
        "Connect once to fetch it (HF_HUB_OFFLINE must not be set), or pass a local folder.",
    ),
    "OfflineModeIsEnabled": (
        "offline mode is on and it is not in the local cache",
        "Unset HF_HUB_OFFLINE once to fetch it, or pass a local folder.",
    ),
}

Download = Callable[..., str]


def resolve_model(
    name: str, *, assets: Path | None = None, download: Download | None = None
) -> Path:
    """The folder or .gguf file that `name` means.

    name       `onesec-mini`; a path to a folder with a config.json or exactly one .gguf file, or to
               a .gguf file; or `user/model` on the Hugging Face Hub (fetched into its cache, all
               files from one commit; HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are
               honoured). A folder that exists is never looked up on the Hub.
    assets     the folder of shipped models
    download   stands in for huggingface_hub.snapshot_download

    Raises ModelNotFound with the next step to try; UnsupportedModel for a Hub model without
    safetensors, and for a folder of several .gguf files.

    >>> resolve_model("./my-model")                                         # doctest: +SKIP
    PosixPath('my-model')
    """
    if name == SHIPPED:
        return _shipped(assets)
    if (path := _local(name)) is not None:
        return path
    if not is_hub_name(name):
        raise ModelNotFound(
            f"{_shown(name)} is no folder, no .gguf file and no name of the form user/model.",
            hint=f"Check the path, or use {SHIPPED}.",
        )
    return _from_hub(name, download)


def is_hub_name(name: str) -> bool:
    """Whether a name has the plain form user/model: ASCII letters, digits, and . _ - inside.

    >>> is_hub_name("Qwen/Qwen2.5-0.5B"), is_hub_name("../etc")
    (True, False)
    """
    return _HUB_NAME.fullmatch(name) is not None and ".." not in name and "--" not in name


def _shipped(assets: Path | None) -> Path:
    folder = None if assets is None else assets / SHIPPED
    if folder is None or not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"The shipped model {SHIPPED} is not part of this installation.",
            hint="Install the released package, or pass the path of a model.",
        )
    return folder


def _local(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        if not path.is_dir():
            return path if path.suffix.lower() == ".gguf" and path.is_file() else None
        if (path / "config.json").is_file():
            return path
        found = only_gguf(path)
    except (OSError, ValueError, RuntimeError):  # NUL, too long, surrogates, an unknown ~user
        return None
    if found is None:
        hub = " If the model on the Hub is meant, start elsewhere." if is_hub_name(name) else ""
        raise ModelNotFound(
            f"The folder {_shown(name)} holds no config.json and no .gguf file.",
            hint=f"Name the folder that holds a model's files, or use {SHIPPED}.{hub}",
        )
    return found


def _from_hub(name: str, download: Download | None) -> Path:
    try:
        fetch = download or _hub_download()
        patterns = {"allow_patterns": list(ALLOWED_FILES), "ignore_patterns": list(SKIPPED_FILES)}
        folder = Path(fetch(repo_id=name, **patterns))
    except Exception as caught:  # the Hub's library raises its own, requests' and the system's
        why, hint = _REASONS.get(
            type(caught).__name__,
            (
                f"fetching it failed ({type(caught).__name__})",
                "Check the connection and the free disk space, or pass a local folder.",
            ),
        )
        raise ModelNotFound(f"{name}: {why}.", hint=hint) from caught
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"{name} has no config.json, so it is no Hugging Face checkpoint.",
            hint="Choose a repository with safetensors. GGUF files are not fetched: download one, "
            "and pass its path.",
        )
    if not any(folder.glob("*.safetensors")):
        raise UnsupportedModel(
            f"{name} has no .safetensors weights; other formats are not fetched.",
            hint="Choose a repository that offers safetensors, or a local .gguf file.",
        )
    return folder


def _hub_download() -> Download:
    from huggingface_hub import snapshot_download  # slow to import, rarely needed

    return snapshot_download


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 100 else name[:100] + "...")
