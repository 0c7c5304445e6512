"""A library tokenizer from the keys `tokenizer.*` of a GGUF file.

Two kinds are built: "gpt2" (byte-level BPE: tokens and merges) and "llama" (SentencePiece BPE:
tokens and scores, with byte fallback). How a byte-level text is cut before merging is not in the
file, only its name (`tokenizer.ggml.pre`); where the name is not known here, the text is cut as
Llama 3 does, with a warning.
It must not know files or how metadata was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from onesec.core.errors import CorruptFile, UnsupportedModel

MAX_TOKENS = 1 << 20
MAX_TOKEN_CHARS = 4096
# Of SentencePiece merges, which are found by cutting every token everywhere: how many there may be,
# and how many characters may be copied for it. 262k tokens of 7 characters copy 13 million.
MAX_MERGES, MAX_CUT_CHARS = 1 << 21, 1 << 28
WHOLE = "tokenizer.huggingface.json"  # a tokenizer.json in one string; it rules where it is there
SPACE = "▁"  # how SentencePiece writes a space
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # tokenizer.ggml.token_type

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"

# tokenizer.ggml.pre, by the way the text is cut
_PRE_GPT2 = frozenset({"default", "gpt-2", "gpt2", "phi-2", "mpt", "olmo", "roberta-bpe"})
_PRE_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
_PRE_LLAMA3 = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"})
_PRE_DBRX = frozenset({"dbrx", "smaug-bpe"})  # cut alike, but with merges alone and without a start
_PRE_QWEN2 = frozenset({"qwen2", "deepseek-r1-qwen", "stablelm2"})
# Control tokens that end an answer, where the file names fewer than its template uses.
_END_TEXTS = (
    *("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"),
    *("<|eom_id|>", "<|endoftext|>", "<|end_of_text|>"),
)


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """What the metadata gave; fields as in Tokenizer."""

    library: Tokenizer
    special_tokens: dict[str, str]
    eos_ids: tuple[int, ...]
    add_bos: bool
    chat_templates: dict[str, str]
    warnings: tuple[str, ...]


def library_from_gguf(metadata: Mapping[str, Any]) -> GgufTokenizer:
    """Build from metadata (values as plain Python or numpy lists and scalars).

    Raises CorruptFile for missing or contradicting keys, UnsupportedModel for other kinds.
    """
    whole = metadata.get(WHOLE)
    kind = metadata.get("tokenizer.ggml.model")
    tokens = _tokens(metadata)
    types = [
        # Some files call the tokens that end a turn plain ones, which users could type then.
        CONTROL if token in _END_TEXTS and int(kind_) in (NORMAL, USER_DEFINED) else int(kind_)
        for token, kind_ in zip(
            tokens, _list(metadata, "token_type", len(tokens), default=NORMAL), strict=True
        )
    ]
    pre = str(metadata.get("tokenizer.ggml.pre", "default"))
    warnings: tuple[str, ...] = ()
    if isinstance(whole, str):
        library = Tokenizer.from_str(whole)
        default_bos = kind == "llama" or pre in _PRE_LLAMA3
    elif kind == "gpt2":
        library, warnings = _byte_level(tokens, metadata, pre)
        default_bos = pre in _PRE_LLAMA3
    elif kind == "llama":
        library = _sentence_piece(tokens, types, metadata)
        default_bos = True
    else:
        raise UnsupportedModel(
            f"GGUF tokenizers of kind {kind!r} are not supported.",
            hint="Use the model's Hugging Face folder, or a file with a 'gpt2' or 'llama' one.",
        )
    if whole is None:
        _add_tokens(library, tokens, types)
    named = _named_ids(metadata, len(tokens))
    end_ids = [named[key] for key in ("eos", "eot", "eom") if key in named]
    if end_ids:
        end_ids += [
            id_
            for id_, (token, type_) in enumerate(zip(tokens, types, strict=True))
            if type_ == CONTROL and token in _END_TEXTS
        ]
    texts = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    return GgufTokenizer(
        library=library,
        special_tokens={name: tokens[named[key]] for key, name in texts.items() if key in named},
        eos_ids=tuple(dict.fromkeys(end_ids)),
        add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", default_bos)),
        chat_templates=_templates(metadata),
        warnings=warnings,
    )


def _add_tokens(library: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Tokens that are found in a text before it is cut: hidden ones, and others."""
    library.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, type_ in zip(tokens, types, strict=True)
            if type_ in (CONTROL, UNKNOWN)
        ]
    )
    library.add_tokens(
        [
            AddedToken(token, normalized=False)
            for token, type_ in zip(tokens, types, strict=True)
            if type_ == USER_DEFINED
        ]
    )


