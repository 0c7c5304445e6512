"""The two trained checkpoints of the shared folder, their texts, and how these are cut into tokens.

Standard library, numpy and tokenizers only. The shared folder is ONESEC_SHARED, or `shared` beside
the repository.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

TOKENS = 20480  # scored windows of 256 or 512 tokens come out even
_TEXT_CHARS = 200_000  # read of each text: enough for TOKENS tokens, less work than all of it
CHAT_PROMPT = "User: hey, how are you?\nBot:"
CHAT_REPLY = "I'm good, thanks for asking. How about you?"


@dataclass(frozen=True)
class Trained:
    """A checkpoint folder, the text it is measured on, and its context in tokens."""

    name: str
    text: str
    window: int


TRAINED = (
    Trained("tinystories-656k-hf", "tinystories_val_1911.txt", 512),
    Trained("chat-3m-hf", "soda_tinystories_chat_val.txt", 256),
)
CHAT = TRAINED[1]


def shared_folder() -> Path:
    """Where the shared folder would be; it need not exist."""
    named = os.environ.get("ONESEC_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared"


def model_folder(trained: Trained) -> Path:
    """Folder of the checkpoint."""
    return shared_folder() / "models" / trained.name


def encode(trained: Trained, text: str) -> npt.NDArray[np.int32]:
    """Token ids (int32 [n]) of `text`; nothing is added."""
    tokenizer = Tokenizer.from_file(str(model_folder(trained) / "tokenizer.json"))
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)


def decode(trained: Trained, tokens: npt.NDArray[np.int32]) -> str:
    """Text of `tokens`, special tokens left out."""
    tokenizer = Tokenizer.from_file(str(model_folder(trained) / "tokenizer.json"))
    return str(tokenizer.decode(tokens.tolist()))


def eval_tokens(trained: Trained) -> npt.NDArray[np.int32]:
    """The first TOKENS tokens (int32) of the checkpoint's text."""
    path = shared_folder() / "data" / "eval" / trained.text
    return encode(trained, path.read_text(encoding="utf-8")[:_TEXT_CHARS])[:TOKENS]


def checksum(tokens: npt.NDArray[np.int32]) -> int:
    """CRC-32 of the ids, to tell a difference in tokens from a difference in the model."""
    return zlib.crc32(tokens.astype("<i4").tobytes())
