"""Turns conversations into token arrays, with a flag on every token that the assistant speaks.

It must not know how conversations are made up, or what a model does with them.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .chat import Conversation
from .tokenizer import END, START, prompt_text
from .words import Pair


@dataclass
class TokenData:
    """Documents laid end to end: `starts[i]:starts[i+1]` is document i."""

    tokens: NDArray[np.uint16]
    spoken: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the arrays to one file, which appears whole."""
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, tokens=self.tokens, spoken=self.spoken, starts=self.starts)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> TokenData:
        """Read the arrays."""
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["spoken"], arrays["starts"])

    @classmethod
    def joined(cls, parts: Sequence[TokenData]) -> TokenData:
        """Several, one after the other."""
        before = np.cumsum([0, *(len(part.tokens) for part in parts)])
        starts = [part.starts[1:] + at for part, at in zip(parts, before, strict=False)]
        return cls(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.spoken for part in parts]),
            np.concatenate([np.zeros(1, np.int64), *starts]),
        )


def read_pairs(path: Path, held: bool = False, longest: int = 60) -> list[Pair]:
    """English-Chinese sentence pairs of a (gzipped) tab-separated file, short ones only.

    One in thirty of the English sentences is kept for the evaluation (`held`).
    """
    opener = gzip.open if path.suffix == ".gz" else open
    found = []
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 2 or len(fields[0]) > longest:
                continue
            if (zlib.crc32(fields[0].encode()) % 30 == 0) == held:
                found.append((fields[0], fields[1]))
    return found


def encode(tokenizer: Tokenizer, chat: Conversation) -> tuple[list[int], list[int]]:
    """A conversation's tokens, and 1 where the token is the assistant's (its end included)."""
    tokens: list[int] = []
    spoken: list[int] = []
    pieces: list[tuple[str, int]] = []
    if chat.system:
        pieces.append((f"{START}system\n{chat.system}{END}\n", 0))
    for turn in chat.turns:
        pieces.append((prompt_text([{"role": "user", "content": turn.question}]), 0))
        pieces.append((turn.answer + END, 1))
        pieces.append(("\n", 0))
    for encoding, (_, flag) in zip(
        tokenizer.encode_batch([text for text, _ in pieces]), pieces, strict=True
    ):
        tokens += encoding.ids
        spoken += [flag] * len(encoding.ids)
    return tokens[:-1], spoken[:-1]


def build(tokenizer: Tokenizer, chats: Sequence[Conversation], longest: int) -> TokenData:
    """The conversations as arrays; those over `longest` tokens are left out."""
    tokens: list[NDArray[np.uint16]] = []
    spoken: list[NDArray[np.uint8]] = []
    starts = [0]
    for chat in chats:
        ids, flags = encode(tokenizer, chat)
        if len(ids) <= longest:
            tokens.append(np.array(ids, np.uint16))
            spoken.append(np.array(flags, np.uint8))
            starts.append(starts[-1] + len(ids))
    return TokenData(np.concatenate(tokens), np.concatenate(spoken), np.array(starts, np.int64))
