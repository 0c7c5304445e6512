"""Token ids back to text, whole or as a stream, through one table of bytes a token.

Two families of decoders are known: byte-level (GPT-2, Llama 3, Qwen) and SentencePiece-like
(Llama 2, Mistral, Gemma). Both reduce to "each token is some bytes", so a stream is an incremental
UTF-8 decode, and decoding everything at once gives the same characters by construction.
It must not know models, prompts, or how text becomes tokens.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from onesec.core.errors import UnsupportedModel


def byte_alphabet() -> dict[str, int]:
    """The byte-level alphabet: the printable character that stands for each of the 256 bytes.

    Printable Latin-1 bytes stand for themselves; the other 68 are moved to U+0100 and up.

    >>> byte_alphabet()["Ġ"]
    32
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(0x100 + i): byte for i, byte in enumerate(moved)})
    return table


class Detokenizer:
    """What each token adds to the text, in bytes.

    `spell(id)` gives a token's text in the vocabulary (None: no such token), `decoder` is the
    decoder part of a tokenizer.json. Raises UnsupportedModel for a decoder of neither family.
    """

    def __init__(
        self,
        spell: Callable[[int], str | None],
        decoder: dict[str, Any] | None,
        skip: frozenset[int],
    ) -> None:
        self._spell = spell
        self._skip = skip
        self._bytes: dict[int, bytes] = {}  # filled as tokens are met: nothing to build at load
        self._alphabet: dict[str, int] | None = None
        self._replace: list[tuple[str, str]] = []
        self._byte_fallback = False
        self._drop_first = ""  # Metaspace: these characters vanish from the very first token
        self._strip_left = 0  # so many spaces vanish from the start of the text
        self._read(decoder)

    def _read(self, decoder: dict[str, Any] | None) -> None:
        steps = list(_flatten(decoder))
        names = [str(step.get("type")) for step in steps]
        if names == ["ByteLevel"]:
            self._alphabet = byte_alphabet()
            return
        fused = False
        for name, step in zip(names, steps, strict=True):
            if name == "Replace" and not fused and "String" in step.get("pattern", {}):
                self._replace.append((step["pattern"]["String"], step["content"]))
            elif name == "Metaspace" and not fused:
                self._replace.append((step["replacement"], " "))
                if step.get("prepend_scheme", "always") != "never":
                    self._drop_first = step["replacement"]
            elif name == "ByteFallback" and not fused:
                self._byte_fallback = True
            elif name == "Fuse":
                fused = True
            elif name == "Strip" and fused and step["content"] == " " and not step["stop"]:
                self._strip_left = int(step["start"])
            else:
                break
        else:
            if self._replace:
                return
        raise UnsupportedModel(
            f"The tokenizer's decoder ({' + '.join(names) or 'none'}) is neither byte-level nor "
            "SentencePiece-like.",
            hint="Use a model of the Llama, Mistral, Qwen, Gemma, Phi or GPT-2 families.",
        )

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token inside a text stands for; b"" for an id without a token."""
        known = self._bytes.get(token)
        if known is None:
            spelled = self._spell(token)
            known = b"" if spelled is None else self._convert(spelled)
            self._bytes[token] = known
        return known

    def _convert(self, spelled: str) -> bytes:
        if self._alphabet is not None:
            try:
                return bytes([self._alphabet[char] for char in spelled])
            except KeyError:  # an added token is written as it is
                return spelled.encode()
        if self._byte_fallback and len(spelled) == 6 and spelled[:3] == "<0x" and spelled[5] == ">":
            try:
                return bytes([int(spelled[3:5], 16)])
            except ValueError:
                pass
        for pattern, content in self._replace:
            spelled = spelled.replace(pattern, content)
        return spelled.encode()

    def pieces(
        self, tokens: Iterable[int], *, skip_special: bool, begun: bool = False
    ) -> Iterator[bytes]:
        """Each token's bytes, with what vanishes at the start of a text taken away, unless the text
        has begun before them."""
        first, strip = not begun, 0 if begun else self._strip_left
        for token in tokens:
            if skip_special and token in self._skip:
                yield b""
                continue
            piece = self.token_bytes(token)
            if first and self._drop_first:
                piece = self._convert((self._spell(token) or "").replace(self._drop_first, ""))
            first = False
            while strip and piece:
                if piece[:1] != b" ":
                    strip = 0
                    break
                piece, strip = piece[1:], strip - 1
            yield piece

    def decode(self, tokens: Iterable[int], *, skip_special: bool, begun: bool = False) -> str:
        """All tokens' text; bytes that are not UTF-8 become U+FFFD."""
        pieces = self.pieces(tokens, skip_special=skip_special, begun=begun)
        return b"".join(pieces).decode("utf-8", "replace")


def _flatten(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if decoder is None:
        return
    if decoder.get("type") == "Sequence":
        for step in decoder["decoders"]:
            yield from _flatten(step)
    else:
        yield decoder


class StreamDecoder:
    """Text as tokens arrive. Never gives half a character; all pieces and `flush()` concatenated
    are exactly `decode` of all tokens.

    >>> stream = tokenizer.stream()                                     # doctest: +SKIP
    >>> "".join([stream.push(t) for t in tokens]) + stream.flush()      # doctest: +SKIP
    """

    def __init__(
        self, detokenizer: Detokenizer, *, skip_special: bool = True, begun: bool = False
    ) -> None:
        self._inbox: list[int] = []
        self._pieces = detokenizer.pieces(self._drain(), skip_special=skip_special, begun=begun)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def _drain(self) -> Iterator[int]:
        while True:
            yield self._inbox.pop()

    def push(self, token: int) -> str:
        """The text that this token completes; "" while a character is incomplete."""
        self._inbox.append(token)
        return self._utf8.decode(next(self._pieces))

    def flush(self) -> str:
        """What was held back, at the end of the stream: "" or U+FFFD for each broken character."""
        return self._utf8.decode(b"", final=True)


def parse_part(part: Any) -> dict[str, Any] | None:
    """A part of a library tokenizer (decoder, normalizer, ...) as its JSON; None without one."""
    if part is None:
        return None
    parsed = json.loads(part.__getstate__())
    return parsed if isinstance(parsed, dict) else None
