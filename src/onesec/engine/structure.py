"""Structure: the tokens that keep an answer within a JSON schema, and the text that ends it.

llguidance (the extra `structured`) does the parsing; it is imported when a request first asks for
it. It must not know time, sampling or models.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from onesec.backend.base import TokenMask
from onesec.budget.json_end import End
from onesec.core.errors import InvalidRequest

MAX_CLOSING_BYTES = 2048  # of the shortest answer that satisfies a schema
_KEPT = 16  # compiled schemas
_SPACE = {"whitespace_pattern": " ?"}  # one space at most: an answer must not fill up with them
_END = 256  # the end of a text of bytes
_REPEATS = 3  # the same byte so often in a row leads nowhere
# Bytes that come to an end soonest; the others follow in their own order, white space last.
_SHORTEST = b'}]":,0123456789ntf{['
_ORDER = [*_SHORTEST, *(b for b in range(33, 256) if b not in _SHORTEST), *range(33)]
_QUOTE, _LETTER = ord('"'), ord("b")  # which begins no value: where it may come, a string is open


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A model's tokens: how many it draws from, each one's bytes, those that end an answer, those
    that stand for no text, and how text is split into them."""

    size: int
    token_bytes: Callable[[int], bytes]
    eos_ids: tuple[int, ...]
    special_ids: frozenset[int]
    encode: Callable[[str], Sequence[int]]


class Structures:
    """Compiles schemas for one model's tokens and keeps the last few, those refused among them.

    `vocabulary` is asked at the first use, which builds tables of all of it (a second for 150,000
    tokens).
    """

    def __init__(self, vocabulary: Callable[[], Vocabulary]) -> None:
        self._vocabulary = vocabulary
        self._vocab_size = 0
        self._tables: tuple[Any, Any] | None = None  # of the model's tokens, and of bytes
        self._known: OrderedDict[str, tuple[Any, Any] | InvalidRequest] = OrderedDict()

    def open(self, schema: str) -> Structure:
        """The structure of a new answer. Raises InvalidRequest where llguidance is missing, where
        it refuses the schema, or where no short answer satisfies it."""
        found = self._known.get(schema)
        if found is None:
            try:
                found = self._compile(schema)
            except InvalidRequest as error:  # kept too: what is refused takes as long to find out
                found = InvalidRequest(error.message, hint=error.hint)
            self._known[schema] = found
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(schema)
        if isinstance(found, InvalidRequest):
            raise InvalidRequest(found.message, hint=found.hint)
        return Structure(*_copies(found), self._vocab_size)

    def _compile(self, schema: str) -> tuple[Any, Any]:
        library = _llguidance()
        if self._tables is None:
            vocabulary = self._vocabulary()
            self._vocab_size = vocabulary.size
            self._tables = _tables(library, vocabulary)
        try:
            grammar = library.LLMatcher.grammar_from_json_schema(schema, overrides=_SPACE)
        except ValueError as error:
            raise _refused(str(error)) from None
        of_tokens, of_bytes = (
            library.LLMatcher(table, grammar, log_level=0) for table in self._tables
        )
        for matcher in (of_tokens, of_bytes):
            if matcher.is_error():
                raise _refused(matcher.get_error())
        if Structure(*_copies((of_tokens, of_bytes)), self._vocab_size).close("") is None:
            raise InvalidRequest(
                f"No answer of at most {MAX_CLOSING_BYTES} bytes was found for the schema.",
                hint="Ask for fewer and shorter required members.",
            )
        return of_tokens, of_bytes


