"""The table of deadlines that the examples print: one that suffices for no version, and one each.

It must not know what the versions compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from examples.callables import In, Out, offered, serve
from onesec.budget.latency import LatencyModel
from onesec.budget.policy import Policy
from onesec.cli.output import table
from onesec.core.clock import Clock
from onesec.core.errors import DeadlineInfeasible


def print_deadlines(
    title: str,
    versions: Mapping[str, Callable[[In], Out]],
    inputs: Sequence[In],
    latency: LatencyModel,
    clock: Clock,
) -> None:
    """Serve all inputs under half of what the cheapest version needs, and then, for each that is
    worth its time, under what it needs by the times known then: what is served corrects them."""
    count = len(inputs)
    gears = offered(tuple(versions), count, latency)
    rows = []
    for gear, share in ((gears[0], 0.5), *((gear, 1.0) for gear in gears)):
        budget_ms = Policy().budget_for(share * latency.decode_ms(gear, 0, count))
        asked = f"{budget_ms:g} ms"
        try:
            served = serve(versions, inputs, budget_ms, latency, clock)
        except DeadlineInfeasible as refusal:
            rows.append((asked, refused(refusal), "-", "-", "-"))
            continue
        predicted, took = f"{served.plan.predicted_ms:.1f}", f"{served.elapsed_ms:.1f}"
        rows.append((asked, served.plan.gear, predicted, took, met(served.elapsed_ms, budget_ms)))
    table(title, ("deadline", "planned", "predicted p95 ms", "took ms", "met"), rows)


def met(elapsed_ms: float, budget_ms: float) -> str:
    return "yes" if elapsed_ms <= budget_ms else "no"


def refused(refusal: DeadlineInfeasible) -> str:
    return f"refused: needs {refusal.feasible_ms:.0f} ms"
