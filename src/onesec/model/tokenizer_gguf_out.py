"""A tokenizer as the keys `tokenizer.*` of a GGUF file: what tokenizer_gguf reads, the other way.

Byte-level BPE is written as kind "gpt2" with its merges, SentencePiece-like BPE with byte fallback
as kind "llama" with scores in the order of its merges. How a text is cut before merging is written
by name; where the name does not say all, the whole tokenizer.json goes along, so that readers of
that key (this one too) cut as the model was trained.
It must not know files or weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

from onesec.core.errors import UnsupportedModel

from .detokenize import parse_part
from .gguf_cursor import MAX_STRING_BYTES
from .tokenizer_folder import TokenizerFiles
from .tokenizer_gguf import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WHOLE,
    cut_as,
    ignores_merges,
)

_CUTS = ("gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2")
_GREEDY = ("lstrip", "rstrip", "single_word")  # flags of added tokens that GGUF has no form for
_NAMED = {"bos_token": "bos", "unk_token": "unknown", "pad_token": "padding"}
_END_KEYS = ("eos", "eot", "eom")
_HINT = "Export to compressed-tensors, which keeps tokenizer.json."


def tokenizer_keys(files: TokenizerFiles, rows: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The metadata of a tokenizer whose model's embedding has `rows` rows; and what is lost.

    Raises UnsupportedModel for tokenizers that are neither kind, or have more tokens than rows.
    """
    spec = json.loads(files.tokenizer_json)
    model = spec.get("model") or {}
    if model.get("type") != "BPE":
        raise UnsupportedModel(
            f"A tokenizer of the kind {str(model.get('type'))[:20]} has no form in GGUF.",
            hint=_HINT,
        )
    byte_level = "ByteLevel" in json.dumps(spec.get("decoder"))
    added = {token["content"]: token for token in spec.get("added_tokens") or []}
    ids = {**model["vocab"], **{text: token["id"] for text, token in added.items()}}
    if ids and max(ids.values()) >= rows:
        raise UnsupportedModel(
            f"The tokenizer has a token {max(ids.values())}; the embedding has {rows} rows, and "
            "GGUF needs one for each token.",
            hint=_HINT,
        )
    tokens, types = _tokens(ids, added, model.get("unk_token"), rows, byte_level=byte_level)
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2" if byte_level else "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(types, "<i4"),
    }
    cut = _cut_of(spec) if byte_level else None
    if byte_level:
        keys["tokenizer.ggml.pre"] = cut or "default"
        keys["tokenizer.ggml.merges"] = [" ".join(pair) for pair in merges]
    else:
        keys["tokenizer.ggml.pre"] = "default"
        keys["tokenizer.ggml.scores"] = _scores(tokens, merges)
        keys["tokenizer.ggml.add_space_prefix"] = _adds_space(spec)
    keys |= _ends_and_templates(files, ids)
    more = files.eos_ids[len(_END_KEYS) :]
    ends = ", ".join(map(str, more))
    lost = (f"Not in this file: its end tokens {ends}; GGUF names three",) if more else ()
    ways = _unnamed_ways(spec, added, byte_level=byte_level)
    if byte_level and cut is None:
        ways.insert(0, "cutting texts")
    if byte_level and not ways:
        return keys, lost
    fits = len(files.tokenizer_json) <= MAX_STRING_BYTES
    if fits:
        keys[WHOLE] = files.tokenizer_json.decode()
    if not ways:
        return keys, lost
    if byte_level and not fits:
        raise UnsupportedModel(
            "GGUF has no name for how this tokenizer cuts texts, and its tokenizer.json has "
            f"{len(files.tokenizer_json)} bytes; {MAX_STRING_BYTES} would fit.",
            hint=_HINT,
        )
    way = " and of ".join(ways)
    if fits:
        kept = f"Kept for OneSec only: its way of {way}, which other engines may not know"
        return keys, (kept, *lost)
    return keys, (f"Not in this file: its way of {way}", *lost)


