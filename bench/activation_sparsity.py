"""Activation sparsity: what leaving out small inputs of a product would cost, and save at most.

Training-free, as in TEAL (2408.14690): inputs of each matrix below a threshold count as zero; the
threshold is a quantile of its inputs on other text. Perplexity comes from the tests' float64
reference. A plane's unit of reading is a cache line, 8 columns of 16 rows, and its unit of scales a
group of 32 (native/planes.h): only where all of its columns are zero can it stay unread. So blocks
of 1, 8 and 32 columns are left out by their root mean square, and it is counted how many blocks
single small inputs would free: in the stored order of columns, and sorted by how often each is
small. The time is the kernel's over a matrix that has only the kept columns: a bound, since finding
and skipping blocks costs nothing there, and the reads stay in a row.

    python bench/activation_sparsity.py shared/models/chat-3m-hf shared/data/eval/TEXT
    python bench/activation_sparsity.py --speed
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from onesec.backend.linear import Linear
from onesec.compress.evaluate import mean, token_nll, windows
from onesec.machine import describe
from onesec.model.checkpoints import open_checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
from fixtures import weights
from numpy_reference import forward

Float64 = npt.NDArray[np.float64]
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5)
BLOCKS = (1, 8, 32)  # columns: the ideal, a cache line, a group
CALIBRATION_TOKENS = 1024
SPEED_ROWS, SPEED_COLS = 16384, 4096  # 38 MB at 4 bits, 71 at 8: more than a share of a cache
ROUNDS = 31


def block_rms(x: Float64, block: int) -> Float64:
    """[n, cols] to [n, blocks]: the root mean square of each block of columns; a last, shorter one
    counts as it is."""
    starts = np.arange(0, x.shape[1], block)
    sizes = np.diff([*starts, x.shape[1]])
    return np.sqrt(np.add.reduceat(x * x, starts, axis=1) / sizes)


class Thresholds:
    """What each matrix's inputs look like on the calibration text."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Float64]] = {}

    def watch(self, matrix: str, x: Float64) -> Float64:
        self._seen.setdefault(matrix, []).append(x)
        return x

    def of(self, sparsity: float, block: int) -> dict[str, float]:
        """The quantile of the blocks' root mean squares, for each matrix."""
        return {
            matrix: float(np.quantile(block_rms(np.concatenate(parts), block), sparsity))
            for matrix, parts in self._seen.items()
        }

    def orders(self, least: dict[str, float]) -> dict[str, npt.NDArray[np.intp]]:
        """Columns of each matrix, those that are small most often first."""
        return {
            matrix: np.argsort(-(np.abs(np.concatenate(parts)) < least[matrix]).mean(axis=0))
            for matrix, parts in self._seen.items()
        }


class Sparse:
    """Leaves out blocks below their matrix's threshold, and counts."""

    def __init__(
        self, least: dict[str, float], block: int, orders: dict[str, npt.NDArray[np.intp]]
    ) -> None:
        self._least, self._block, self._orders = least, block, orders
        self.out, self.of = 0, 0
        self.free = {
            f"{kind} {size}": [0, 0] for kind in ("stored", "sorted") for size in BLOCKS[1:]
        }

    def __call__(self, matrix: str, x: Float64) -> Float64:
        small = block_rms(x, self._block) < self._least[matrix]
        small = np.repeat(small, self._block, axis=1)[:, : x.shape[1]]
        self.out += int(small.sum())
        self.of += small.size
        if self._block == 1:
            for name, order in (("stored", slice(None)), ("sorted", self._orders[matrix])):
                for size in BLOCKS[1:]:
                    starts = np.arange(0, x.shape[1], size)
                    empty = np.logical_and.reduceat(small[:, order], starts, axis=1)
                    self.free[f"{name} {size}"][0] += int(empty.sum())
                    self.free[f"{name} {size}"][1] += empty.size
        return np.where(small, 0.0, x)


def perplexities(model: Path, text: Path, tokens: int, window: int) -> Iterable[dict[str, Any]]:
    """A record for each sparsity and block: perplexity beside the dense one, paired by token."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    start = text.read_text(encoding="utf-8")[: 8 * (tokens + CALIBRATION_TOKENS)]
    ids = np.array(tokenizer.encode(start, add_special_tokens=False).ids, dtype=np.int32)
    scored = ids[CALIBRATION_TOKENS : CALIBRATION_TOKENS + tokens]
    with open_checkpoint(model) as checkpoint:
        config, values = checkpoint.config.for_context(window), weights(checkpoint)
        thresholds = Thresholds()
        for part in windows(ids[:CALIBRATION_TOKENS].tolist(), window):
            forward(config, values, part, thresholds.watch)

        def nll(inputs: Sparse | None) -> Float64:
            return np.concatenate(
                [
                    token_nll(forward(config, values, part[:-1], inputs), part[1:])  # type: ignore[arg-type]
                    for part in windows(scored.tolist(), window)
                ]
            )

        dense = nll(None)
        yield {"model": model.name, "tokens": len(dense), "perplexity": math.exp(dense.mean())}
        for block in BLOCKS:
            for sparsity in SPARSITIES:
                least = thresholds.of(sparsity, block)
                sparse = Sparse(least, block, thresholds.orders(least) if block == 1 else {})
                more = mean(nll(sparse) - dense)
                record: dict[str, Any] = {
                    "block": block,
                    "asked": sparsity,
                    "sparsity": sparse.out / sparse.of,
                    "perplexity_ratio": math.exp(more.value),
                    "se": math.exp(more.value) * more.se,
                }
                if block == 1:
                    record["free"] = {k: n / of for k, (n, of) in sparse.free.items()}
                yield record


def speeds() -> Iterable[dict[str, Any]]:
    """A record for each width and sparsity: the time of a product over the kept columns alone, in
    turns with the whole one: the median of the rounds' ratios."""
    rng = np.random.default_rng(0)
    yield {"machine": describe(), "rows": SPEED_ROWS, "cols": SPEED_COLS}
    bias = np.zeros(SPEED_ROWS, dtype=np.float32)
    shares = (0.0, *SPARSITIES)
    linears = []
    for share in shares:
        cols = round(SPEED_COLS * (1 - share) / 32) * 32
        values = rng.standard_normal((SPEED_ROWS, cols), dtype=np.float32)
        linears.append((Linear(values, bias), rng.standard_normal((1, cols), dtype=np.float32)))
    for width in (4, 8):
        rounds = []
        for _ in range(ROUNDS):
            times = []
            for linear, x in linears:
                begin = time.thread_time()  # a product is one thread's work; others may run beside
                linear(x, width)
                times.append(time.thread_time() - begin)
            rounds.append(times)
        for i, share in enumerate(shares):
            ratios = [times[0] / times[i] for times in rounds]
            ms = 1e3 * statistics.median(times[i] for times in rounds)
            yield {
                "width": width,
                "sparsity": share,
                "cpu_ms": ms,
                "times_as_fast": statistics.median(ratios),
                "bytes": linears[i][0].weight_bytes(width),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--speed", action="store_true", help="time the kernels instead")
    options = parser.parse_args()
    if options.speed == (options.text is not None):
        parser.error("give a model and a text, or --speed")
    found = (
        speeds()
        if options.speed
        else perplexities(options.model, options.text, options.tokens, options.window)
    )
    for record in found:
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
