"""Turns conversations into token arrays, with a flag on every token that the assistant speaks.

It must not know how conversations are made up, or what a model does with them.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .tokenizer import END, START, prompt_text
from .world import Conversation, Turn

PAIR_ASKS = (
    (
        "Translate into Chinese: {s}",
        "Translate to Chinese: {s}",
        "{s}\nTranslate this into Chinese.",
    ),
    ("翻译成英语：{s}", "请把这句话翻译成英语：{s}", "{s}\n翻译成英文。"),
)
PAIR_SYSTEMS = (
    ("You are a translator. Translate English into Chinese.", "Translate into Chinese."),
    ("你是翻译。把中文翻译成英语。", "翻译成英语。"),
)


@dataclass
class TokenData:
    """Documents laid end to end: `starts[i]:starts[i+1]` is document i."""

    tokens: NDArray[np.uint16]
    spoken: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the arrays to one file."""
        np.savez(path, tokens=self.tokens, spoken=self.spoken, starts=self.starts)

    @classmethod
    def load(cls, path: Path) -> TokenData:
        """Read the arrays."""
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["spoken"], arrays["starts"])


def read_pairs(path: Path, longest: int = 60) -> list[tuple[str, str]]:
    """English-Chinese sentence pairs from a (gzipped) tab-separated file, short ones only."""
    opener = gzip.open if path.suffix == ".gz" else open
    found = []
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) >= 2 and len(fields[0]) <= longest:
                found.append((fields[0], fields[1]))
    return found


def pair_conversation(rng: random.Random, pairs: Sequence[tuple[str, str]]) -> Conversation:
    """One to three general sentences to translate."""
    source = rng.randrange(2)
    by_system = rng.random() < 0.5
    chat = Conversation(rng.choice(PAIR_SYSTEMS[source]) if by_system else "")
    for _ in range(rng.randint(1, 3)):
        pair = rng.choice(pairs)
        text = pair[source]
        if not by_system:
            text = rng.choice(PAIR_ASKS[source]).format(s=text)
        chat.turns.append(Turn("pair", 1 - source, text, pair[1 - source]))
    return chat


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