class Structure:
    """One answer on its way through its schema."""

    def __init__(self, of_tokens: Any, of_bytes: Any, vocab_size: int) -> None:
        self._tokens = of_tokens
        self._bytes = of_bytes  # nothing consumed: each closing starts from a copy
        self._vocab_size = vocab_size

    @property
    def done(self) -> bool:
        """Whether the answer is complete: nothing but an end may follow."""
        return bool(self._tokens.is_stopped())

    def mask(self) -> TokenMask:
        """uint32 [(vocab + 31) // 32]: bit t % 32 of word t // 32 says whether token t may come."""
        words = np.zeros((self._vocab_size + 31) // 32, dtype=np.uint32)
        given = np.frombuffer(self._tokens.compute_bitmask(), dtype=np.uint32)
        count = min(len(words), len(given))
        words[:count] = given[:count]
        return words

    def take(self, token: int) -> None:
        """Go on by a token that the mask allowed. Raises RuntimeError on another one."""
        if not self._tokens.consume_token(token):
            raise RuntimeError(f"token {token} breaks the answer's schema")

    def end(self, text: str, ends: Iterable[End]) -> End | None:
        """The first of `ends` whose kept text can be completed, with what completes it."""
        for end in ends:
            closing = self.close(text[: end.keep])
            if closing is not None:
                return End(end.keep, closing)
        return None

    def close(self, text: str) -> str | None:
        """The shortest text found that makes this beginning satisfy the schema: the byte that ends
        things soonest, at every step. None where there is none within MAX_CLOSING_BYTES."""
        matcher = self._bytes.deep_copy()
        written = text.encode()
        if matcher.try_consume_tokens(list(written)) != len(written):
            return None
        closing = bytearray()
        while not matcher.is_accepting():
            forced = matcher.compute_ff_bytes() or _next(matcher.compute_bitmask(), closing)
            if not forced or not matcher.consume_tokens(list(forced)):
                return None
            closing += forced
            if len(closing) > MAX_CLOSING_BYTES:
                return None
        try:
            return closing.decode()
        except UnicodeDecodeError:
            return None


def _next(mask: bytes, closing: bytearray) -> bytes:
    """The allowed byte that ends things soonest; not one that was just repeated for nothing."""
    allowed = [b for b in _ORDER if mask[b >> 3] >> (b & 7) & 1]
    if _QUOTE in allowed and _LETTER in allowed:
        return b'"'
    tail = bytes(closing[-4 * _REPEATS :])
    fresh = [b for b in allowed if tail.count(b) < _REPEATS or b in b'}]":,']
    return bytes((fresh or allowed)[:1])


def _copies(matchers: tuple[Any, Any]) -> tuple[Any, Any]:
    return matchers[0].deep_copy(), matchers[1].deep_copy()


class _Words:
    """A vocabulary as llguidance reads it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.eos_ids[0]
        self.bos_token_id = None
        self.tokens = [vocabulary.token_bytes(token) for token in range(vocabulary.size)]
        self.special_token_ids = sorted(vocabulary.special_ids | set(vocabulary.eos_ids))
        self._encode = vocabulary.encode

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError("text is expected")
        return list(self._encode(text))


class _Bytes:
    """Every byte is a token."""

    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"")
    special_token_ids = (_END,)

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def _tables(library: Any, vocabulary: Vocabulary) -> tuple[Any, Any]:
    words = library.TokenizerWrapper(_Words(vocabulary))
    of_tokens = library.LLTokenizer(words, eos_token=list(vocabulary.eos_ids))
    of_bytes = library.LLTokenizer(library.TokenizerWrapper(_Bytes()), slices=[])
    return of_tokens, of_bytes


def _llguidance() -> Any:
    try:
        return import_module("llguidance")
    except ImportError:
        raise InvalidRequest(
            "Answers of a form need llguidance, which is not installed.",
            hint="Install it: pip install 'onesec[structured]' (in a checkout: '.[structured]').",
        ) from None


def _refused(why: str) -> InvalidRequest:
    first, *more = why.strip().splitlines() or ["it is not valid"]
    if more and more[-1].startswith("error: "):  # of a pattern, below a picture of the place
        first = f"a pattern has an error: {more[-1].removeprefix('error: ')}"
    elif first.startswith("Resource '"):
        first = "a $ref leads outside of it, and nothing is fetched"
    return InvalidRequest(f"The schema cannot be used: {first[:200].rstrip('.')}.")
