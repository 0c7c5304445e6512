"""The walk: three sizes of a classifier, answers in time, a machine that slows down, hard inputs.

python -m examples.any_callable.run
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from examples.callables import measure, rows_of, serve
from examples.deadlines import met, print_deadlines, refused
from onesec.budget.latency import P50, P95, P99, LatencyModel
from onesec.budget.policy import Policy
from onesec.cli.output import table
from onesec.core.clock import MonotonicClock
from onesec.core.errors import DeadlineInfeasible

from .classifier import accuracy, learn_all, margin
from .data import Float32, Labels, digits
from .serving import Slowed, hardest_first, serve_batch

Versions = Mapping[str, Callable[[Float32], Float32]]
ROWS, TEST_ROWS = 4000, 1000
MEASURED = 200  # inputs, for each version and round: 25 runs of 32 calls show how they drift
STREAM = 300  # inputs, for each pace
SLOW = 3.0
ROOM = 2.0  # times the best version's median: enough at its pace, not on the slow machine


def main() -> None:
    versions = learn_all(*digits(ROWS, seed=0))
    x, labels = digits(TEST_ROWS, seed=1)
    rows = [(name, f"{accuracy(version(x), labels):.1%}") for name, version in versions.items()]
    table("1. Three versions", ("version", "right on unseen rows"), rows)
    inputs = rows_of(x)
    clock = Slowed(MonotonicClock())
    latency = measure(versions, inputs[:MEASURED], clock)
    one_by_one(versions, inputs, latency, clock)
    stream(versions, inputs, latency, clock)
    batches(versions, inputs, labels, latency, clock)


def one_by_one(
    versions: Versions, inputs: Sequence[Float32], latency: LatencyModel, clock: Slowed
) -> None:
    """A call of each version, in milliseconds, and bursts that are planned or refused."""
    rows = [
        (name, *(f"{latency.decode_ms(name, 0, 1, quantile=q):.3f}" for q in (P50, P95, P99)))
        for name in versions
    ]
    table("2. A call", ("version", "p50 ms", "p95 ms", "p99 ms"), rows)
    title = f"3. {len(inputs):,} inputs by one version, within a deadline"
    print_deadlines(title, versions, inputs, latency, clock)


def stream(
    versions: Versions, inputs: Sequence[Float32], latency: LatencyModel, clock: Slowed
) -> None:
    """One input after the other, each with the same deadline, on a machine that slows down and
    recovers; beside it the best version alone, as it would do without corrections."""
    best = tuple(versions)[-1]
    budget_ms = Policy().flush_ms + ROOM * latency.decode_ms(best, 0, 1, quantile=P50)
    rows = []
    for pace, factor in (("as measured", 1.0), (f"{SLOW:g}× slower", SLOW), ("recovered", 1.0)):
        clock.factor = factor
        used: Counter[str] = Counter()
        in_time = in_time_alone = 0
        for index in range(STREAM):
            one = inputs[index % len(inputs)]
            begin_ns = clock.now_ns()
            versions[best](one)
            in_time_alone += (clock.now_ns() - begin_ns) * 1e-6 <= budget_ms
            try:
                served = serve(versions, [one], budget_ms, latency, clock)
            except DeadlineInfeasible:
                used["refused"] += 1
                continue
            used[served.plan.gear] += 1
            in_time += served.elapsed_ms <= budget_ms
        answered = STREAM - used["refused"]
        counts = [str(used[name]) for name in (*versions, "refused")]
        hit = f"{in_time / answered:.1%}" if answered else "-"
        rows.append((pace, *counts, hit, f"{in_time_alone / STREAM:.1%}"))
    heads = ("machine", *versions, "refused", "met", f"met, {best} alone")
    table(f"4. One at a time, {budget_ms:.2f} ms each", heads, rows)


def batches(
    versions: Versions,
    inputs: Sequence[Float32],
    labels: Labels,
    latency: LatencyModel,
    clock: Slowed,
) -> None:
    """All inputs under one deadline: its slack spent on the hardest first, or as they come."""
    count = len(inputs)
    names = tuple(versions)
    small, best = (latency.decode_ms(name, 0, count) for name in (names[0], names[-1]))
    orders: dict[str, Callable[[Sequence[Float32]], list[int]]] = {
        "as they come": lambda answers: list(range(len(answers))),
        "hardest first": partial(hardest_first, margin=margin),
    }
    rows = []
    for share in (0.0, 0.1, 0.2, 0.4):
        budget_ms = Policy().budget_for(small + share * best)
        for name, order in orders.items():
            row = (f"{budget_ms:g} ms", name)
            try:
                served = serve_batch(versions, inputs, budget_ms, latency, clock, order)
            except DeadlineInfeasible as refusal:
                rows.append((*row, *("-" for _ in versions), "-", refused(refusal), "-"))
                continue
            used = Counter(served.versions)
            right = f"{accuracy(np.concatenate(served.answers), labels):.1%}"
            took, kept = f"{served.elapsed_ms:.1f}", met(served.elapsed_ms, budget_ms)
            rows.append((*row, *(str(used[version]) for version in versions), right, took, kept))
    heads = ("deadline", "again", *versions, "right", "took ms", "met")
    table(f"5. {count:,} inputs under one deadline", heads, rows)


if __name__ == "__main__":
    main()
