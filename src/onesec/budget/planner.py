"""Planner: before any work, the best gear that answers in time, or a refusal with a counter-offer.

It must not know tokens' meaning, sequences or clocks: it is a pure function of counts, durations,
the LatencyModel and the LengthModel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onesec.core.cues import Cues
from onesec.core.errors import DeadlineInfeasible, Which

from .chunks import count_chunks
from .latency import P50, P95, LatencyModel
from .length import LengthModel
from .policy import Policy

_LEAST_ZONE_TOKENS = 4  # one dear step must not pass over the whole landing zone


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
    crowding       share of the time to spare that others are likely to need
    best_effort    begin in any case: what is there at the deadline is the answer
    """

    prompt_tokens: int
    limit_tokens: int
    gears: tuple[str, ...]
    min_tokens: int = 0
    budget_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    cached_tokens: Mapping[str, int] = field(default_factory=dict)
    elapsed_ms: float = 0.0
    wait_ms: float = 0.0
    batch: int = 1
    others_ms: Mapping[str, float] = field(default_factory=dict)
    turn_ms: float = 0.0
    chunk_tokens: int = 512
    crowding: float = 0.0
    best_effort: bool = False
    cues: Cues = field(default_factory=Cues)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is intended for one request. Durations are milliseconds since arrival, at p95;
    `likely_ms` is when a usual answer is done, in the median.

    `max_tokens` are the tokens that there is room for (no more than usual, unless the gear is the
    best); the last `landing_reserve_tokens` of them are the landing zone. `feasible_ms` is the
    smallest budget that is not refused, `feasible_of` which one it is. `better_ms` is the earliest
    instant for the last token with which the next better gear would have been chosen, with what is
    kept for stalls and for others (`crowding`, a share of the time to spare; inf where it is all of
    it), and `better_tpot_ms` the least time for each token. One of the two was not given; None
    where the gear is the best. The first token comes by `first_ms`; `answer_ms` is what the rest of
    the smallest useful answer takes then, in the cheapest gear, `usual_ms` that of a usual one. The
    `last_resort` is the cheapest gear too, or beside others one that alone keeps the rhythm.
    """

    gear: str
    prefill_gear: str
    last_resort: str
    max_tokens: int
    landing_reserve_tokens: int
    predicted_ms: float
    likely_ms: float
    feasible_ms: float
    feasible_of: Which = "total"
    better_ms: float | None = None
    better_tpot_ms: float | None = None
    crowding: float = 0.0
    first_ms: float = 0.0
    answer_ms: float = 0.0
    usual_ms: float = 0.0


def plan(
    ask: Ask, latency: LatencyModel, length: LengthModel, policy: Policy | None = None
) -> Plan:
    """The best gear whose p95 for prompt and expected answer fits the budget, else a cheaper one.

    Without a budget: the best gear. More of `budget_ms` never gives a cheaper gear or less room.
    `policy.gear_quantile` of the length must fit in the gear, `target_quantile` in the cheapest,
    with `reserve_share` of the time to spare behind a prompt that was read in a dearer gear than
    need be: in the cheapest, or in one that finds it in the cache.
    Only gears whose p95 of a step at the end of the expected answer keeps `tpot_ms` are used after
    the prompt; beside others that may be the gear that they decode in alone. Raises
    DeadlineInfeasible when the cheapest gear has no room for the first token at p95 or for the
    smallest useful answer in the median (the budget that it offers has room, at p95, for an answer
    that comes to a good end), when the first token comes too late for `ttft_ms`, or no gear is
    quick enough for `tpot_ms`.
    """
    policy = policy or Policy()
    best = ask.gears[-1]
    need, enough = _needs(ask, length, policy)
    prefills_ms = {gear: _prefill_ms(ask, latency, gear) for gear in ask.gears}
    reader, cheapest = _quickest(prefills_ms), ask.gears[0]
    spent_ms = ask.elapsed_ms + ask.wait_ms
    ttft_left_ms = _work_ms(ask.ttft_ms, policy) - spent_ms
    left_ms = _work_ms(ask.budget_ms, policy) - spent_ms
    first_ms = prefills_ms[reader]
    answer_ms = _decode_ms(ask, latency, cheapest, need)
    # Behind the first token a slow machine makes an answer shorter, not late.
    usual_ms = _prefill_ms(ask, latency, reader, P50) + _decode_ms(
        ask, latency, cheapest, need, P50
    )
    smallest_ms = max(first_ms, usual_ms)
    feasible_ms = policy.budget_for(spent_ms + smallest_ms)
    if left_ms < smallest_ms and not ask.best_effort:
        raise DeadlineInfeasible(
            budget_ms=ask.budget_ms or 0.0,
            feasible_ms=policy.budget_for(
                spent_ms + first_ms + _decode_ms(ask, latency, cheapest, enough)
            ),
            why=f"{ask.prompt_tokens} prompt tokens and {need} of an answer in gear {cheapest}",
        )
    if ttft_left_ms < first_ms and not ask.best_effort:
        raise DeadlineInfeasible(
            budget_ms=ask.ttft_ms or 0.0,
            feasible_ms=policy.budget_for(spent_ms + first_ms),
            why=f"the first token after {ask.prompt_tokens} prompt tokens in gear {reader}",
            which="ttft",
        )
    tpot_ms, last = math.inf, cheapest
    if ask.tpot_ms is not None:
        tpot_ms = ask.tpot_ms
        paces_ms = {gear: _pace_ms(ask, latency, gear, need) for gear in ask.gears}
        if paces_ms[cheapest] > tpot_ms:
            last = _quickest(paces_ms)  # beside others it may be the one that they decode in
        if paces_ms[last] > tpot_ms and not ask.best_effort:
            raise DeadlineInfeasible(
                budget_ms=tpot_ms,
                feasible_ms=paces_ms[last],
                why=f"a token after {ask.prompt_tokens} prompt tokens in gear {last}",
                which="tpot",
            )
    target, usual = (
        max(need, min(ask.limit_tokens, length.quantile(quantile, cues=ask.cues)))
        for quantile in (policy.target_quantile, policy.gear_quantile)
    )
    median = length.quantile(0.5, cues=ask.cues)
    gear, prefill_gear = last, reader
    better_ms = better_tpot_ms = None
    rest_ms = _decode_ms(ask, latency, cheapest, target)
    least_ms = first_ms + rest_ms
    for candidate in reversed(ask.gears):
        name = _reader_for(ask, candidate, prefills_ms, ttft_left_ms)
        own_ms = prefills_ms[name] + _decode_ms(ask, latency, candidate, usual)
        # What a prompt has cost cannot be taken back: then a stall must still leave time enough.
        kept = policy.reserve_share if name != reader else 0.0
        whole_ms = (prefills_ms[name] + rest_ms) / (1.0 - kept)
        there_ms = max(asked_ms(own_ms, least_ms, ask.crowding), whole_ms)
        pace_ms = _pace_ms(ask, latency, candidate, target)
        if there_ms <= left_ms and pace_ms <= tpot_ms:
            gear, prefill_gear = candidate, name
            break
        if candidate == last:
            break
        better_ms, better_tpot_ms = spent_ms + there_ms, pace_ms
    prefill_ms = prefills_ms[prefill_gear]
    room = max(1, _room(ask, latency, left_ms - prefill_ms))
    if gear != best:
        room = min(room, target)  # a better gear, chosen with more time, may leave no more
    decode_ms = _decode_ms(ask, latency, gear, min(usual, room))
    return Plan(
        gear=gear,
        prefill_gear=prefill_gear,
        last_resort=last,
        max_tokens=room,
        landing_reserve_tokens=0
        if ask.budget_ms is None
        else max(_LEAST_ZONE_TOKENS, min(policy.landing_tokens, room // 3)),
        predicted_ms=spent_ms + prefill_ms + decode_ms,
        likely_ms=spent_ms
        + _prefill_ms(ask, latency, prefill_gear, P50)
        + _decode_ms(ask, latency, gear, min(median, usual, room), P50),
        feasible_ms=feasible_ms,
        better_ms=better_ms,
        better_tpot_ms=better_tpot_ms,
        crowding=ask.crowding,
        first_ms=spent_ms + prefill_ms,
        answer_ms=answer_ms,
        usual_ms=max(answer_ms, decode_ms),
    )


def prompt_room(
    ask: Ask, latency: LatencyModel, length: LengthModel, policy: Policy | None = None
) -> int:
    """The most of the prompt's tokens after which an answer that comes to a good end fits the
    budget, in the cheapest gear; all of them where they do, with what is cached of them. More
    budget never gives less room.
    """
    policy = policy or Policy()
    enough = _needs(ask, length, policy)[1]
    spent_ms = ask.elapsed_ms + ask.wait_ms
    ttft_left_ms = _work_ms(ask.ttft_ms, policy) - spent_ms
    left_ms = _work_ms(ask.budget_ms, policy) - spent_ms

    def fits(some: Ask) -> bool:
        first_ms = min(_prefill_ms(some, latency, gear) for gear in ask.gears)
        whole_ms = first_ms + _decode_ms(some, latency, ask.gears[0], enough)
        return first_ms <= ttft_left_ms and whole_ms <= left_ms

    if fits(ask):
        return ask.prompt_tokens
    low, high = 0, ask.prompt_tokens - 1
    while low < high:  # a prompt that is shortened shares no more than its beginning with the cache
        middle = (low + high + 1) // 2
        if fits(replace(ask, prompt_tokens=middle, cached_tokens={})):
            low = middle
        else:
            high = middle - 1
    return low


def _needs(ask: Ask, length: LengthModel, policy: Policy) -> tuple[int, int]:
    """Tokens of the smallest useful answer, and of one that comes to a good end; where it ends by
    itself, its end takes a step too."""
    smallest = 1 + length.quantile(policy.smallest_quantile, cues=ask.cues)
    need = max(ask.min_tokens, min(policy.min_answer_tokens, smallest))
    whole = 1 + length.quantile(policy.whole_quantile, cues=ask.cues)
    enough = max(need, min(policy.landable_tokens, whole))
    return min(ask.limit_tokens, need), min(ask.limit_tokens, enough)


def spare_ms(left_ms: float, least_ms: float, crowding: float) -> float:
    """The part of `left_ms` that one request may use where others are likely to need theirs too:
    what it needs at least, and of the rest the share that nobody is likely to ask for.

    >>> spare_ms(100.0, 40.0, 0.5)
    70.0
    """
    if math.isinf(left_ms):
        return left_ms
    return left_ms - crowding * max(0.0, left_ms - least_ms)


def asked_ms(own_ms: float, least_ms: float, crowding: float) -> float:
    """The least time of which `spare_ms` leaves `own_ms` to one request: its inverse.

    >>> asked_ms(70.0, 40.0, 0.5)
    100.0
    """
    if own_ms <= least_ms:
        return own_ms
    free = 1.0 - crowding
    return (own_ms - crowding * least_ms) / free if free > 0.0 else math.inf


def _work_ms(budget_ms: float | None, policy: Policy) -> float:
    return math.inf if budget_ms is None else budget_ms - policy.margin_ms(budget_ms)


def _prefill_ms(ask: Ask, latency: LatencyModel, gear: str, quantile: float = P95) -> float:
    """Until the first token: the prompt's chunks with work for others between them."""
    cached = ask.cached_tokens.get(gear, 0)
    tokens = ask.prompt_tokens - cached
    chunks = count_chunks(tokens, ask.chunk_tokens)
    run_ms = latency.prefill_ms(gear, tokens, start=cached, chunks=chunks, quantile=quantile)
    return run_ms + chunks * ask.turn_ms


