"""Arrivals: when requests come, whatever became of those before: at random, in bursts, as recorded.

It must not know what is asked or of whom. Instants are seconds from the beginning, rising.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from random import Random

from onesec.core.errors import InvalidRequest

_TIME = (
    "TIMESTAMP",
    "arrived_at",
    "timestamp",
)  # columns that hold instants, in traces known so far
_FRACTION = 6  # digits of a second's fraction that are read; traces write seven


def poisson(rate_per_s: float, seconds: float, rng: Random) -> list[float]:
    """Independent users: exponential gaps.

    >>> len(poisson(100.0, 10.0, Random(0))) in range(900, 1100)
    True
    """
    found, at_s = [], rng.expovariate(rate_per_s)
    while at_s < seconds:
        found.append(at_s)
        at_s += rng.expovariate(rate_per_s)
    return found


def bursts(rate_per_s: float, seconds: float, size: int) -> list[float]:
    """`size` requests at the same instant, again and again, `rate_per_s` on average.

    >>> bursts(4.0, 2.0, 4)
    [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    """
    gap_s = size / rate_per_s
    return [i * gap_s for i in range(max(1, round(seconds / gap_s))) for _ in range(size)]


def replayed(instants: Sequence[float], rate_per_s: float, seconds: float) -> list[float]:
    """The gaps of a trace, all scaled alike so that their mean is 1 / `rate_per_s`; a trace that is
    too short begins again. Raises InvalidRequest where there are no gaps.

    >>> replayed([0.0, 10.0, 40.0], 1.0, 4.0)
    [0.0, 0.5, 2.0, 2.5]
    """
    gaps = [b - a for a, b in pairwise(instants)]
    total = sum(gaps)
    if total <= 0.0 or min(gaps) < 0.0:
        raise InvalidRequest("The trace has no rising instants.")
    scale = len(gaps) / total / rate_per_s
    found, at_s, i = [], 0.0, 0
    while at_s < seconds:
        found.append(at_s)
        at_s += gaps[i % len(gaps)] * scale
        i += 1
    return found


def trace_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a trace: a CSV file (or .csv.gz). Raises InvalidRequest."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            return list(csv.DictReader(file))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}.") from None


def instants(path: Path) -> list[float]:
    """The arrivals of a trace in seconds from its first one: a CSV file (or .csv.gz) whose column
    TIMESTAMP, arrived_at or timestamp holds dates or seconds. Raises InvalidRequest."""
    rows = trace_rows(path)
    name = next((name for name in _TIME if rows and name in rows[0]), None)
    if name is None:
        raise InvalidRequest(
            f"{path} has none of the columns {', '.join(_TIME)}.",
            hint="Leave --traffic out: arrivals are random then.",
        )
    try:
        found = sorted(_seconds(row[name]) for row in rows)
    except (ValueError, TypeError):
        raise InvalidRequest(f"{path}: {name} is neither a date nor a number.") from None
    return [each - found[0] for each in found]


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        whole, dot, fraction = text.partition(".")
        return datetime.fromisoformat(whole + dot + fraction[:_FRACTION]).timestamp()
