"""Figures and baselines against what is worked out by hand."""

import math

import pytest

from onesec.bench.baselines import capped, one_shot, oracle, static
from onesec.bench.drive import FullRun, Outcome
from onesec.bench.figures import difference, five, upper
from onesec.bench.questions import Question
from onesec.budget.latency import GearCost, LatencyModel
from onesec.budget.length import LengthModel
from onesec.core.cues import Cues
from onesec.core.request import SamplingParams

LATENCY = LatencyModel({"4": GearCost(b_ms=1.0, q_ms=10.0), "8": GearCost(b_ms=2.0, q_ms=20.0)})


def question(name: str = "q", tokens: int = 10) -> Question:
    return Question(
        id=name,
        group="answer",
        language="en",
        prompt_tokens=tuple(range(tokens)),
        params=SamplingParams(max_tokens=50),
        cues=Cues(app="answer"),
    )


def run(gear: str, tokens: int, value: float = 1.0) -> FullRun:
    cost = LATENCY.cost(gear)
    first = 10 * cost.b_ms
    instants = tuple(first + i * cost.q_ms for i in range(tokens))
    return FullRun(
        question=question(),
        gear=gear,
        reply="x",
        token_ms=instants,
        elapsed_ms=first + tokens * cost.q_ms,  # the end token takes a step too
        natural=True,
        value=value,
    )


RUNS = {"4": run("4", 8, 0.5), "8": run("8", 10, 1.0)}


def test_a_static_gear_is_late_or_in_time() -> None:
    assert static(RUNS["4"], 90.0).value == 0.5
    assert static(RUNS["4"], 90.0).complete
    late = static(RUNS["4"], 89.0)
    assert (late.value, late.met, late.complete) == (0.0, False, False)


def test_max_tokens_cuts_what_does_not_fit() -> None:
    cut = capped(RUNS["8"], 119.0, LATENCY)  # 20 ms of prompt, then 4 steps of 20 ms
    assert (cut.tokens, cut.ending, cut.value) == (5, "cut", 0.0)
    assert cut.elapsed_ms == 100.0
    assert cut.met
    assert capped(RUNS["8"], 500.0, LATENCY).value == 1.0


def test_one_shot_takes_the_best_gear_that_fits_its_guess() -> None:
    lengths = LengthModel()
    for _ in range(500):
        lengths.observe(10, ended=True, cues=Cues(app="answer"))
    guess = lengths.quantile(0.5, cues=Cues(app="answer"))
    fits_8 = 20.0 + (guess - 1) * 20.0
    assert one_shot(RUNS, 250.0, LATENCY, lengths, 1.0).gears == {"8": 10}
    assert one_shot(RUNS, fits_8 - 1.0, LATENCY, lengths, 1.0).gears == {"4": 8}
    assert one_shot(RUNS, 250.0, LATENCY, lengths, 5.0).gears == {"4": 8}


def test_the_oracle_knows_what_will_fit() -> None:
    assert oracle(RUNS, 220.0).value == 1.0
    assert oracle(RUNS, 219.0).value == 0.5
    assert oracle(RUNS, 10.0).value == 0.0


def outcome(name: str, ms: float | None, value: float, ending: str = "natural") -> Outcome:
    return Outcome(
        question=question(name),
        budget_ms=100.0,
        elapsed_ms=ms,
        ending=ending if ms is not None else "",
        tokens=5 if ms is not None else 0,
        refusal="" if ms is not None else "deadline_infeasible",
        value=value,
    )


def test_the_five_figures() -> None:
    found = five(
        [
            outcome("a", 50.0, 1.0),
            outcome("b", 100.0, 0.5, "landed"),
            outcome("c", 90.0, 0.0, "cut"),
            outcome("d", 130.0, 0.0),
            outcome("e", None, 0.0),
        ]
    )
    assert (found.count, found.accepted) == (5, 4)
    assert found.hit_rate == 0.75
    assert found.complete_rate == 0.5  # a late end is none
    assert found.overshoot_p99_ms == 30.0
    assert found.score == pytest.approx(0.3)
    deviation = math.sqrt(sum((v - 0.3) ** 2 for v in (1.0, 0.5, 0.0, 0.0, 0.0)) / 4)
    assert found.score_half_width == pytest.approx(1.96 * deviation / math.sqrt(5), rel=1e-3)
    assert found.use == pytest.approx(0.95)
    assert found.use_needed == pytest.approx(0.95)


def test_figures_of_nothing_are_no_numbers() -> None:
    found = five([outcome("a", None, 0.0)]).to_dict()
    assert found["hit_rate"] is None
    assert found["use"] is None
    assert found["accepted"] == 0


def test_differences_are_paired() -> None:
    ours = [outcome(name, 50.0, value) for name, value in zip("abc", (1.0, 1.0, 0.0), strict=True)]
    theirs = [
        outcome(name, 50.0, value) for name, value in zip("abc", (0.0, 1.0, 0.0), strict=True)
    ]
    gain, half_width = difference(ours, theirs)
    assert gain == pytest.approx(1 / 3)
    assert half_width == pytest.approx(1.96 * math.sqrt(1 / 3) / math.sqrt(3), rel=1e-3)
    with pytest.raises(ValueError, match="other questions"):
        difference(ours, theirs[::-1])


def test_upper_quantiles() -> None:
    assert upper([], 0.99) == 0.0
    assert upper([3.0, 1.0, 2.0], 0.99) == 3.0
    assert upper([float(i) for i in range(1, 201)], 0.99) == 198.0
