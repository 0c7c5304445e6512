"""What a Hugging Face folder says about its tokenizer: the small files around it, read and written.

It must not know the tokenizer library, nor what chat templates mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onesec.core.errors import CorruptFile, ModelNotFound

from .folder import resolve_inside
from .jsonfile import read_json
from .tensor import read_small

MAX_TOKENIZER_BYTES = 64 << 20  # tokenizer.json; a vocabulary of 262k tokens takes 33 MB
MAX_CONFIG_BYTES = 4 << 20  # tokenizer_config.json may list a thousand added tokens
MAX_TEMPLATE_BYTES = 1 << 20
SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """`tokenizer_json` as it lies on disk; `add_bos` None where that file is to say it."""

    path: Path
    tokenizer_json: bytes
    special_tokens: dict[str, str]
    eos_ids: tuple[int, ...]
    add_bos: bool | None
    chat_templates: dict[str, str]


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Read tokenizer.json and, where they exist, tokenizer_config.json, special_tokens_map.json,
    generation_config.json, chat_template.jinja and additional_chat_templates/*.jinja.

    Raises ModelNotFound without a tokenizer.json, CorruptFile for files that are not what they say.
    """
    file = resolve_inside(folder, "tokenizer.json")
    if not file.is_file():
        raise ModelNotFound(
            f"{folder} has no tokenizer.json.",
            hint="Fetch the model again, or convert its tokenizer to tokenizer.json.",
        )
    config = _read_if_there(folder, "tokenizer_config.json")
    names = {**_read_if_there(folder, "special_tokens_map.json"), **config}
    texts = {name: _content(names.get(name)) for name in SPECIAL_NAMES}
    add_bos = config.get("add_bos_token")
    end = _read_if_there(folder, "generation_config.json").get("eos_token_id")
    ends = end if isinstance(end, list) else [end]
    return TokenizerFiles(
        path=file,
        tokenizer_json=read_small(file, MAX_TOKENIZER_BYTES),
        special_tokens={name: text for name, text in texts.items() if text},
        eos_ids=tuple(i for i in ends if isinstance(i, int) and not isinstance(i, bool) and i >= 0),
        add_bos=add_bos if isinstance(add_bos, bool) else None,
        chat_templates=_templates(folder, config.get("chat_template")),
    )


def write_tokenizer_files(folder: Path, files: TokenizerFiles) -> None:
    """Write the files from which `read_tokenizer_files` reads these values again. Raises OSError
    where the disk refuses.

    >>> write_tokenizer_files(Path("out"), files)  # doctest: +SKIP
    """
    for name, content in tokenizer_contents(files).items():
        (folder / name).write_bytes(content)


def tokenizer_contents(files: TokenizerFiles) -> dict[str, bytes]:
    """tokenizer.json, tokenizer_config.json and, where there are end tokens, generation_config.json
    by their names."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # how transformers opens a tokenizer.json
        "clean_up_tokenization_spaces": False,
        **files.special_tokens,
    }
    if files.add_bos is not None:
        config["add_bos_token"] = files.add_bos
    if files.chat_templates.keys() == {"default"}:
        config["chat_template"] = files.chat_templates["default"]
    elif files.chat_templates:
        config["chat_template"] = [
            {"name": name, "template": text} for name, text in files.chat_templates.items()
        ]
    contents = {
        "tokenizer.json": files.tokenizer_json,
        "tokenizer_config.json": _json_bytes(config),
    }
    if files.eos_ids:
        contents["generation_config.json"] = _json_bytes({"eos_token_id": list(files.eos_ids)})
    return contents


def _json_bytes(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


def _templates(folder: Path, configured: Any) -> dict[str, str]:
    templates: dict[str, str] = {}
    if isinstance(configured, str):
        templates["default"] = configured
    elif isinstance(configured, list):
        for entry in configured:
            if isinstance(entry, dict) and isinstance(entry.get("template"), str):
                templates[str(entry.get("name"))] = entry["template"]
    for file in sorted(folder.glob("additional_chat_templates/*.jinja")):
        inside = resolve_inside(folder, f"{file.parent.name}/{file.name}")
        templates[file.stem] = _read_text(inside, MAX_TEMPLATE_BYTES)
    if (file := resolve_inside(folder, "chat_template.jinja")).is_file():
        templates["default"] = _read_text(file, MAX_TEMPLATE_BYTES)
    return templates


def _read_if_there(folder: Path, name: str) -> Mapping[str, Any]:
    path = resolve_inside(folder, name)
    return read_json(path, max_bytes=MAX_CONFIG_BYTES) if path.is_file() else {}


def _read_text(path: Path, max_bytes: int) -> str:
    try:
        return read_small(path, max_bytes).decode("utf-8")
    except UnicodeDecodeError as caught:
        raise CorruptFile(path, f"not UTF-8 at byte {caught.start}") from None


def _content(value: Any) -> str | None:
    if isinstance(value, dict):  # {"content": "<s>", "lstrip": false, ...}
        value = value.get("content")
    return value if isinstance(value, str) else None
