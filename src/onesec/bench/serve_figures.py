"""Serve figures: what a server under load did for its users, held against what was offered to it.

It must not know sockets or files. Shares are of all requests that were offered, those of accepted
ones say so: a server that drops what is late gains nothing by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .figures import upper
from .serve_load import Heard, Slo

IN_A_ROW = 10  # requests that show whether a server has recovered


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds of the server (None: not known) and of the generator, over `seconds`."""

    seconds: float
    server_s: float | None
    generator_s: float


def figures(heard: Sequence[Heard], slo: Slo, seconds: float) -> dict[str, Any]:
    """The figures of one load that was offered for so many seconds, as plain values.

    goodput_per_s   requests a second that were met, of those offered
    hit_rate        of the accepted ones
    refusal_*       from the instant at which the request was meant to be sent
    overshoot       how late the accepted ones were that came whole, at p99
    tokens_per_s    until the last one came, where that is after those seconds
    gears           tokens by gear, where the server tells
    """
    taken = [each for each in heard if each.accepted]
    met = [each for each in heard if each.met(slo)]
    refused = [each.end_ms for each in heard if not each.accepted and each.end_ms is not None]
    first = [each.token_ms[0] for each in taken if each.token_ms]
    ends = [each.end_ms for each in taken if each.finish_reason and each.end_ms is not None]
    came_ms = max((each.at_ms + each.token_ms[-1] for each in taken if each.token_ms), default=0.0)
    gears: Counter[str] = Counter()
    for each in taken:
        gears.update(each.told.get("gears") or {})
    return {
        "offered": len(heard),
        "offered_per_s": len(heard) / seconds,
        "accepted": len(taken),
        "met": len(met),
        "goodput_per_s": len(met) / seconds,
        "met_of_offered": _share(len(met), len(heard)),
        "hit_rate": _share(len(met), len(taken)),
        "refused": dict(Counter(each.error for each in heard if not each.accepted)),
        "gave_up": sum(each.error == "gave_up" for each in heard),
        "broken": sum(each.error == "broken" for each in heard),
        "ttft_p50_ms": _at(first, 0.5),
        "ttft_p99_ms": _at(first, 0.99),
        "whole_p50_ms": _at(ends, 0.5),
        "whole_p99_ms": _at(ends, 0.99),
        "overshoot_p99_ms": _at([max(0.0, e - (slo.total_ms or e)) for e in ends], 0.99),
        "refusal_p50_ms": _at(refused, 0.5),
        "refusal_p99_ms": _at(refused, 0.99),
        "lag_p99_ms": _at([each.lag_ms for each in heard], 0.99),
        "tokens_per_s": sum(each.tokens for each in taken) / max(seconds, came_ms / 1e3),
        "endings": dict(Counter(e.told["ending"] for e in taken if "ending" in e.told)),
        "gears": dict(gears),
    }


def cores(spent: Spent) -> dict[str, float | None]:
    """Cores that were busy on average."""
    server = None if spent.server_s is None else spent.server_s / spent.seconds
    return {"server_cores": server, "generator_cores": spent.generator_s / spent.seconds}


def recovery_ms(
    heard: Sequence[Heard], slo: Slo, end_ms: float, usual: float = 1.0
) -> float | None:
    """How long after the end of an overload the first request came from which on, of so many, the
    `usual` share was met; 0 where that is the first one. None where that never was.

    `heard` may hold what came before the end too.
    """
    after = sorted((each for each in heard if each.at_ms >= end_ms), key=lambda each: each.at_ms)
    met = [each.met(slo) for each in after]
    for i in range(len(after) - IN_A_ROW + 1):
        if sum(met[i : i + IN_A_ROW]) >= int(usual * IN_A_ROW):
            return after[i].at_ms - end_ms if i else 0.0
    return None


def against_peak(rows: Sequence[dict[str, Any]]) -> list[float]:
    """The goodput of each load as a share of the best one."""
    peak = max((row["goodput_per_s"] for row in rows), default=0.0)
    return [row["goodput_per_s"] / peak if peak else 0.0 for row in rows]


def _at(values: Sequence[float], share: float) -> float | None:
    return upper(values, share) if values else None


def _share(count: int, whole: int) -> float | None:
    return count / whole if whole else None
