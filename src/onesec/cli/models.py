"""`onesec models`: the models at hand: the shipped one, and what the Hugging Face cache holds.

Looks at folders and headers only; nothing is fetched and no weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from .options import json_option
from .output import emit_json, megabytes, note, table


@dataclass(frozen=True, slots=True)
class Found:
    """A model that can be named on the command line."""

    name: str
    kind: str  # "shipped", "cache"
    architecture: str
    context_length: int
    size_bytes: int
    path: str


def _describe(name: str, kind: str, path: Path) -> Found | None:
    """None where it is no model that this version runs."""
    from onesec.core.errors import ModelError
    from onesec.loading import open_source

    try:
        with open_source(path) as source:
            config = source.config
            size = source.nbytes
    except ModelError:
        return None
    return Found(name, kind, config.architecture, config.max_context, size, str(path))


def _candidates() -> Iterator[tuple[str, str, Path]]:
    from onesec.core.errors import ModelNotFound
    from onesec.loading import find_model
    from onesec.model.hub import SHIPPED

    with suppress(ModelNotFound):
        yield SHIPPED, "shipped", find_model(SHIPPED)
    from huggingface_hub import constants

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        snapshots = sorted(folder.glob("snapshots/*/"), key=lambda path: path.stat().st_mtime)
        if snapshots:
            owner_and_name = folder.name.removeprefix("models--").replace("--", "/", 1)
            yield owner_and_name, "cache", snapshots[-1]


@click.command("models")
@json_option
def command(as_json: bool) -> None:
    """List the models at hand that this version runs. 可用模型"""
    found = [model for one in _candidates() if (model := _describe(*one)) is not None]
    if as_json:
        emit_json({"models": [asdict(model) for model in found]})
        return
    if not found:
        note("No model at hand. Name a folder, a .gguf file, or owner/name on Hugging Face.")
        return
    rows = [
        (m.name, m.kind, m.architecture, str(m.context_length), megabytes(m.size_bytes))
        for m in found
    ]
    table("", ("model", "from", "architecture", "context", "size"), rows)
