"""Recent: what became of the last requests, and of all those of the last minute, as numbers.

It must not know what was asked or answered: times, counts and endings only.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

_KEPT = 100
_SPAN_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One HTTP request that is over. `met` is None without a budget; `ending` is an answer's
    ("natural", "landed", "cut"), "left" where the client did, or the code of a refusal."""

    path: str
    elapsed_ms: float
    ending: str
    budget_ms: float | None = None
    met: bool | None = None
    tokens: int = 0
    refused: bool = False


class Recent:
    """The last requests, one by one, and the last minute's in seconds that are counted, since
    `start_ns`."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._last: deque[tuple[int, Done]] = deque(maxlen=_KEPT)
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def add(self, done: Done, now_ns: int) -> None:
        """Take in a request that ended now."""
        self._last.append((now_ns, done))
        self._forget(now_ns)
        second = now_ns // 10**9
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
        counts = self._seconds[-1][1]
        if done.refused or done.ending == "left":
            counts["refused" if done.refused else "left"] += 1
            return
        counts["answers"] += 1
        if done.met is not None:
            counts["met" if done.met else "missed"] += 1
        if done.met is not False:
            counts["good"] += 1
            counts["good_tokens"] += done.tokens

    def view(self, now_ns: int) -> dict[str, Any]:
        """`minute`: counts of the last minute; `hit_rate` is the share of answers with a budget
        that kept it, `goodput` what was in time a second, of a minute or of the time since the
        start. `recent`: the last requests, oldest first."""
        self._forget(now_ns)
        total: Counter[str] = Counter()
        for _, counts in self._seconds:
            total.update(counts)
        timed = total["met"] + total["missed"]
        span_s = min(max((now_ns - self._start_ns) / 1e9, 1.0), _SPAN_S)
        return {
            "minute": {
                **{name: total[name] for name in ("answers", "met", "missed", "refused", "left")},
                "hit_rate": total["met"] / timed if timed else None,
                "goodput_answers_per_s": total["good"] / span_s,
                "goodput_tokens_per_s": total["good_tokens"] / span_s,
            },
            "recent": [
                {
                    "age_ms": round((now_ns - at_ns) / 1e6),
                    "path": done.path,
                    "budget_ms": done.budget_ms,
                    "elapsed_ms": round(done.elapsed_ms, 1),
                    "met": done.met,
                    "ending": done.ending,
                    "refused": done.refused,
                    "tokens": done.tokens,
                }
                for at_ns, done in self._last
            ],
        }

    def _forget(self, now_ns: int) -> None:
        """Seconds that are a minute old."""
        oldest = now_ns // 10**9 - _SPAN_S
        while self._seconds and self._seconds[0][0] <= oldest:
            self._seconds.popleft()
