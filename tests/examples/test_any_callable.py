"""Any callable: versions learned and ordered, planned or refused, corrected when the machine slows
down, slack for the hardest inputs; on a clock that the versions move themselves."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from examples import callables
from examples.any_callable import serving
from examples.any_callable.classifier import (
    RIDGE,
    Classifier,
    accuracy,
    learn,
    learn_all,
    margin,
)
from examples.any_callable.data import CLASSES, SIDE, digits
from examples.any_callable.serving import Slowed, hardest_first, serve_batch
from examples.callables import call_each, measure, offered, plan_calls, rows_of, serve
from onesec.budget.latency import P50, GearCost, LatencyModel
from onesec.core.clock import FakeClock
from onesec.core.errors import DeadlineInfeasible, InvalidRequest

ROOT = Path(__file__).parents[2]
TIMES_MS = {"small": 1.0, "middle": 4.0, "large": 12.0}
NAMES = tuple(TIMES_MS)
Version = Callable[[int], tuple[str, int]]


def exact() -> LatencyModel:
    """p95 is 2 % more than the times above, p99 5 %."""
    return LatencyModel({name: GearCost(b_ms=ms, q_ms=ms) for name, ms in TIMES_MS.items()})


def working(clock: FakeClock, *, jitter: float = 0.0, seed: int = 0) -> dict[str, Version]:
    """Versions that answer with their name and the input, and take their time, of which up to a
    `jitter` is chance."""
    rng = np.random.default_rng(seed)

    def version(name: str) -> Version:
        def call(one: int) -> tuple[str, int]:
            clock.advance_ms(TIMES_MS[name] * (1.0 + jitter * rng.random()))
            return name, one

        return call

    return {name: version(name) for name in NAMES}


def test_the_best_version_that_fits_is_chosen_and_the_offer_of_a_refusal_works() -> None:
    # 0.5 ms and 1 % of a budget are kept back.
    chosen = [plan_calls(NAMES, 1, budget, exact()).gear for budget in (2.0, 4.4, 4.7, 12.6, 13.0)]
    assert chosen == ["small", "small", "middle", "middle", "large"]
    clock = FakeClock()
    with pytest.raises(DeadlineInfeasible, match="10 calls of small") as refusal:
        serve(working(clock), range(10), 9.0, exact(), clock)
    assert clock.now_ns() == 0  # refused before any work
    offer = refusal.value.feasible_ms
    served = serve(working(clock), range(10), offer, exact(), clock)
    assert served.answers == [("small", one) for one in range(10)]
    assert served.elapsed_ms == 10.0 <= offer
    with pytest.raises(DeadlineInfeasible):
        plan_calls(NAMES, 10, offer - 1.0, exact())


def test_a_version_that_a_better_one_beats_is_not_offered() -> None:
    costs = {name: exact().cost(name) for name in NAMES}
    costs["middle"] = GearCost(b_ms=13.0, q_ms=13.0)
    assert offered(NAMES, 1, exact()) == NAMES
    assert offered(NAMES, 1, LatencyModel(costs)) == ("small", "large")


def test_measured_quantiles_are_those_of_the_calls() -> None:
    clock = FakeClock()
    latency = measure(working(clock, jitter=0.5), range(50), clock)
    for name, ms in TIMES_MS.items():
        assert latency.decode_ms(name, 0, 1, quantile=P50) == pytest.approx(1.25 * ms, rel=0.05)
        assert latency.decode_ms(name, 0, 1) == pytest.approx(1.475 * ms, rel=0.05)  # p95
        # Chance evens out over many calls: their p95 lies near the mean, not at the sum of p95s.
        assert latency.decode_ms(name, 0, 128) == pytest.approx(128 * 1.25 * ms, rel=0.06)


def stream(
    versions: dict[str, Version], latency: LatencyModel, clock: Slowed, budget_ms: float
) -> tuple[Counter[str], float]:
    """Versions used for 300 inputs one at a time, and the share that was in time."""
    used: Counter[str] = Counter()
    met = 0
    for one in range(300):
        served = serve(versions, [one], budget_ms, latency, clock)
        used[served.plan.gear] += 1
        met += served.elapsed_ms <= budget_ms
    return used, met / 300


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_machine_shifts_the_choice_and_deadlines_are_still_met(seed: int) -> None:
    below = FakeClock()
    clock = Slowed(below)
    versions = working(below, jitter=0.1, seed=seed)
    latency = measure(versions, range(50), clock)
    used, hit = stream(versions, latency, clock, 20.0)
    assert used == {"large": 300}
    assert hit == 1.0
    clock.factor = 3.0  # large takes 36 ms and more, middle 12
    used, hit = stream(versions, latency, clock, 20.0)
    assert used["middle"] >= 290
    assert hit >= 0.95
    clock.factor = 1.0
    used, hit = stream(versions, latency, clock, 20.0)
    assert used["large"] >= 250
    assert hit == 1.0


def test_nothing_cannot_be_measured() -> None:
    clock = FakeClock()
    for versions, inputs in ((working(clock), []), ({}, [1])):
        with pytest.raises(InvalidRequest, match="cannot be measured"):
            measure(versions, inputs, clock)


@pytest.mark.parametrize("module", [callables, serving], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_documents_program_for_your_own_versions_runs() -> None:
    text = (ROOT / "examples" / "any_callable" / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.S)[0], names)
    assert names["served"].answers == [5]


def test_what_was_learned_of_one_version_holds_for_those_that_were_not_used() -> None:
    below = FakeClock()
    clock = Slowed(below)
    clock.factor = 3.0
    latency = exact()
    for one in range(300):  # until its first surprises are forgotten
        serve({"small": working(below)["small"]}, [one], 20.0, latency, clock)
    assert latency.step_ms("large", 0) > 2.4 * TIMES_MS["large"]
    assert plan_calls(NAMES, 1, 20.0, latency).gear == "middle"


def test_a_slowed_clock_never_runs_backwards() -> None:
    below = FakeClock(now_ns=500)
    clock = Slowed(below)
    seen = [clock.now_ns()]
    for factor in (3.0, 0.5, 1.0):
        clock.factor = factor
        seen.append(clock.now_ns())
        below.advance_ms(2.0)
        seen.append(clock.now_ns())
    assert np.diff(seen).tolist() == [0, 6_000_000, 0, 1_000_000, 0, 2_000_000]


def test_slack_goes_to_the_hardest_inputs_and_never_past_the_deadline() -> None:
    inputs = [5, 2, 9, 0, 7, 3]
    for budget_ms, large, middle in ((7.0, 0, 0), (11.5, 0, 1), (25.0, 1, 1), (80.0, 6, 0)):
        clock = FakeClock()
        served = serve_batch(
            working(clock),
            inputs,
            budget_ms,
            exact(),
            clock,
            lambda answers: hardest_first(answers, lambda answer: answer[1]),
        )
        hardest = sorted(inputs)
        expected = dict.fromkeys(inputs, "small")
        expected |= dict.fromkeys(hardest[:large], "large")
        expected |= dict.fromkeys(hardest[large : large + middle], "middle")
        assert served.answers == [(expected[one], one) for one in inputs]
        assert served.versions == [expected[one] for one in inputs]
        assert served.elapsed_ms == pytest.approx(6.0 + 12.0 * large + 4.0 * middle)
        assert served.elapsed_ms <= budget_ms


def test_a_batch_that_the_cheapest_version_cannot_answer_is_refused_before_any_work() -> None:
    clock = FakeClock()
    with pytest.raises(DeadlineInfeasible) as refusal:
        serve_batch(working(clock), range(6), 5.0, exact(), clock, lambda _: [])
    assert (clock.now_ns(), refusal.value.feasible_ms) == (0, 7.0)


def test_larger_versions_are_right_more_often_and_small_margins_are_hard() -> None:
    versions = learn_all(*digits(1500, seed=0))
    x, labels = digits(400, seed=1)
    scores = {name: version(x) for name, version in versions.items()}
    right = [accuracy(scores[name], labels) for name in versions]
    assert 1.0 / CLASSES < right[0] < right[1] < right[2]
    alone = np.concatenate(call_each(versions["large"], rows_of(x[:20]), FakeClock())[0])
    np.testing.assert_allclose(alone, scores["large"][:20], atol=1e-4)
    order = hardest_first(rows_of(scores["small"]), margin)
    hard, easy = order[:200], order[200:]
    assert accuracy(scores["small"][hard], labels[hard]) + 0.2 < accuracy(
        scores["small"][easy], labels[easy]
    )


def test_views_are_the_image_moved_by_each_step() -> None:
    """A feature that sees one pixel in the middle, and a reach of 1: the mean over nine pixels."""
    rng = np.random.default_rng(0)
    projection = np.zeros((SIDE * SIDE, 1), np.float32)
    projection[10 * SIDE + 10] = 1.0
    weight = np.ones((1, CLASSES), np.float32)
    image = rng.normal(size=(SIDE, SIDE)).astype(np.float32)
    found = Classifier(projection, np.zeros(1, np.float32), weight, 1)(image.reshape(1, -1))
    expected = np.sqrt(2.0) * np.cos(image[9:12, 9:12]).mean()
    np.testing.assert_allclose(found, np.full((1, CLASSES), expected), rtol=1e-5)


def test_ridge_is_least_squares_with_rows_that_hold_the_weights_down() -> None:
    x, labels = digits(200, seed=2)
    found = learn(x, labels, features=16, reach=0)
    features = np.cos(x @ found.projection + found.phase) * np.sqrt(2.0 / 16)
    rows = np.concatenate([features, np.sqrt(RIDGE * 200) * np.eye(16)])
    targets = np.concatenate([np.eye(CLASSES)[labels], np.zeros((16, CLASSES))])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0]
    np.testing.assert_allclose(found.weight, expected, atol=1e-3)


def test_the_walk_runs_and_its_documents_show_what_it_prints() -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}
    command = [sys.executable, "-m", "examples.any_callable.run"]
    out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    told = _untimed(out.stdout)
    assert len(told) == 6
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / "examples" / "any_callable" / name).read_text(encoding="utf-8")
        assert _untimed("\n".join(re.findall(r"```text\n(.*?)```", text, re.S))) == told, name


def _untimed(output: str) -> list[str]:
    """The lines of the first table, whose figures depend on no machine's pace."""
    until = output.partition("2. A call")[0]
    return [" ".join(line.split()) for line in until.splitlines() if line.strip()]
