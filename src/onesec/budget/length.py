"""LengthModel: how many tokens an answer still has, as a distribution learned from answers seen.

It must not know text, time, or why an answer ended. Lengths fall into geometric bins; an answer
that was stopped early counts as "at least that long" (Kaplan-Meier), so that short budgets do not
teach short answers.
"""

from __future__ import annotations

from bisect import bisect_right

_PRIOR_MEDIAN, _PRIOR_SHAPE = 96.0, 1.7  # log-logistic: S(n) = 1 / (1 + (n / median)^shape)
_PRIOR_WEIGHT, _KEY_WEIGHT = 4.0, 8.0  # answers that the prior (the pool, for a key) counts as
_FORGET_AT = 1024.0  # answers; then all counts are halved
_MAX_KEYS = 64


def _edges() -> tuple[int, ...]:
    edges = [0]
    while edges[-1] < 1 << 17:
        edges.append(max(edges[-1] + 1, round(edges[-1] * 1.19)))
    return tuple(edges)


_EDGES = _edges()


class _Histogram:
    """Answers counted by length bin; bin i holds lengths in (edge[i], edge[i + 1]]."""

    __slots__ = ("_prior", "_survival", "_weight", "ended", "stopped", "total")

    def __init__(self, prior: _Histogram | None) -> None:
        self._prior = prior
        self._weight = _PRIOR_WEIGHT if prior is None else _KEY_WEIGHT
        self.ended = [0.0] * (len(_EDGES) - 1)
        self.stopped = [0.0] * (len(_EDGES) - 1)
        self.total = 0.0
        self._survival: list[float] | None = None

    def add(self, tokens: int, ended: bool) -> None:
        last = len(_EDGES) - 2
        index = min(last, max(0, bisect_right(_EDGES, tokens - 1) - 1))
        (self.ended if ended else self.stopped)[index] += 1.0
        self.total += 1.0
        self._survival = None
        if self.total >= _FORGET_AT:
            self.ended = [count / 2 for count in self.ended]
            self.stopped = [count / 2 for count in self.stopped]
            self.total /= 2

    def survival(self) -> list[float]:
        """S[i]: probability that an answer is longer than edge[i] tokens; S[0] = 1, falling."""
        if self._survival is None:
            if self._prior is None:
                prior = [1.0 / (1.0 + (n / _PRIOR_MEDIAN) ** _PRIOR_SHAPE) for n in _EDGES]
            else:
                prior = self._prior.survival()
            at_risk = self.total
            result = [1.0]
            for i, (ended, stopped) in enumerate(zip(self.ended, self.stopped, strict=True)):
                hazard = 1.0 - prior[i + 1] / prior[i]
                hazard = (self._weight * hazard + ended) / (self._weight + at_risk)
                result.append(max(result[-1] * (1.0 - hazard), 1e-12))
                at_risk -= ended + stopped
            self._survival = result
        return self._survival


class LengthModel:
    """The distribution of answer lengths, pooled and for each key (an app's name, say).

    >>> model = LengthModel()
    >>> for _ in range(200): model.observe(40, ended=True)
    >>> 36 <= model.quantile(0.5) <= 41
    True
    """

    def __init__(self) -> None:
        self._pool = _Histogram(None)
        self._keys: dict[str, _Histogram] = {}

    def observe(self, tokens: int, *, ended: bool, key: str = "") -> None:
        """Count an answer of `tokens` tokens; `ended` is False where it was stopped early."""
        self._pool.add(tokens, ended)
        if key:
            histogram = self._keys.get(key)
            if histogram is None:
                if len(self._keys) >= _MAX_KEYS:
                    return
                histogram = self._keys[key] = _Histogram(self._pool)
            histogram.add(tokens, ended)

    def longer_than(self, tokens: int, *, key: str = "") -> float:
        """The probability that an answer has more than `tokens` tokens."""
        return _at(self._keys.get(key, self._pool).survival(), tokens)

    def quantile(self, quantile: float, *, done: int = 0, key: str = "") -> int:
        """Tokens still to come, given that `done` are there, not exceeded with that probability."""
        survival = self._keys.get(key, self._pool).survival()
        target = _at(survival, done) * (1.0 - quantile)
        low, high = 0, len(survival) - 1
        while low < high:  # first edge whose survival is at or below the target
            middle = (low + high) // 2
            if survival[middle] > target:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return 1
        above, below = survival[low - 1], survival[low]
        share = 1.0 if above <= below else min(1.0, (above - target) / (above - below))
        length = _EDGES[low - 1] + share * (_EDGES[low] - _EDGES[low - 1])
        return max(1, round(length) - done)


def _at(survival: list[float], tokens: int) -> float:
    index = min(len(_EDGES) - 2, bisect_right(_EDGES, tokens) - 1)
    share = min(1.0, (tokens - _EDGES[index]) / (_EDGES[index + 1] - _EDGES[index]))
    return survival[index] + share * (survival[index + 1] - survival[index])
