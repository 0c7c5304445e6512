"""Makes the tokenizer and the training text from a seed, shard by shard, in several processes.

With `--pairs`, English-Chinese sentence pairs (one pair a line, tab-separated) are mixed in.
A shard is the same whatever makes it, and appears whole: training may begin with the first ones.

    python -m training.prepare --out DIR [--pairs FILE] [--processes N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from . import tokenizer as tokenizers_room
from . import words
from .data import TokenData, build, read_pairs
from .mixture import training_conversations
from .shape import ModelConfig
from .words import Pair

SHARD = 4000  # conversations
TOKENIZER_CHATS = 6000
SINGLE = 60  # how often each copied character is shown to the tokenizer, so that it stays whole


def make_tokenizer(seed: int, general: Sequence[Pair], vocab_size: int) -> Tokenizer:
    """A tokenizer learned from the first conversations and the pairs."""
    chats = training_conversations(seed, TOKENIZER_CHATS, general)
    texts = [m["content"] for chat in chats for m in chat.messages()]
    common = {c for text in texts for c in text if "\u4e00" <= c <= "\u9fff"}
    common |= set(words.ANY_CHARS + words.NAME_CHARS + words.SURNAMES_ZH)
    texts += [side for pair in general for side in pair]
    texts += sorted(common) * SINGLE
    return tokenizers_room.train(texts, vocab_size)


def make_shards(
    out: Path, numbers: Sequence[int], seed: int, general: Sequence[Pair], size: int
) -> None:
    """Write the shards of these numbers that are not there yet; ends with its parent."""
    parent = os.getppid()
    words_of = Tokenizer.from_file(str(out / "tokenizer.json"))
    for number in numbers:
        path = out / f"{number:05d}.npz"
        if os.getppid() != parent:
            return
        if path.exists():
            continue
        chats = training_conversations(f"{seed} {number}", size, general)
        build(words_of, chats, ModelConfig.max_position_embeddings).save(path)


def prepare(
    out: Path, count: int, seed: int, pairs_file: Path | None, processes: int, vocab_size: int
) -> None:
    """Write shards of `count` conversations into `out`, and `tokenizer.json` unless one is there.

    A process that fails leaves its shards out; the others go on.
    """
    out.mkdir(parents=True, exist_ok=True)
    general = read_pairs(pairs_file) if pairs_file else []
    path = out / "tokenizer.json"
    if not path.exists():
        make_tokenizer(seed, general, vocab_size).save(str(path))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    shards = range(-(-count // SHARD))
    size = -(-count // len(shards))
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=make_shards, args=(out, shards[k::processes], seed, general, size), daemon=True
        )
        for k in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def describe(out: Path) -> str:
    """What the folder holds, in a line."""
    data = TokenData.joined([TokenData.load(path) for path in sorted(out.glob("*.npz"))])
    lengths = np.diff(data.starts)
    return (
        f"{len(lengths)} conversations, {len(data.tokens)} tokens "
        f"({data.spoken.mean():.0%} spoken by the assistant), "
        f"lengths: median {int(np.median(lengths))}, longest {lengths.max()}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150000, help="conversations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--vocab-size", type=int, default=ModelConfig.vocab_size)
    args = parser.parse_args()
    prepare(args.out, args.count, args.seed, args.pairs, args.processes, args.vocab_size)
    print(describe(args.out))


if __name__ == "__main__":
    main()
