"""A model's folder: the files in it and none outside, and what generation_config.json recommends.

It must not know weights. Never follows a link out of the folder (but into the blobs of the hub's
own cache).
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from onesec.core.errors import CorruptFile, UnsupportedModel

from .jsonfile import Fields, read_json

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")

_NAMES = {"max_new_tokens": "max_tokens"}  # in SamplingParams


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


def only_gguf(folder: Path) -> Path | None:
    """The one .gguf file of a folder without config.json; None where there is none, or a
    config.json. Raises UnsupportedModel where there are several."""
    ggufs = [] if (folder / "config.json").exists() else sorted(folder.glob("*.gguf"))
    if len(ggufs) > 1:
        raise UnsupportedModel(
            f"{folder} holds {len(ggufs)} GGUF files.", hint=f"Name one: {ggufs[0]}."
        )
    return ggufs[0] if ggufs else None


def generation_defaults_of(folder: Path, vocab_size: int) -> dict[str, Any]:
    """What generation_config.json recommends: `eos_ids`, and values under SamplingParams' names.

    As in transformers, temperature, top_p, top_k and min_p count only where `do_sample` is true,
    and there the temperature is 1 where none is given; without it the model is greedy.
    `max_new_tokens` (as max_tokens) and `repetition_penalty` count in any case. Advice that cannot
    be followed, such as a top_k of -1, is passed over.
    """
    if not (folder / "generation_config.json").exists():
        return {}
    path = resolve_inside(folder, "generation_config.json")
    fields = Fields(path, read_json(path))
    defaults: dict[str, Any] = {}
    eos_ids = fields.ids("eos_token_id", below=vocab_size)
    if eos_ids:
        defaults["eos_ids"] = eos_ids
    numbers = {"repetition_penalty": (1e-2, 100.0)}
    integers = {"max_new_tokens": (1, 2**31 - 1)}
    if fields.flag("do_sample", False):
        defaults["temperature"] = 1.0
        numbers |= {"temperature": (0.0, 100.0), "top_p": (1e-6, 1.0), "min_p": (0.0, 1.0)}
        integers |= {"top_k": (0, 2**31 - 1)}
    for key in filter(fields.has, (*numbers, *integers)):
        with suppress(CorruptFile):
            if key in numbers:
                low, high = numbers[key]
                defaults[key] = fields.number(key, low=low, high=high)
            else:
                least, most = integers[key]
                defaults[_NAMES.get(key, key)] = fields.integer(key, low=least, high=most)
    return defaults