def _unnamed_ways(
    spec: Mapping[str, Any], added: Mapping[str, Mapping[str, Any]], *, byte_level: bool
) -> list[str]:
    """What of a tokenizer's treatment of texts beside its added tokens no key of GGUF says."""
    ways = []
    if any(token.get(flag) for token in added.values() for flag in _GREEDY):
        ways.append("taking blanks beside added tokens along")
    if byte_level:
        return ways
    if spec.get("normalizer") and any(token.get("normalized") for token in added.values()):
        ways.append("looking for added tokens in texts that are normalized already")
    if '"prepend_scheme": "first"' in json.dumps(spec.get("pre_tokenizer")):
        ways.append("beginning no text behind an added token with a space")
    return ways


def _tokens(
    ids: Mapping[str, int],
    added: Mapping[str, Mapping[str, Any]],
    unknown: str | None,
    rows: int,
    *,
    byte_level: bool,
) -> tuple[list[str], list[int]]:
    """A text and a type a row; rows without a token get a text that no text contains."""
    tokens, types = [f"[PAD{i}]" for i in range(rows)], [UNUSED] * rows
    for text, at in ids.items():
        tokens[at] = text
        special = added.get(text, {}).get("special")
        if text == unknown:
            types[at] = UNKNOWN
        elif not byte_level and len(text) == 6 and text.startswith("<0x"):
            types[at] = BYTE
        elif text in added:
            types[at] = CONTROL if special else USER_DEFINED
        else:
            types[at] = NORMAL
    return tokens, types


def _cut_of(spec: Mapping[str, Any]) -> str | None:
    """The name in tokenizer.ggml.pre that stands for this normalizer, pre-tokenizer and way of
    merging, if any."""
    whole_pieces = bool(spec["model"].get("ignore_merges"))
    for name in _CUTS:
        if ignores_merges(name) is not whole_pieces:
            continue
        library = Tokenizer(models.BPE())
        cut_as(library, name)
        parts = [parse_part(part) for part in (library.normalizer, library.pre_tokenizer)]
        if parts == [spec.get("normalizer"), spec.get("pre_tokenizer")]:
            return name
    return None


def _scores(tokens: list[str], merges: list[tuple[str, ...]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Less one for each merge before that which makes a token; least for tokens that none makes."""
    made = {"".join(pair): -float(i) for i, pair in reversed(list(enumerate(merges)))}
    return np.array([made.get(token, -float(len(merges))) for token in tokens], "<f4")


def _adds_space(spec: Mapping[str, Any]) -> bool:
    """Whether a text is begun with a space."""
    text = json.dumps([spec.get("normalizer"), spec.get("pre_tokenizer")], ensure_ascii=False)
    metaspace = '"Metaspace"' in text and '"prepend_scheme": "never"' not in text
    return metaspace or f'"Prepend", "prepend": "{SPACE}"' in text


def _ends_and_templates(files: TokenizerFiles, ids: Mapping[str, int]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, key in _NAMED.items():
        text = files.special_tokens.get(name)
        if text is not None and text in ids:
            keys[f"tokenizer.ggml.{key}_token_id"] = ids[text]
    for key, end in zip(_END_KEYS, files.eos_ids, strict=False):
        keys[f"tokenizer.ggml.{key}_token_id"] = end
    start = keys.get("tokenizer.ggml.bos_token_id")
    if start is None or files.add_bos is not None:
        keys["tokenizer.ggml.add_bos_token"] = bool(files.add_bos)
    else:
        begun = Tokenizer.from_buffer(files.tokenizer_json).encode("").ids
        keys["tokenizer.ggml.add_bos_token"] = begun[:1] == [start]
    for name, source in files.chat_templates.items():
        suffix = "" if name == "default" else f".{name}"
        keys[f"tokenizer.chat_template{suffix}"] = source
    return keys
