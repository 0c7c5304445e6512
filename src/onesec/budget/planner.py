"""Planner: before any work, the best gear that answers in time, or a refusal with a counter-offer.

It must not know tokens' meaning, sequences or clocks: it is a pure function of counts, durations,
the LatencyModel and the LengthModel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onesec.core.errors import DeadlineInfeasible

from .latency import P50, P95, LatencyModel
from .length import LengthModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The few numbers that planning and steering turn on.

    A budget T is planned as T - flush_ms - margin_share·T. A plan aims at the `target_quantile` of
    the answer's length.
    """

    flush_ms: float = 0.3
    margin_share: float = 0.01
    target_quantile: float = 0.8
    min_answer_tokens: int = 8
    landing_tokens: int = 24  # about one sentence
    hysteresis: float = 0.15  # a better gear must fit with this much to spare
    shift_gap_tokens: int = 8  # tokens between two shifts upwards

    def margin_ms(self, budget_ms: float) -> float:
        """What is kept back of a budget for handing over the last byte."""
        return self.flush_ms + self.margin_share * budget_ms

    def budget_for(self, work_ms: float) -> float:
        """The smallest budget in whole milliseconds that leaves `work_ms` after the margin."""
        return float(math.ceil((work_ms + self.flush_ms) / (1.0 - self.margin_share) + 1e-6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """All that the planner needs of a request and of the engine's present load.

    gears          allowed ones, cheapest first
    limit_tokens   the most tokens that the answer may have (max_tokens and context)
    cached_tokens  of the prompt, for each gear that finds some in the prefix cache
    elapsed_ms     since arrival; wait_ms: predicted until work on this request can start
    batch          rows that will decode beside it, itself included
    others_ms      work for others between two of its tokens, for each gear that it may use
    turn_ms        work for others beside each of its prompt's chunks
    """

    prompt_tokens: int
    limit_tokens: int
    gears: tuple[str, ...]
    min_tokens: int = 0
    budget_ms: float | None = None
    ttft_ms: float | None = None
    cached_tokens: Mapping[str, int] = field(default_factory=dict)
    elapsed_ms: float = 0.0
    wait_ms: float = 0.0
    batch: int = 1
    others_ms: Mapping[str, float] = field(default_factory=dict)
    turn_ms: float = 0.0
    chunk_tokens: int = 512
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is intended for one request. Durations are milliseconds since arrival, at p95;
    `likely_ms` is when a usual answer is done, in the median.

    `max_tokens` are the tokens that there is room for (no more than usual, unless the gear is the
    best); the last `landing_reserve_tokens` of them are the landing zone. `feasible_ms` is the
    smallest budget that works; `better_ms` is when an answer of the wanted length would be done by
    the next better gear, which is too late (None: the gear is the best).
    """

    gear: str
    prefill_gear: str
    max_tokens: int
    landing_reserve_tokens: int
    predicted_ms: float
    likely_ms: float
    feasible_ms: float
    better_ms: float | None = None


def plan(
    ask: Ask, latency: LatencyModel, length: LengthModel, policy: Policy | None = None
) -> Plan:
    """The best gear whose p95 for prompt and expected answer fits the budget, else a cheaper one.

    Without a budget: the best gear. More budget never gives a cheaper gear or less room.
    Raises DeadlineInfeasible when the cheapest gear has no room for the smallest answer.
    """
    policy = policy or Policy()
    cheapest, best = ask.gears[0], ask.gears[-1]
    need = min(ask.limit_tokens, max(ask.min_tokens, policy.min_answer_tokens))
    spent_ms = ask.elapsed_ms + ask.wait_ms
    ttft_left_ms = _work_ms(ask.ttft_ms, policy) - spent_ms
    left_ms = _work_ms(ask.budget_ms, policy) - spent_ms
    first_ms = _prefill_ms(ask, latency, cheapest)
    smallest_ms = first_ms + _decode_ms(ask, latency, cheapest, need)
    feasible_ms = policy.budget_for(spent_ms + smallest_ms)
    if left_ms < smallest_ms:
        raise DeadlineInfeasible(
            budget_ms=ask.budget_ms or 0.0,
            feasible_ms=feasible_ms,
            why=f"{ask.prompt_tokens} prompt tokens and {need} of an answer in gear {cheapest}",
        )
    if ttft_left_ms < first_ms:
        raise DeadlineInfeasible(
            budget_ms=ask.ttft_ms or 0.0,
            feasible_ms=policy.budget_for(spent_ms + first_ms),
            why=f"the first token after {ask.prompt_tokens} prompt tokens in gear {cheapest}",
        )
    usual = length.quantile(policy.target_quantile, key=ask.key)
    target = max(need, min(ask.limit_tokens, usual))
    median = length.quantile(0.5, key=ask.key)
    prefill_of, prefill_gear, prefill_ms = {}, cheapest, first_ms
    for candidate in ask.gears:  # the best one not above the candidate with its first token in time
        ms = _prefill_ms(ask, latency, candidate)
        if ms <= ttft_left_ms:
            prefill_gear, prefill_ms = candidate, ms
        prefill_of[candidate] = (prefill_gear, prefill_ms)
    gear, (prefill_gear, prefill_ms) = cheapest, prefill_of[cheapest]
    better_ms = None
    for candidate in reversed(ask.gears):
        name, ms = prefill_of[candidate]
        # The cheapest gear, to which the answer may fall back, is not always the quicker one: where
        # it waits for more work of others.
        both = (_decode_ms(ask, latency, each, target) for each in (candidate, cheapest))
        all_ms = ms + max(both)
        if all_ms <= left_ms:
            gear, prefill_gear, prefill_ms = candidate, name, ms
            break
        if candidate != cheapest:
            better_ms = spent_ms + all_ms
    room = _room(ask, latency, left_ms - prefill_ms)
    if gear != best:
        room = min(room, target)  # a better gear, chosen with more time, may leave no more
    decode_ms = _decode_ms(ask, latency, gear, min(target, room))
    return Plan(
        gear=gear,
        prefill_gear=prefill_gear,
        max_tokens=room,
        landing_reserve_tokens=0
        if ask.budget_ms is None
        else max(1, min(policy.landing_tokens, room // 3)),
        predicted_ms=spent_ms + prefill_ms + decode_ms,
        likely_ms=spent_ms
        + _prefill_ms(ask, latency, prefill_gear, P50)
        + _decode_ms(ask, latency, gear, min(median, target, room), P50),
        feasible_ms=feasible_ms,
        better_ms=better_ms,
    )


def at_gear(old: Plan, gear: str, feasible_ms: float) -> Plan:
    """The same plan in another gear, for what would need `feasible_ms` by now."""
    return replace(
        old,
        gear=gear,
        prefill_gear=gear,
        predicted_ms=max(old.predicted_ms, feasible_ms),
        feasible_ms=feasible_ms,
        better_ms=None,
    )


def _work_ms(budget_ms: float | None, policy: Policy) -> float:
    return math.inf if budget_ms is None else budget_ms - policy.margin_ms(budget_ms)


def _prefill_ms(ask: Ask, latency: LatencyModel, gear: str, quantile: float = P95) -> float:
    """Until the first token: the prompt's chunks with work for others between them."""
    cached = ask.cached_tokens.get(gear, 0)
    tokens = ask.prompt_tokens - cached
    chunks = -(-tokens // ask.chunk_tokens)
    run_ms = latency.prefill_ms(gear, tokens, start=cached, chunks=chunks, quantile=quantile)
    return run_ms + chunks * ask.turn_ms


def _decode_ms(
    ask: Ask, latency: LatencyModel, gear: str, tokens: int, quantile: float = P95
) -> float:
    """The rest of an answer of `tokens` tokens after the first."""
    steps = tokens - 1
    run_ms = latency.decode_ms(gear, ask.prompt_tokens, steps, batch=ask.batch, quantile=quantile)
    return run_ms + steps * ask.others_ms.get(gear, 0.0)


def _room(ask: Ask, latency: LatencyModel, left_ms: float) -> int:
    """Tokens of an answer that fit after the prompt, in the cheapest gear."""
    if left_ms < 0.0:
        return 0
    return 1 + latency.tokens_within(
        ask.gears[0],
        ask.prompt_tokens,
        left_ms,
        batch=ask.batch,
        others_ms=ask.others_ms.get(ask.gears[0], 0.0),
        limit=ask.limit_tokens - 1,
    )
