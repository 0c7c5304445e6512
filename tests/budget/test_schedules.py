"""A hundred thousand answers on machines that never were: plan, steps, stalls and endings, all on a
clock that only the simulation moves.

Steps follow the latency model's own idea of noise (lognormal, its p95 and p99), so what is judged
is planning and steering. A stall is time that nobody could foresee.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from onesec.budget.controller import Standing, shift
from onesec.budget.latency import P50, P99, GearCost, LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan, plan
from onesec.budget.policy import POLICIES, Policy
from onesec.core.errors import DeadlineInfeasible

SCHEDULES = 100_000
MACHINES = 4000  # each of which answers so many times in a row
GEARS = ("4", "6", "8")


@dataclass
class Machine:
    """Random costs of three gears, and how much its steps scatter."""

    rng: random.Random
    latency: LatencyModel = field(init=False)
    spread: float = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        self.spread = rng.uniform(0.002, 0.08)
        tail = (math.exp(1.645 * self.spread), math.exp(2.326 * self.spread))
        step_ms, ratio = math.exp(rng.uniform(math.log(0.3), math.log(30.0))), 1.0
        costs = {}
        for gear in GEARS:
            costs[gear] = GearCost(
                a_ms=0.1 * step_ms,
                b_ms=0.02 * step_ms * ratio,
                p_ms=rng.uniform(0.0, 3e-4) * step_ms,
                q_ms=step_ms * ratio,
                prefill_tail=tail,
                step_tail=tail,
            )
            ratio *= rng.uniform(1.05, 1.5)
        self.latency = LatencyModel(costs)

    def noise(self) -> float:
        return math.exp(self.rng.gauss(0.0, self.spread))


@dataclass
class Told:
    """What became of one answer. Times are relative to its end (the deadline less the margin)."""

    over_ms: float
    step_ms: float  # one step of the last gear at p99
    stalled_ms: float
    drawn: int
    shifts: list[int]  # ranks of the gears, one after the other
    landed_at: int | None  # room in the cheapest gear when landing began
    zone: int
    stopped: bool
    tpot_ms: float
    pace_ms: float | None  # what was asked for


def lengths(seed: int) -> LengthModel:
    model, rng = LengthModel(), random.Random(seed)
    for _ in range(300):
        model.observe(max(1, round(rng.lognormvariate(1.5 + 0.3 * seed, 0.6))), ended=True)
    return model


LENGTHS = [lengths(seed) for seed in range(3)]


def answer(
    machine: Machine,
    ask: Ask,
    planned: Plan,
    policy: Policy,
    length: LengthModel,
    natural: int,
    stall: tuple[int, float],
) -> Told:
    """Write an answer of `natural` tokens, or as much of it as there is time for. At token
    `stall[0]` the machine stands still for `stall[1]` milliseconds."""
    latency, gears = machine.latency, ask.gears
    left_ms, stalled_ms = math.inf, 0.0
    if ask.budget_ms is not None:
        left_ms = ask.budget_ms - policy.margin_ms(ask.budget_ms)
    prefill_ms = latency.prefill_ms(planned.prefill_gear, ask.prompt_tokens, quantile=P50)
    left_ms -= prefill_ms * machine.noise()
    tpot_ms, gear = ask.tpot_ms or math.inf, planned.gear
    drawn, since, landing, spent_ms = 1, 1, False, 0.0
    landed_at: int | None = None
    path = [gears.index(gear)]
    while True:
        context = ask.prompt_tokens + drawn
        decision = shift(
            Standing(
                gears,
                gear,
                context,
                left_ms,
                length.quantile(policy.gear_quantile, done=drawn),
                ask.limit_tokens - drawn,
                planned.landing_reserve_tokens,
                whole_tokens=length.quantile(policy.target_quantile, done=drawn),
                since_shift=since,
                landing=landing,
                tpot_ms=tpot_ms,
                due_ms=drawn * tpot_ms - spent_ms,
            ),
            latency,
            policy,
        )
        if decision.stop:
            break
        if decision.gear != gear:
            gear, since = decision.gear, 0
            path.append(gears.index(gear))
        if decision.land and not landing:
            landing, landed_at = True, decision.room_tokens
        for _ in range(decision.check_tokens):
            if latency.decode_ms(gear, context, 1, quantile=P99) > left_ms:
                break  # the backend starts no step that may not end in time
            took_ms = latency.step_ms(gear, context) * machine.noise()
            if drawn == stall[0]:
                took_ms += stall[1]
                stalled_ms = stall[1]
            left_ms, spent_ms = left_ms - took_ms, spent_ms + took_ms
            drawn, since, context = drawn + 1, since + 1, context + 1
            if drawn >= natural:
                break
        if drawn >= natural:
            break
    return Told(
        over_ms=-left_ms,
        step_ms=latency.decode_ms(gear, context, 1, quantile=P99),
        stalled_ms=stalled_ms,
        drawn=drawn,
        shifts=path,
        landed_at=landed_at,
        zone=planned.landing_reserve_tokens,
        stopped=drawn < natural,
        tpot_ms=spent_ms / max(1, drawn - 1),
        pace_ms=ask.tpot_ms,
    )


def check_monotone(ask: Ask, planned: Plan, machine: Machine, length: LengthModel, policy: Policy,
                   more_ms: float) -> None:  # fmt: skip
    """More budget: no cheaper first gear, and no fewer tokens."""
    assert ask.budget_ms is not None
    more = Ask(
        prompt_tokens=ask.prompt_tokens,
        limit_tokens=ask.limit_tokens,
        gears=ask.gears,
        budget_ms=ask.budget_ms + more_ms,
        tpot_ms=ask.tpot_ms,
    )
    better = plan(more, machine.latency, length, policy)
    assert ask.gears.index(better.gear) >= ask.gears.index(planned.gear)
    assert ask.gears.index(better.prefill_gear) >= ask.gears.index(planned.prefill_gear)
    assert better.max_tokens >= planned.max_tokens


@pytest.fixture(scope="module")
def told() -> list[Told]:
    """All schedules, each checked for what has to hold of every single one."""
    rng = random.Random(20)
    found: list[Told] = []
    machine, names = Machine(rng), tuple(POLICIES)
    number = 0
    while len(found) < SCHEDULES:
        number += 1
        if number % (SCHEDULES // MACHINES) == 0:
            machine = Machine(rng)
        policy, length = POLICIES[rng.choice(names)], LENGTHS[number % 3]
        gears = policy.choice(GEARS[rng.randrange(3) :] if number % 7 == 0 else GEARS)
        step_ms = machine.latency.step_ms(gears[0], 50)
        tpot_ms = step_ms * rng.uniform(1.02, 2.5) if number % 5 == 0 else None
        ask = Ask(
            prompt_tokens=rng.randrange(1, 200),
            limit_tokens=rng.randrange(1, 200),
            gears=gears,
            budget_ms=step_ms * math.exp(rng.uniform(math.log(5.0), math.log(40.0))),
            tpot_ms=tpot_ms,
        )
        try:
            planned = plan(ask, machine.latency, length, policy)
        except DeadlineInfeasible:
            continue
        if number % 4 == 0:
            check_monotone(ask, planned, machine, length, policy, rng.expovariate(0.1) * step_ms)
        natural = min(ask.limit_tokens, max(1, round(rng.lognormvariate(1.8, 0.7))))
        stall = (0, 0.0)
        if number % 10 == 0:
            stall = rng.randrange(1, 20), step_ms * rng.uniform(1.0, 30.0)
        found.append(answer(machine, ask, planned, policy, length, natural, stall))
    return found


def reversals(path: list[int]) -> int:
    """How often a shift goes the other way than the one before it."""
    moves = [after - before for before, after in pairwise(path)]
    return sum(one * other < 0 for one, other in pairwise(moves))


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


def test_answers_end_in_time(told: list[Told]) -> None:
    """The last step is started only where its p99 fits: one in a hundred of those may be late, by
    less than itself. A stall may be added to that, and nothing else."""
    assert all(t.over_ms <= t.step_ms + t.stalled_ms for t in told)
    assert share([t.over_ms > 0.0 for t in told if not t.stalled_ms]) < 0.01
    assert share([t.over_ms > t.stalled_ms for t in told if t.stalled_ms]) < 0.01
    assert sum(t.stopped for t in told) > 5000  # so that these mean something
    assert sum(t.stalled_ms > 0.0 for t in told) > 2000


def test_landing_begins_before_the_last_zone(told: list[Told]) -> None:
    """At least half of the zone is left to land in, or all but what one step takes of it: the best
    gear's may take as long as three of the cheapest. What is stopped by the clock has tried to
    land, unless nothing fitted after the first token."""
    calm = [t for t in told if not t.stalled_ms]
    landed = [t for t in calm if t.landed_at is not None]
    stopped = [t for t in calm if t.stopped and t.drawn > 1]
    assert all((t.landed_at or 0) >= min(t.zone / 2, t.zone - 3) for t in landed)
    assert share([t.landed_at is None for t in stopped]) < 0.001
    assert len(landed) > 5000


def test_gears_do_not_oscillate(told: list[Told]) -> None:
    assert max(len(t.shifts) - 1 for t in told) <= 6
    assert max(reversals(t.shifts) for t in told) <= 3
    assert share([reversals(t.shifts) > 0 for t in told]) < 0.02
    assert sum(len(t.shifts) > 1 for t in told) > 2000


def test_a_rhythm_is_kept(told: list[Told]) -> None:
    paced = [t for t in told if t.pace_ms is not None and not t.stalled_ms and t.drawn > 1]
    assert share([t.tpot_ms <= (t.pace_ms or 0.0) for t in paced]) > 0.97
    assert share([t.tpot_ms <= (t.pace_ms or 0.0) for t in paced if t.drawn > 8]) > 0.99
    assert len(paced) > 2000