def _byte_level(
    tokens: list[str], metadata: Mapping[str, Any], pre: str
) -> tuple[Tokenizer, tuple[str, ...]]:
    ids = {token: id_ for id_, token in enumerate(tokens)}
    merges: list[tuple[str, str]] = []
    for line in metadata.get("tokenizer.ggml.merges", ()):
        left, space, right = str(line).partition(" ")
        if not space or left not in ids or right not in ids or left + right not in ids:
            raise _corrupt(f"merge {len(merges)} ({str(line)[:40]!r}) is not made of known tokens")
        merges.append((left, right))
    library = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=ignores_merges(pre)))
    library.decoder = decoders.ByteLevel()
    return library, cut_as(library, pre)


def ignores_merges(pre: str) -> bool:
    """Whether a piece of a text that is a token is not merged from its parts.

    >>> ignores_merges("llama-bpe"), ignores_merges("qwen2")
    (True, False)
    """
    return pre in _PRE_LLAMA3


def cut_as(library: Tokenizer, pre: str) -> tuple[str, ...]:
    """Have a byte-level tokenizer cut its texts as `tokenizer.ggml.pre` says; what was guessed.

    >>> cut_as(Tokenizer(models.BPE()), "qwen2")
    ()
    """
    warnings: tuple[str, ...] = ()
    if pre in _PRE_GPT2:
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif pre in _PRE_DIGITS:
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    else:
        if pre in _PRE_QWEN2:
            library.normalizer = normalizers.NFC()
        elif pre not in _PRE_LLAMA3 | _PRE_DBRX:
            warnings = (
                f"The pre-tokenizer {pre[:40]!r} is not known; text is cut as for Llama 3.",
            )
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN2 if pre in _PRE_QWEN2 else _LLAMA3), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    return warnings


def _sentence_piece(tokens: list[str], types: list[int], metadata: Mapping[str, Any]) -> Tokenizer:
    scores = [float(s) for s in _list(metadata, "scores", len(tokens))]
    ids = {token: id_ for id_, token in enumerate(tokens)}
    copied = sum(len(token) ** 2 for token in tokens)
    if copied > MAX_CUT_CHARS:
        raise _corrupt(f"cutting its tokens copies {copied} characters; limit {MAX_CUT_CHARS}")
    # SentencePiece joins the neighbours whose joined piece scores best; a BPE merge list in the
    # order of scores does the same. Ids break ties.
    ranked: list[tuple[float, int, int, tuple[str, str]]] = []
    for piece, type_, score in zip(tokens, types, scores, strict=True):
        if type_ not in (NORMAL, USER_DEFINED):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                ranked.append((-score, ids[left], ids[right], (left, right)))
        if len(ranked) > MAX_MERGES:
            raise _corrupt(f"its tokens are made of each other in more than {MAX_MERGES} ways")
    ranked.sort()
    unknown = next((t for t, type_ in zip(tokens, types, strict=True) if type_ == UNKNOWN), None)
    library = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=[pair for *_, pair in ranked],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=BYTE in types,
        )
    )
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    space = normalizers.Replace(" ", SPACE)
    library.normalizer = (
        normalizers.Sequence([normalizers.Prepend(SPACE), space]) if prefix else space
    )
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    library.decoder = decoders.Sequence(steps)
    return library


def _tokens(metadata: Mapping[str, Any]) -> list[str]:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if tokens is None or not 0 < len(tokens) <= MAX_TOKENS:
        count = 0 if tokens is None else len(tokens)
        raise _corrupt(f"{count} tokens; there must be 1 to {MAX_TOKENS}")
    listed = list(tokens)
    for id_, token in enumerate(listed):
        if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARS:
            raise _corrupt(f"token {id_} is no string of at most {MAX_TOKEN_CHARS} characters")
    if len(set(listed)) != len(listed):
        raise _corrupt(f"{len(listed) - len(set(listed))} tokens are listed twice")
    return listed


def _list(
    metadata: Mapping[str, Any], key: str, length: int, default: float | None = None
) -> Sequence[Any]:
    values = metadata.get(f"tokenizer.ggml.{key}")
    if values is None and default is not None:
        return [default] * length
    if values is None or len(values) != length:
        count = 0 if values is None else len(values)
        raise _corrupt(f"{length} tokens, but {count} entries in {key}")
    listed: Sequence[Any] = values
    return listed


def _named_ids(metadata: Mapping[str, Any], count: int) -> dict[str, int]:
    named: dict[str, int] = {}
    for key in ("bos", "eos", "eot", "eom", "unknown", "padding"):
        value = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if value is None:
            continue
        if not 0 <= int(value) < count:
            raise _corrupt(f"{key}_token_id is {int(value)}, but there are {count} tokens")
        named[key] = int(value)
    return named


def _templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    prefix = "tokenizer.chat_template"
    templates = {}
    for key, value in metadata.items():
        if isinstance(value, str) and (key == prefix or key.startswith(prefix + ".")):
            templates[key[len(prefix) + 1 :] or "default"] = value
    return templates


def _corrupt(detail: str) -> CorruptFile:
    return CorruptFile("GGUF tokenizer", detail)
