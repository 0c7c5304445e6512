"""Makes the tokenizer and the training arrays from a seed.

With `--pairs`, English-Chinese sentence pairs (one pair a line, tab-separated) are mixed in.

    python -m training.prepare --out DIR [--pairs FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from . import tokenizer as tokenizers_room
from . import words
from .data import build, read_pairs
from .mixture import training_conversations
from .model import ModelConfig

TOKENIZER_CHATS = 6000
SINGLE = 60  # how often each copied character is shown to the tokenizer, so that it stays whole


def prepare(out: Path, count: int, seed: int, pairs_file: Path | None, vocab_size: int) -> None:
    """Write `train.npz` into `out`, and `tokenizer.json` unless one is there."""
    out.mkdir(parents=True, exist_ok=True)
    general = read_pairs(pairs_file) if pairs_file else []
    chats = training_conversations(seed, count, general)
    path = out / "tokenizer.json"
    if path.exists():
        tokenizer = Tokenizer.from_file(str(path))
    else:
        texts = [m["content"] for chat in chats[:TOKENIZER_CHATS] for m in chat.messages()]
        common = {c for text in texts for c in text if "\u4e00" <= c <= "\u9fff"}
        common |= set(words.ANY_CHARS + words.NAME_CHARS + words.SURNAMES_ZH)
        texts += [side for pair in general for side in pair]
        texts += sorted(common) * SINGLE
        tokenizer = tokenizers_room.train(texts, vocab_size)
        tokenizer.save(str(path))
    data = build(tokenizer, chats, ModelConfig.max_position_embeddings)
    data.save(out / "train.npz")
    lengths = np.diff(data.starts)
    print(
        f"{len(lengths)} conversations, {len(data.tokens)} tokens "
        f"({data.spoken.mean():.0%} spoken by the assistant), "
        f"lengths: median {int(np.median(lengths))}, longest {lengths.max()}; "
        f"vocabulary {tokenizer.get_vocab_size()}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=90000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--vocab-size", type=int, default=ModelConfig.vocab_size)
    args = parser.parse_args()
    prepare(args.out, args.count, args.seed, args.pairs, args.vocab_size)


if __name__ == "__main__":
    main()
