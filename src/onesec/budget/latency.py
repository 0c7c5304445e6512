"""LatencyModel: how long a prompt or the next h tokens take, per gear and batch, as quantiles.

It must not know requests, deadlines or what computes: it sees token counts and milliseconds only.

    prefill of n tokens after s cached ones   a + b·n + c·((s + n)² - s²)
    one decode step of B rows                 p·(cached tokens of all rows) + q·factor(B)

The coefficients come from measurements (fit.py); corrections of the machine, of each gear, of
batches and of short prompt chunks follow the present (`observe_*`), and the tail is the empirical
quantile of measured / predicted over the *next h tokens*, since adding up the p99 of single steps
would burn the budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from onesec.core.errors import UnknownGear

from .ratios import HORIZONS, Chunks, Steps

P50, P95, P99 = 0.50, 0.95, 0.99
_MACHINE_RATE, _GEAR_RATE, _ROWS_RATE, _PREFILL_RATE = 0.1, 0.02, 0.05, 0.2
_MACHINE_BOUNDS = (math.log(0.5), math.log(16.0))
_GEAR_BOUND, _ROWS_BOUND = math.log(2.0), math.log(4.0)
_DOUBT = 0.1  # of a correction, a refusal
_TELLING_STEPS = 8  # a chunk as long as these of the cheapest gear tells all it can of the machine
# A step that takes longer than so many times its expectation has met a stall: it counts as that
# long. Stalls have no upper end, and one of them would be the margin of the next 256 steps; what
# they may last is the watchdog's affair, not the margins'.
_STALL = 8.0
_SURPRISE = 1.0  # one stall moves a correction by no more than rate · e-fold


@dataclass(frozen=True, slots=True, kw_only=True)
class GearCost:
    """Coefficients of one gear in milliseconds (see the module's formulas).

    `batch` holds (rows, factor) pairs with rising rows; between them factors are interpolated, past
    the last they grow in proportion. Tails are (p95, p99) of measured / predicted.
    """

    a_ms: float = 0.0
    b_ms: float
    c_ms: float = 0.0
    p_ms: float = 0.0
    q_ms: float
    batch: tuple[tuple[int, float], ...] = ((1, 1.0),)
    prefill_tail: tuple[float, float] = (1.02, 1.05)
    step_tail: tuple[float, float] = (1.02, 1.05)

    def factor(self, rows: int) -> float:
        """How much longer the constant part of a step is with `rows` rows than with one."""
        low_rows, low = self.batch[0]
        if rows <= low_rows:
            return low
        for high_rows, high in self.batch[1:]:
            if rows <= high_rows:
                return low + (high - low) * (rows - low_rows) / (high_rows - low_rows)
            low_rows, low = high_rows, high
        return low * rows / low_rows


class _GearState:
    """What is learned of one gear while it runs: how its steps differ from what was fitted."""

    def __init__(self, cost: GearCost) -> None:
        self.cost = cost
        self.offset = 0.0  # log
        self.rows_offset: dict[int, float] = {}  # log, by the rows of a batch in powers of two

    def correction(self, rows: int) -> float:
        """That of steps of so many rows, as a logarithm."""
        return self.offset + self.rows_offset.get(_power(rows), 0.0)


class LatencyModel:
    """Predicts milliseconds for each gear, and learns from what is observed.

    >>> model = LatencyModel({"4": GearCost(b_ms=0.5, q_ms=10.0)})
    >>> model.decode_ms("4", context=100, tokens=8, quantile=P50)
    80.0
    """

    def __init__(self, costs: Mapping[str, GearCost]) -> None:
        self._gears = {name: _GearState(cost) for name, cost in costs.items()}
        self._machine = 0.0  # log of the present slowness of all gears
        self._steps = Steps()
        self._short, self._long = Chunks(), Chunks()
        self._telling_ms = _TELLING_STEPS * min((c.q_ms for c in costs.values()), default=0.0)

    @property
    def gears(self) -> tuple[str, ...]:
        """Names of the gears that were measured."""
        return tuple(self._gears)

    def cost(self, gear: str) -> GearCost:
        """The fitted coefficients of a gear. Raises UnknownGear."""
        return self._state(gear).cost

    def _state(self, gear: str) -> _GearState:
        try:
            return self._gears[gear]
        except KeyError:
            raise UnknownGear(
                gear, tuple(self._gears), hint="The latency model holds no times of it: profile it."
            ) from None

    def _chunks(self, ms: float) -> Chunks:
        """What is known of prompt chunks that take `ms` by the fit."""
        return self._long if ms >= self._telling_ms else self._short

    # -- predict ---------------------------------------------------------------------------------

    def prefill_ms(
        self, gear: str, tokens: int, *, start: int = 0, chunks: int = 1, quantile: float = P95
    ) -> float:
        """Milliseconds for `tokens` prompt tokens after `start` cached ones, in `chunks` calls."""
        if tokens <= 0:
            return 0.0
        state = self._state(gear)
        cost = state.cost
        end = start + tokens
        base = cost.a_ms * chunks + cost.b_ms * tokens + cost.c_ms * (end * end - start * start)
        known = self._chunks(base / chunks)
        base *= math.exp(self._machine + known.offset)
        if quantile == P50:
            return base
        tail = known.window.tail(quantile, _fitted(cost.prefill_tail, quantile))
        return base * max(1.0, tail)

    def step_ms(self, gear: str, context: int, batch: int = 1) -> float:
        """The median step: `batch` rows of `context` cached tokens each."""
        state = self._state(gear)
        cost = state.cost
        base = cost.p_ms * context * batch + cost.q_ms * cost.factor(batch)
        return base * math.exp(self._machine + state.correction(batch))

    def decode_ms(
        self, gear: str, context: int, tokens: int, *, batch: int = 1, quantile: float = P95
    ) -> float:
        """Milliseconds for the next `tokens` decode steps from `context` on; rising."""
        if tokens <= 0:
            return 0.0
        flat, slope = self._steps_ms(gear, context, batch)
        return _run_ms(tokens, flat, slope, self._tails(gear, quantile))

    def _steps_ms(self, gear: str, context: int, batch: int) -> tuple[float, float]:
        """(flat, slope): in the median n steps take n·(flat + slope·n/2)."""
        state = self._state(gear)
        cost = state.cost
        scale = math.exp(self._machine + state.correction(batch))
        slope = cost.p_ms * batch * scale
        return cost.q_ms * cost.factor(batch) * scale + slope * (context - 0.5), slope

    def _tails(self, gear: str, quantile: float) -> tuple[float, ...]:
        """Of measured / predicted at each horizon; none for the median."""
        if quantile == P50:
            return ()
        return self._steps.tails(quantile, _fitted(self._state(gear).cost.step_tail, quantile))

    def tokens_within(
        self,
        gear: str,
        context: int,
        ms: float,
        *,
        batch: int = 1,
        others_ms: float = 0.0,
        quantile: float = P95,
        limit: int = 1 << 20,
    ) -> int:
        """The most steps (at most `limit`) that fit into `ms`, each followed by `others_ms`."""
        if ms <= 0.0 or limit <= 0:
            return 0
        if math.isinf(ms):
            return limit
        step = self.step_ms(gear, context, batch) + others_ms
        low, high = 0, limit if step <= 0.0 else min(limit, int(ms / step) + 1)
        flat, slope = self._steps_ms(gear, context, batch)
        tails = self._tails(gear, quantile)
        while low < high:
            middle = (low + high + 1) // 2
            if _run_ms(middle, flat, slope, tails) + others_ms * middle <= ms:
                low = middle
            else:
                high = middle - 1
        return low

    # -- observe ---------------------------------------------------------------------------------

    def observe_prefill(self, gear: str, tokens: int, ms: float, *, start: int = 0) -> None:
        """Learn from one prompt chunk."""
        state = self._state(gear)
        cost = state.cost
        end = start + tokens
        base = cost.a_ms + cost.b_ms * tokens + cost.c_ms * (end * end - start * start)
        if base <= 0.0 or ms <= 0.0:
            return
        known = self._chunks(base)
        error = math.log(ms / base) - self._machine - known.offset
        known.window.add(min(_STALL, math.exp(error)))
        error = _clip(error, -_SURPRISE, _SURPRISE)
        # A short chunk says little of the machine: what it takes beyond the fit is its own.
        weight = 1.0 if known is self._long else base / self._telling_ms
        self._move_machine(weight * _PREFILL_RATE * error)
        known.offset = _clip(known.offset + _GEAR_RATE * error, -_GEAR_BOUND, _GEAR_BOUND)

    def observe_decode(
        self, gear: str, context_sum: int, batch: int, step_ms: Iterable[float]
    ) -> None:
        """Learn from decode steps in a row; all rows had `context_sum` cached tokens before."""
        state = self._state(gear)
        cost = state.cost
        flat = cost.q_ms * cost.factor(batch)
        rows = _power(batch)
        for ms in step_ms:
            base = (cost.p_ms * context_sum + flat) * math.exp(state.correction(batch))
            context_sum += batch
            if base <= 0.0 or ms <= 0.0:
                continue
            scale = math.exp(self._machine)
            self._steps.add(min(ms, _STALL * base * scale), base, scale)
            error = _clip(math.log(ms / (base * scale)), -_SURPRISE, _SURPRISE)
            self._move_machine(_MACHINE_RATE * error)
            state.offset = _clip(state.offset + _GEAR_RATE * error, -_GEAR_BOUND, _GEAR_BOUND)
            if rows:
                moved = state.rows_offset.get(rows, 0.0) + _ROWS_RATE * error
                state.rows_offset[rows] = _clip(moved, -_ROWS_BOUND, _ROWS_BOUND)

    def observe_machine(self, error: float) -> None:
        """Learn of the machine alone, from work that took exp(`error`) times what was expected."""
        self._move_machine(_MACHINE_RATE * _clip(error, -_SURPRISE, _SURPRISE))

    def _move_machine(self, by: float) -> None:
        self._machine = _clip(self._machine + by, *_MACHINE_BOUNDS)

    @property
    def slowness(self) -> float:
        """How many times as long as what was fitted the machine takes now."""
        return math.exp(self._machine)

    def start_at(self, slowness: float) -> None:
        """Begin with all times `slowness` times what was fitted: measured just now."""
        self._machine = _clip(math.log(slowness), *_MACHINE_BOUNDS)

    def doubt(self) -> None:
        """Believe a part less of what makes the machine slower than what was fitted.

        A refusal runs nothing, so it teaches nothing: where each one rested on a slow spell, the
        spell would last for ever.
        """
        self._machine = _doubted(self._machine)
        for chunks in (self._short, self._long):
            chunks.offset = _doubted(chunks.offset)
        for state in self._gears.values():
            state.offset = _doubted(state.offset)

    # -- save and load ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The fitted coefficients as plain values, ready for JSON; corrections are not kept."""
        return {"version": 1, "gears": {n: asdict(s.cost) for n, s in self._gears.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatencyModel:
        """The inverse of `to_dict`. Raises ValueError on anything else."""
        try:
            if values["version"] != 1:
                raise ValueError(f"version {values['version']!r} is not 1")
            return cls({str(n): _cost_from(c) for n, c in dict(values["gears"]).items()})
        except (KeyError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(f"not a saved latency model: {error!r}") from error


def _cost_from(values: Mapping[str, Any]) -> GearCost:
    def number(value: Any) -> float:
        result = float(value)
        if not math.isfinite(result) or result < 0.0:
            raise ValueError(f"a coefficient is {result}; it must be finite and not negative")
        return result

    def pair(value: Any) -> tuple[float, float]:
        return number(value[0]), number(value[1])

    batch = tuple((int(rows), number(factor)) for rows, factor in values["batch"])
    if any(low >= high for (low, _), (high, _) in pairwise(((0, 0.0), *batch))) or not batch:
        raise ValueError(f"batch factors {batch} do not rise from one row on")
    return GearCost(
        a_ms=number(values["a_ms"]),
        b_ms=number(values["b_ms"]),
        c_ms=number(values["c_ms"]),
        p_ms=number(values["p_ms"]),
        q_ms=number(values["q_ms"]),
        batch=batch,
        prefill_tail=pair(values["prefill_tail"]),
        step_tail=pair(values["step_tail"]),
    )


def _power(rows: int) -> int:
    """The least power of two that is no less than `rows`, as an exponent."""
    return (rows - 1).bit_length()


def _run_ms(tokens: int, flat: float, slope: float, tails: tuple[float, ...]) -> float:
    """What so many steps take: their median and, where there are tails, margins at the horizons,
    joined by straight lines, so that time never falls with tokens."""
    base = tokens * (flat + 0.5 * slope * tokens)
    if not tails:
        return base
    known, margin = 0, 0.0
    for horizon, tail in zip(HORIZONS, tails, strict=True):
        further = max(margin, (tail - 1.0) * horizon * (flat + 0.5 * slope * horizon))
        if horizon >= tokens:
            return base + margin + (further - margin) * (tokens - known) / (horizon - known)
        known, margin = horizon, further
    return base + margin * tokens / known


def _doubted(offset: float) -> float:
    return offset - _DOUBT * max(0.0, offset)


def _clip(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value


def _fitted(tail: tuple[float, float], quantile: float) -> float:
    return tail[0] if quantile <= P95 else tail[1]
