"""What the loop itself costs: microseconds of Python per step, outside the backend.

A backend that computes nothing answers at once, so all the time measured is the host's.

    PYTHONPATH=src python bench/host_overhead.py
"""

from __future__ import annotations

import argparse
import gc
import time

from onesec.backend.base import Batch, BatchResult, Float32Array, RowResult
from onesec.budget.latency import GearCost, LatencyModel
from onesec.core.clock import MonotonicClock
from onesec.core.deadline import Budget
from onesec.core.gear import Gear
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine


class NullSampler:
    def observe(self, tokens: object) -> None:
        pass

    def force(self, tokens: object) -> None:
        pass

    def allow(self, words: object) -> None:
        pass


class NullBackend:
    """Draws token 5 at once, and counts the time spent inside it."""

    vocab_size = 1000
    context_length = 1 << 15
    block_size = 32
    num_blocks = 1 << 14
    leaves_steps = False
    gears = (Gear("4", 4), Gear("8", 8))

    def __init__(self) -> None:
        self.inside_ns = 0
        self.calls = 0

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> NullSampler:
        return NullSampler()

    def forward(self, batch: Batch) -> BatchResult:
        start = time.perf_counter_ns()
        steps = batch.max_steps
        rows = [
            RowResult([5] * steps, [-0.1] * steps, [1.0] * steps, [0.5] * steps, [], [])
            if row.sampler is not None
            else RowResult()
            for row in batch.rows
        ]
        result = BatchResult(rows, [0.001] * steps, 0.001, 100)
        self.calls += steps
        self.inside_ns += time.perf_counter_ns() - start
        return result

    def rest(self, until_ns: int | None) -> None:
        return None

    def logits(self, batch: Batch) -> Float32Array:
        raise NotImplementedError

    def bytes_per_token(self, gear: Gear) -> int:
        return 0

    def close(self) -> None:
        pass


def measure(
    batch: int, *, tokens: int, params: dict[str, object], budget: Budget, max_steps: int
) -> float:
    """Microseconds of host time per step (a step gives each of `batch` sequences a token)."""
    backend = NullBackend()
    cost = GearCost(b_ms=0.0001, q_ms=0.001)
    engine = Engine(
        backend,
        MonotonicClock(),
        latency=LatencyModel({"4": cost, "8": cost}),
        eos_ids=(2,),
        decode_text=lambda ids: "x" * len(ids),
        max_steps=max_steps,
    )
    for i in range(batch):
        sampling = SamplingParams(max_tokens=tokens, **params)  # type: ignore[arg-type]
        engine.add_request(
            Request(id=str(i), prompt_tokens=(1,) * 64, params=sampling, budget=budget)
        )
    while engine.waiting or not backend.calls:
        engine.step()
    backend.inside_ns = backend.calls = 0
    gc.collect()
    start = time.perf_counter_ns()
    while engine.has_work:
        engine.step()
    return (time.perf_counter_ns() - start - backend.inside_ns) / backend.calls / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2000, help="tokens for each sequence")
    parser.add_argument("--repeats", type=int, default=5, help="the least of so many runs counts")
    options = parser.parse_args()
    kinds: dict[str, dict[str, object]] = {
        "greedy": {},
        "sampled": {"temperature": 0.8, "top_p": 0.9, "seed": 1},
        "greedy, stop string": {"stop": ("never",)},
    }
    print("microseconds of host time a step")
    print(f"{'request':34} {'steps/call':>10} {'batch 1':>8} {'batch 8':>8} {'each more':>10}")
    for timed in (False, True):
        budget = Budget(total_ms=600_000.0) if timed else Budget()
        for name, params in kinds.items():
            for steps in (1, 8):
                one, eight = (
                    min(
                        measure(n, tokens=options.tokens, params=params, budget=budget,
                                max_steps=steps)
                        for _ in range(options.repeats)
                    )
                    for n in (1, 8)
                )  # fmt: skip
                label = f"{name}{', with a budget' if timed else ''}"
                more = (eight - one) / 7
                print(f"{label:34} {steps:>10} {one:>8.1f} {eight:>8.1f} {more:>10.1f}")


if __name__ == "__main__":
    main()
