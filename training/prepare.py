"""Makes the tokenizer and the training arrays from a seed.

With `--pairs`, English-Chinese sentence pairs (one pair a line, tab-separated) are mixed in.

    python -m training.prepare --out DIR [--pairs FILE]
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from . import tokenizer as tokenizers_room
from .data import build, pair_conversation, read_pairs
from .model import ModelConfig
from .world import training_conversations

PAIR_SHARE = 0.06
TOKENIZER_CHATS = 5000


def prepare(out: Path, count: int, seed: int, pairs_file: Path | None, vocab_size: int) -> None:
    """Write `train.npz` into `out`, and `tokenizer.json` unless one is there."""
    out.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(pairs_file) if pairs_file else []
    chats = training_conversations(seed, count)
    texts = [m["content"] for chat in chats[:TOKENIZER_CHATS] for m in chat.messages()]
    texts += [side for pair in pairs for side in pair]
    path = out / "tokenizer.json"
    if path.exists():
        tokenizer = Tokenizer.from_file(str(path))
    else:
        tokenizer = tokenizers_room.train(texts, vocab_size)
        tokenizer.save(str(path))
    rng = random.Random(seed + 1)
    if pairs:
        chats += [pair_conversation(rng, pairs) for _ in range(int(count * PAIR_SHARE * 2))]
        rng.shuffle(chats)
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
    parser.add_argument("--count", type=int, default=56000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--vocab-size", type=int, default=ModelConfig.vocab_size)
    args = parser.parse_args()
    prepare(args.out, args.count, args.seed, args.pairs, args.vocab_size)


if __name__ == "__main__":
    main()
