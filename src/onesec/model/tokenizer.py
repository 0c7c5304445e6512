"""Tokenizer: text to token ids and back, from a model folder or from GGUF metadata.

The `tokenizers` library does the work; this module is its border: sizes are capped, its panics
become typed errors, and special tokens written by a user stay plain text.
It must not know prompts, chat messages, or what a model computes.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import tokenizers

from onesec.core.errors import ContextLengthExceeded, CorruptFile, InvalidRequest, OneSecError
from onesec.core.paths import path_of

from .detokenize import Detokenizer, StreamDecoder, parse_part
from .patterns import any_of, explodes
from .tokenizer_folder import TokenizerFiles, read_tokenizer_files, write_tokenizer_files
from .tokenizer_gguf import library_from_gguf

__all__ = ["GUARD", "StreamDecoder", "Tokenizer"]

MAX_TEXT_BYTES = 4 << 20
BYTES_PER_TOKEN = 16  # a text with more bytes a token than this cannot be an honest prompt
LONG_TEXT_CHARS = 4096  # from here on the call that frees the GIL is worth its overhead (~50 us)
GUARD = "\ufdd0"  # a noncharacter: marks special tokens in users' text as plain; see `protect`


class Tokenizer:
    """One model's tokenizer. Thread-safe.

    vocab_size      tokens with a text (a model's own table may be padded beyond)
    base_size       those of them that were not added to the vocabulary afterwards
    bos_id          the token that starts a text, or None
    eos_ids         the tokens that end an answer, most important first; ids without a token are
                    left out
    special_ids     ids whose text is not shown by default
    added_tokens    ids by text of the tokens that no text is split into by itself
    chat_templates  raw Jinja sources by name ("default", "tool_use", ...); may be empty
    special_tokens  texts by name ("bos_token", ...), as chat templates expect them
    warnings        what was guessed while loading

    >>> tok = Tokenizer.from_folder("model")            # doctest: +SKIP
    >>> tok.decode(tok.encode("hello"))                 # doctest: +SKIP
    'hello'
    """

    def __init__(
        self,
        library: tokenizers.Tokenizer,
        *,
        source: str | Path,
        special_tokens: Mapping[str, str],
        eos_ids: Iterable[int] = (),
        add_bos: bool | None = None,
        chat_templates: Mapping[str, str] | None = None,
        context_length: int | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        with _border(lambda why: CorruptFile(source, why)):
            _refuse_explosive_patterns(library, source)
            library.no_truncation()
            library.no_padding()
            added = library.get_added_tokens_decoder()
            decoder = parse_part(library.decoder)
            self.vocab_size: int = library.get_vocab_size()
            self.base_size: int = library.get_vocab_size(with_added_tokens=False)
        self._library = library
        self._plain: tokenizers.Tokenizer | None = None
        self._plain_lock = threading.Lock()
        self._add_bos = add_bos
        special = {id_: token.content for id_, token in added.items() if token.special}
        self._special_text = any_of([text for text in special.values() if len(text) > 1])
        self.special_ids = frozenset(special)
        self.added_tokens = {token.content: id_ for id_, token in added.items()}
        self._detokenizer = Detokenizer(library.id_to_token, decoder, self.special_ids)
        self.special_tokens = dict(special_tokens)
        self.chat_templates = dict(chat_templates or {})
        self.warnings = warnings
        self.bos_id = self._id_of("bos_token")
        ends = [*_present(self._id_of("eos_token")), *filter(self._is_token, eos_ids)]
        self.eos_ids = tuple(dict.fromkeys(ends))
        limit = MAX_TEXT_BYTES
        if context_length is not None:
            limit = min(limit, context_length * BYTES_PER_TOKEN)
        self.max_text_bytes = limit
        self._context_length = context_length

    @classmethod
    def from_folder(cls, path: str | Path, *, context_length: int | None = None) -> Tokenizer:
        """Read tokenizer.json and the small files beside it (tokenizer_config.json,
        special_tokens_map.json, generation_config.json, chat_template.jinja).

        Raises ModelNotFound without a tokenizer.json, CorruptFile for broken or hostile files,
        UnsupportedModel for decoders of unknown kind.
        """
        files = read_tokenizer_files(path_of(path))
        with _border(lambda why: CorruptFile(files.path, f"not a tokenizer: {why}")):
            library = tokenizers.Tokenizer.from_buffer(files.tokenizer_json)
        return cls(
            library,
            source=files.path,
            special_tokens=files.special_tokens,
            eos_ids=files.eos_ids,
            add_bos=files.add_bos,
            chat_templates=files.chat_templates,
            context_length=context_length,
        )

    @classmethod
    def from_gguf(
        cls, metadata: Mapping[str, Any], *, context_length: int | None = None
    ) -> Tokenizer:
        """Build from a GGUF file's metadata (keys `tokenizer.*`); see tokenizer_gguf.

        Raises CorruptFile where the keys contradict each other, UnsupportedModel for other kinds.
        """
        with _border(lambda why: CorruptFile("GGUF tokenizer", why)):
            built = library_from_gguf(metadata)
        return cls(
            built.library,
            source="GGUF tokenizer",
            special_tokens=built.special_tokens,
            eos_ids=built.eos_ids,
            add_bos=built.add_bos,
            chat_templates=built.chat_templates,
            context_length=context_length,
            warnings=built.warnings,
        )

    def save(self, folder: Path) -> None:
        """Write the files that `from_folder` reads back as this tokenizer: the same ids for every
        text, the same end tokens, start and chat templates.

        >>> Tokenizer.from_gguf(metadata).save(Path("model"))          # doctest: +SKIP
        """
        write_tokenizer_files(folder, self.files(folder))

    def files(self, folder: Path) -> TokenizerFiles:
        """What the files of a folder would hold: all that makes this tokenizer, as values."""
        return TokenizerFiles(
            path=folder / "tokenizer.json",
            tokenizer_json=self._library.to_str().encode(),
            special_tokens=self.special_tokens,
            eos_ids=self.eos_ids,
            add_bos=self._add_bos,
            chat_templates=self.chat_templates,
        )

    def encode(self, text: str, *, special: bool = False, add_bos: bool = False) -> list[int]:
        """Token ids of a text.

        special   False: special tokens written in the text are plain text (what users write).
                  True: they are parsed (rendered chat templates), except those under `protect`.
        add_bos   put the model's own start in front, where it has one (for bare prompts; chat
                  templates write theirs).

        Raises ContextLengthExceeded for a text that is far too long for the model, InvalidRequest
        for what is no text, beyond `max_text_bytes`, or where the text cannot be tokenized.
        """
        self._check(text)
        guards: list[int] = []
        if special and GUARD in text:
            text, guards = _unguard(text)
        with _border(lambda why: _untokenizable(text, why)):
            if guards:
                ids = self._encode_guarded(text, guards)
            elif special or self._special_text.search(text) is None:
                ids = _encode(self._library, text, add_bos)
            else:
                ids = _encode(self._plain_library(), text, add_bos)
        return self._settle_bos(ids) if add_bos else ids

    def protect(self, text: str) -> str:
        """Mark the special tokens that a user's text spells out, so that `encode(special=True)` of
        a rendered template takes them as plain text. The model never sees the marks.
        """
        text = text.replace(GUARD, "")
        starts = [match.start() for match in self._special_text.finditer(text)]
        cuts = [0, *(start + 1 for start in starts), len(text)]
        return GUARD.join(text[a:b] for a, b in pairwise(cuts))

    def decode(self, ids: Iterable[int], *, skip_special: bool = True, begun: bool = False) -> str:
        """The text of token ids; ids without a token add nothing, broken UTF-8 becomes U+FFFD.
        Where the text has `begun` before them, a space that opens it stays."""
        return self._detokenizer.decode(ids, skip_special=skip_special, begun=begun)

    def stream(self, *, skip_special: bool = True, begun: bool = False) -> StreamDecoder:
        """A decoder for tokens that arrive one by one, as `decode` has them."""
        return StreamDecoder(self._detokenizer, skip_special=skip_special, begun=begun)

    def token_to_id(self, token: str) -> int | None:
        """The id of a vocabulary entry, spelled as in the file; None where there is none."""
        found: int | None = self._library.token_to_id(token)
        return found

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token inside a text stands for; b"" for an id without a token."""
        return self._detokenizer.token_bytes(token)

    def _id_of(self, name: str) -> int | None:
        text = self.special_tokens.get(name)
        return None if text is None else self.token_to_id(text)

    def _is_token(self, token: int) -> bool:
        return token < 1 << 32 and self._library.id_to_token(token) is not None

    def _check(self, text: str) -> None:
        if not isinstance(text, str):
            raise InvalidRequest(f"A text cannot be a {type(text).__name__}; it must be a str.")
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        context = self._context_length
        if context is not None and size > context * BYTES_PER_TOKEN:
            raise too_long(size, context)
        if size > self.max_text_bytes:
            raise InvalidRequest(
                f"The text has {size} bytes; at most {self.max_text_bytes} are tokenized.",
                hint="Shorten the text.",
            )

    def _encode_guarded(self, text: str, guards: list[int]) -> list[int]:
        encoding = _encoding(self._library, text)
        ids: list[int] = []
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            after = bisect_right(guards, start)  # the first guard inside the token, if any is
            if token in self.special_ids and after < len(guards) and guards[after] < end:
                ids += _encode(self._plain_library(), text[start:end], add_bos=False)
            else:
                ids.append(token)
        return ids

    def _plain_library(self) -> tokenizers.Tokenizer:
        # A second copy, because the switch is a property of the library's object and other threads
        # may be encoding; built only when a text spells out a special token.
        with self._plain_lock:
            if self._plain is None:
                plain = tokenizers.Tokenizer.from_str(self._library.to_str())
                plain.encode_special_tokens = True
                self._plain = plain
            return self._plain

    def _settle_bos(self, ids: list[int]) -> list[int]:
        if self.bos_id is None or self._add_bos is None:
            return ids
        starts = ids[:1] == [self.bos_id]
        if self._add_bos and not starts:
            return [self.bos_id, *ids]
        return ids[1:] if starts and not self._add_bos else ids


