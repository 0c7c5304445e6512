"""Controller: while an answer is written, keep the gear, shift it, begin to land, or stop.

It must not know sequences, text or clocks: `shift` is a pure function of where an answer stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from .latency import P50, P95, P99, LatencyModel
from .planner import spare_ms
from .policy import Policy

_MAX_CHECK_TOKENS = 8
_ROUNDING_MS = 1e-6  # where others take all that is to spare, slack is nothing but rounding
_PACE_TOKENS = 8  # so many tokens from now an answer has to be back in its rhythm


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an answer stands.

    gears         allowed ones, cheapest first; gear: the one in use
    context       cached tokens
    left_ms       until the last token must be there, margin already taken off; inf without a budget
    want_tokens   a quantile of what the answer still needs, that its gear is to give
    whole_tokens  a higher one, that the cheapest gear must be able to give
    limit_tokens  the most that it may still have
    zone_tokens   landing begins when no more than these fit
    since_shift   tokens drawn since the last shift
    batch         rows of its batch; others_ms: work for others between two of its tokens
    speed         how many times faster than plain steps its tokens come, by drafts
    tpot_ms       what a token may take on average; due_ms: until the next one is due by that
    crowding      share of the time to spare that others are likely to need
    fenced        whether a step that hangs can be left alone: then trying one more costs nothing
    """

    gears: tuple[str, ...]
    gear: str
    context: int
    left_ms: float
    want_tokens: int
    limit_tokens: int
    zone_tokens: int
    whole_tokens: int = 0
    since_shift: int = 0
    batch: int = 1
    others_ms: float = 0.0
    speed: float = 1.0
    landing: bool = False
    tpot_ms: float = math.inf
    due_ms: float = math.inf
    crowding: float = 0.0
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`gear` for the next step; `land`: stop at the next sentence end; `stop`: no further step.

    `room_tokens` still fit at the cheapest gear; `slack_ms` is what the wanted tokens leave over at
    `gear`. Ask again after `check_tokens` tokens or `check_ms`, whichever comes first.
    """

    gear: str
    land: bool
    stop: bool
    room_tokens: int
    slack_ms: float
    check_tokens: int
    check_ms: float


class Need(NamedTuple):
    """What `tokens` need at p95, and the milliseconds that there are for them."""

    tokens: int
    need_ms: float
    left_ms: float

    @property
    def slack_ms(self) -> float:
        return self.left_ms - self.need_ms


def tightest(at: Standing, latency: LatencyModel, gear: str, ease: float = 1.0) -> Need:
    """What binds an answer in that gear most, where all needs are weighed `ease` times: the wanted
    tokens before the deadline, all of it before the deadline in the cheapest gear, or the next
    tokens in their rhythm. What drafts have gained so far counts by half: where the text stops
    repeating itself it ends."""
    needs = [wanted(at, latency, gear)]
    if at.whole_tokens > at.want_tokens:
        needs.append(_need(at, latency, at.gears[0], at.whole_tokens, at.left_ms))
    if not math.isinf(at.tpot_ms):
        tokens = min(_PACE_TOKENS, at.limit_tokens)
        pace_ms = at.due_ms + (tokens - 1) * at.tpot_ms
        needs.append(_need(at, latency, gear, tokens, pace_ms))
    return min(needs, key=lambda need: need.left_ms - ease * need.need_ms)


def wanted(at: Standing, latency: LatencyModel, gear: str) -> Need:
    """What the wanted tokens need in that gear, before the deadline."""
    return _need(at, latency, gear, at.want_tokens, at.left_ms)


def _need(at: Standing, latency: LatencyModel, gear: str, tokens: int, left_ms: float) -> Need:
    tokens = max(1, min(tokens, at.limit_tokens))
    run_ms = latency.decode_ms(gear, at.context, tokens, batch=at.batch, quantile=P95)
    gained = max(1.0, 0.5 * (1.0 + at.speed))
    return Need(tokens, run_ms / gained + tokens * at.others_ms, left_ms)


def last_step_ms(at: Standing, latency: LatencyModel, gear: str) -> float:
    """What must be left for a step to be begun."""
    quantile = P50 if at.fenced else P99
    return latency.decode_ms(gear, at.context, 1, batch=at.batch, quantile=quantile)


def with_own_time(at: Standing, latency: LatencyModel) -> Standing:
    """The standing with the time only that others are not likely to need: what gears are chosen
    for."""
    if at.crowding == 0.0:
        return at
    need_ms = at.left_ms - tightest(at, latency, at.gears[0]).slack_ms
    return replace(at, left_ms=spare_ms(at.left_ms, need_ms, at.crowding))


def _spares(at: Standing, latency: LatencyModel, gear: str, ease: float) -> bool:
    need = tightest(at, latency, gear, ease)
    return ease * need.need_ms <= need.left_ms


def shift(standing: Standing, latency: LatencyModel, policy: Policy) -> Decision:
    """The next move of one answer.

    A cheaper gear as soon as the wanted tokens no longer fit at p95, before the deadline or in
    their rhythm, or others need the time; a better one when they fit with `policy.hysteresis` to
    spare, and one step at p95 keeps the rhythm (time saved earlier does not buy a gear that cannot
    be held); landing when the cheapest gear has room for the landing zone only; stop when not even
    one step fits: at p99, or in the median where a late one can be left alone.
    """
    at, left_ms = standing, standing.left_ms
    if math.isinf(left_ms) and math.isinf(at.tpot_ms):
        return Decision(at.gear, False, False, at.limit_tokens, math.inf, 1 << 30, math.inf)

    own = with_own_time(at, latency)
    gear = at.gear
    index = at.gears.index(gear)
    if index and tightest(own, latency, gear).slack_ms < -_ROUNDING_MS:
        for gear in reversed(at.gears[:index]):
            if tightest(own, latency, gear).slack_ms >= -_ROUNDING_MS:
                break
    elif index + 1 < len(at.gears) and at.since_shift >= policy.shift_gap_tokens:
        better, ease = at.gears[index + 1], 1.0 + policy.hysteresis
        step_ms = latency.decode_ms(better, at.context, 1, batch=at.batch, quantile=P95)
        steady = ease * (step_ms + at.others_ms) <= at.tpot_ms
        steady = steady and last_step_ms(at, latency, better) <= left_ms
        if steady and _spares(own, latency, better, ease):
            gear = better
    slack_ms = tightest(at, latency, gear).slack_ms
    # Other work may be put off for the last token, so it does not count here.
    if last_step_ms(at, latency, gear) > left_ms:
        gear = at.gears[0]
        if last_step_ms(at, latency, gear) > left_ms:
            return Decision(gear, True, True, 0, slack_ms, 1, 0.0)
    room = latency.tokens_within(
        at.gears[0],
        at.context,
        left_ms,
        batch=at.batch,
        others_ms=at.others_ms,
        limit=at.limit_tokens,
    )
    land = at.landing or room <= min(at.zone_tokens, at.limit_tokens - 1)
    check = 1 if land else max(1, min(_MAX_CHECK_TOKENS, (room - at.zone_tokens) // 4))
    check_run_ms = latency.decode_ms(gear, at.context, check, batch=at.batch, quantile=P50)
    check_ms = 1.5 * (check_run_ms + check * at.others_ms)
    return Decision(gear, land, False, room, slack_ms, check, check_ms)
