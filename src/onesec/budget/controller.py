"""Controller: while an answer is written, keep the gear, shift it, begin to land, or stop.

It must not know sequences, text or clocks: `shift` is a pure function of where an answer stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .latency import P50, P95, P99, LatencyModel
from .planner import Policy

_MAX_CHECK_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an answer stands.

    gears         allowed ones, cheapest first; gear: the one in use
    context       cached tokens
    left_ms       until the last token must be there, margin already taken off; inf without a budget
    want_tokens   a high quantile of what the answer still needs
    limit_tokens  the most that it may still have
    zone_tokens   landing begins when no more than these fit
    since_shift   tokens drawn since the last shift
    batch         rows of its batch; others_ms: work for others between two of its tokens
    speed         how many times faster than plain steps its tokens come, by drafts
    """

    gears: tuple[str, ...]
    gear: str
    context: int
    left_ms: float
    want_tokens: int
    limit_tokens: int
    zone_tokens: int
    since_shift: int = 0
    batch: int = 1
    others_ms: float = 0.0
    speed: float = 1.0
    landing: bool = False


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


def wanted(at: Standing, latency: LatencyModel, gear: str) -> tuple[int, float]:
    """The tokens that are wanted, and what they need in that gear at p95 in milliseconds. What
    drafts have gained so far counts by half: where the text stops repeating itself it ends."""
    tokens = max(1, min(at.want_tokens, at.limit_tokens))
    run_ms = latency.decode_ms(gear, at.context, tokens, batch=at.batch, quantile=P95)
    gained = max(1.0, 0.5 * (1.0 + at.speed))
    return tokens, run_ms / gained + tokens * at.others_ms


def shift(standing: Standing, latency: LatencyModel, policy: Policy) -> Decision:
    """The next move of one answer.

    A cheaper gear as soon as the wanted tokens no longer fit at p95; a better one when they fit
    with `policy.hysteresis` to spare; landing when the cheapest gear has room for the landing zone
    only; stop when not even one step fits at p99.
    """
    at, left_ms = standing, standing.left_ms
    if math.isinf(left_ms):
        return Decision(at.gear, False, False, at.limit_tokens, math.inf, 1 << 30, math.inf)

    gear = at.gear
    slack_ms = left_ms - wanted(at, latency, gear)[1]
    index = at.gears.index(gear)
    if slack_ms < 0.0:
        for cheaper in reversed(at.gears[:index]):
            gear, slack_ms = cheaper, left_ms - wanted(at, latency, cheaper)[1]
            if slack_ms >= 0.0:
                break
    elif index + 1 < len(at.gears) and at.since_shift >= policy.shift_gap_tokens:
        better = at.gears[index + 1]
        need = wanted(at, latency, better)[1]
        if need * (1.0 + policy.hysteresis) <= left_ms:
            gear, slack_ms = better, left_ms - need
    # Other work may be put off for the last token, so it does not count here.
    if latency.decode_ms(gear, at.context, 1, batch=at.batch, quantile=P99) > left_ms:
        gear = at.gears[0]
        if latency.decode_ms(gear, at.context, 1, batch=at.batch, quantile=P99) > left_ms:
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