def too_long(size: int, context_length: int) -> ContextLengthExceeded:
    """A text of so many bytes is too long for a context, whatever its tokens are.

    >>> too_long(20_000, 1024).prompt_tokens
    1250
    """
    least = math.ceil(size / BYTES_PER_TOKEN)
    why = f"{size} bytes, at {BYTES_PER_TOKEN} a token"
    return ContextLengthExceeded.at_least(least, context_length, why=why)


@contextmanager
def _border(error: Callable[[str], OneSecError]) -> Iterator[None]:
    """Whatever the library raises, panics included, leaves as a typed error."""
    try:
        yield
    except OneSecError:
        raise
    except Exception as caught:
        raise error(_first_line(caught)) from None
    except BaseException as caught:
        # Rust panics arrive as pyo3's PanicException, which is no Exception and has no public name.
        if type(caught).__name__ != "PanicException":
            raise
        raise error(_first_line(caught)) from None


def _untokenizable(text: str, why: str) -> InvalidRequest:
    broken = next((at for at, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
    if broken is not None:  # what is left of bytes that were no UTF-8
        return InvalidRequest(
            f"The text is not Unicode: character {broken} is half of a pair or a stray byte.",
            hint="Convert the text to UTF-8.",
        )
    return InvalidRequest(f"The text cannot be tokenized: {why}.")


def _first_line(caught: BaseException) -> str:
    return (str(caught).splitlines() or [type(caught).__name__])[0][:200]


def _encoding(library: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
    """Tokens with their places in the text. Only a batch frees the interpreter lock."""
    if len(text) < LONG_TEXT_CHARS:
        return library.encode(text, add_special_tokens=False)
    return library.encode_batch([text], add_special_tokens=False)[0]


def _encode(library: tokenizers.Tokenizer, text: str, add_bos: bool) -> list[int]:
    if len(text) < LONG_TEXT_CHARS:
        ids: list[int] = library.encode(text, add_special_tokens=add_bos).ids
    else:
        ids = library.encode_batch_fast([text], add_special_tokens=add_bos)[0].ids
    return ids


def _unguard(text: str) -> tuple[str, list[int]]:
    parts = text.split(GUARD)
    positions, at = [], 0
    for part in parts[:-1]:
        at += len(part)
        positions.append(at)
    return "".join(parts), positions


def _refuse_explosive_patterns(library: tokenizers.Tokenizer, source: str | Path) -> None:
    for part in (library.normalizer, library.pre_tokenizer, library.decoder):
        for pattern in _regexes(parse_part(part)):
            if explodes(pattern):
                raise CorruptFile(
                    source,
                    f"its pattern {pattern[:80]!r} repeats a repetition, which can take for ever",
                    hint="Do not use this tokenizer.",
                )


def _regexes(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("Regex"), str):
            yield node["Regex"]
        for value in node.values():
            yield from _regexes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _regexes(value)


def _present(value: int | None) -> list[int]:
    return [] if value is None else [value]