def _decode_ms(
    ask: Ask, latency: LatencyModel, gear: str, tokens: int, quantile: float = P95
) -> float:
    """The rest of an answer of `tokens` tokens after the first."""
    steps = tokens - 1
    run_ms = latency.decode_ms(gear, ask.prompt_tokens, steps, batch=ask.batch, quantile=quantile)
    return run_ms + steps * ask.others_ms.get(gear, 0.0)


def _quickest(costs_ms: Mapping[str, float]) -> str:
    return min(costs_ms, key=costs_ms.__getitem__)


def _reader_for(ask: Ask, gear: str, prefills_ms: Mapping[str, float], ttft_left_ms: float) -> str:
    """The gear that the prompt is read in for an answer in `gear`: the best one up to it whose
    first token is in time, or a better one that is quicker (it finds the prompt in the cache)."""
    above = ask.gears.index(gear) + 1
    in_time = [each for each in ask.gears[:above] if prefills_ms[each] <= ttft_left_ms]
    if not in_time:
        return _quickest(prefills_ms)
    return min([in_time[-1], *ask.gears[above:]], key=prefills_ms.__getitem__)


def _pace_ms(ask: Ask, latency: LatencyModel, gear: str, tokens: int) -> float:
    """One step at the end of an answer of `tokens` tokens, and the work for others after it."""
    step_ms = latency.decode_ms(gear, ask.prompt_tokens + tokens, 1, batch=ask.batch)
    return step_ms + ask.others_ms.get(gear, 0.0)


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
