"""What a fence costs a call that ends in time: microseconds around its steps, with and without.

A call with a fence (`Batch.watch_ns`) runs on the driver's thread while the caller waits. Calls
with and without one take turns, each after a little work of the caller's, as in the loop.

    PYTHONPATH=src python bench/hand_over.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from onesec.backend.base import Batch, BatchRow
from onesec.core.request import SamplingParams
from onesec.loading import load_model

_WORK_NS = 60_000  # the loop's own time between two calls
_FAR_NS = 10**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="onesec-mini")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    backend = load_model(options.model, context=512, threads=options.threads).backend
    tokens, table = np.arange(3, 43, dtype=np.int32), np.arange(16, dtype=np.int32)
    gear, sampler = backend.gears[0], backend.sampler(SamplingParams(), eos_ids=())
    backend.forward(Batch(gear, [BatchRow(tokens, 0, table)]))

    def call(steps: int, fenced: bool) -> tuple[float, float]:
        """Microseconds of a call, and of its steps."""
        row = BatchRow(tokens[-1:], 39, table, sampler, statistics=False)
        batch = Batch(gear, [row], steps, exact=True)
        batch.watch_ns = time.monotonic_ns() + _FAR_NS if fenced else None
        start = time.perf_counter_ns()
        result = backend.forward(batch)
        took_us = (time.perf_counter_ns() - start) / 1e3
        until = time.perf_counter_ns() + _WORK_NS
        while time.perf_counter_ns() < until:
            pass
        return took_us, 1e3 * sum(result.step_ms)

    print(
        f"{'steps':>5} {'fence':>6} {'call, us: p10':>14} {'p50':>8} {'around: p10':>12} {'p50':>8}"
    )
    for steps in (1, 4):
        runs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for i in range(2 * options.calls):
            runs[i % 2 == 1].append(call(steps, i % 2 == 1))
        for fenced, found in runs.items():
            calls = np.percentile([took for took, _ in found], (10, 50))
            around = np.percentile([took - inside for took, inside in found], (10, 50))
            print(f"{steps:>5} {fenced!s:>6} {calls[0]:>14.1f} {calls[1]:>8.1f} ", end="")
            print(f"{around[0]:>12.1f} {around[1]:>8.1f}")


if __name__ == "__main__":
    main()
