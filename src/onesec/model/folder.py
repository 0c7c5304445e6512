"""A model's folder: the files in it and none outside, and what generation_config.json recommends.

It must not know weights. Never follows a link out of the folder (but into the blobs of the hub's
own cache).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from onesec.core.errors import CorruptFile

from .jsonfile import Fields, read_json

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


def resolve_inside(folder: Path, name: str) -> Path:
    """folder/name with links followed. Raises CorruptFile if the name or a link leaves the folder.

    Links into `blobs` are followed where the folder is a snapshot in the hub's cache
    (models--owner--name/snapshots/<commit>).
    """
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise CorruptFile(folder, f"{name[:80]!r} is not a file name that is read")
    try:
        root, real = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError):
        raise CorruptFile(folder, f"{name!r} is a link in a circle") from None
    roots = [root]
    if root.parent.name == "snapshots":
        roots.append(root.parent.parent / "blobs")
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise CorruptFile(
            folder, f"{name!r} links out of the folder", hint="Copy the file into the folder."
        )
    return real


def generation_defaults_of(folder: Path, vocab_size: int) -> dict[str, Any]:
    """What generation_config.json recommends: `eos_ids`, and values under SamplingParams' names.

    As in transformers, temperature, top_p, top_k and min_p count only where `do_sample` is true,
    and there the temperature is 1 where none is given; without it the model is greedy.
    `max_new_tokens` (as max_tokens) and `repetition_penalty` count in any case.
    """
    if not (folder / "generation_config.json").exists():
        return {}
    path = resolve_inside(folder, "generation_config.json")
    fields = Fields(path, read_json(path))
    defaults: dict[str, Any] = {}
    eos_ids = fields.ids("eos_token_id", below=vocab_size)
    if eos_ids:
        defaults["eos_ids"] = eos_ids
    if fields.flag("do_sample", False):
        defaults["temperature"] = fields.number("temperature", 1.0, low=0.0, high=100.0)
        if fields.has("top_p"):
            defaults["top_p"] = fields.number("top_p", low=1e-6, high=1.0)
        if fields.has("min_p"):
            defaults["min_p"] = fields.number("min_p", low=0.0, high=1.0)
        if fields.has("top_k"):
            defaults["top_k"] = fields.integer("top_k", low=0, high=2**31 - 1)
    if fields.has("repetition_penalty"):
        defaults["repetition_penalty"] = fields.number("repetition_penalty", low=1e-2, high=100.0)
    if fields.has("max_new_tokens"):
        defaults["max_tokens"] = fields.integer("max_new_tokens", low=1, high=2**31 - 1)
    return defaults
