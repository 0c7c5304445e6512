"""The tutorial: descent against the closed form, what compression costs, deadlines planned or
refused, and documents that show what the program prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.callables import measure, offered, plan_calls, rows_of, serve
from examples.linear_regression.data import line, sparse_problem
from examples.linear_regression.plot import loss_plot
from examples.linear_regression.regression import (
    Regression,
    closed_form,
    descend,
    r2,
    rmse,
)
from examples.linear_regression.run import prune
from examples.linear_regression.serving import GEARS, by_width
from onesec.backend.linear import Linear
from onesec.budget.latency import GearCost, LatencyModel
from onesec.core.clock import FakeClock
from onesec.core.errors import DeadlineInfeasible, InvalidRequest

ROOT = Path(__file__).parents[2]
SMALL = {"features": 64, "targets": 16, "rows": 256}


def test_a_line_is_found_to_the_sixth_place() -> None:
    found = descend(*line()).model
    assert found.weight[0, 0] == pytest.approx(2.0, abs=1e-6)
    assert found.bias[0] == pytest.approx(0.0, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3))
def test_descent_reaches_the_normal_equations(seed: int, features: int, targets: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, features)) * rng.uniform(0.5, 2.0, features)
    y = rng.normal(size=(40, targets)) + x @ rng.normal(size=(features, targets))
    training = descend(x, y)
    ones = np.concatenate([np.ones((40, 1)), x], axis=1)
    theta = np.linalg.solve(ones.T @ ones, ones.T @ y)
    for found in (training.model, closed_form(x, y)):
        np.testing.assert_allclose(found.weight, theta[1:].T, atol=1e-6)
        np.testing.assert_allclose(found.bias, theta[0], atol=1e-6)
    losses = np.array(training.losses)
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()  # no step raises the loss


def test_what_cannot_be_learned_is_refused() -> None:
    x, y = line()
    with pytest.raises(InvalidRequest, match="after 10 steps"):
        descend(x, y, most_steps=10)
    with pytest.raises(InvalidRequest, match="at least 1"):
        descend(x, y, most_steps=0)
    with pytest.raises(InvalidRequest, match="not finite"):
        descend(np.where(x == 3.0, np.inf, x), y)
    for bad in (x[:4], x[:, 0], x[:0]):
        with pytest.raises(InvalidRequest, match="shape"):
            closed_form(bad, y)


def test_scores_of_known_predictions() -> None:
    y = np.array([[1.0], [3.0]])
    assert (rmse(y, y), r2(y, y)) == (0.0, 1.0)
    assert (rmse(y, np.full((2, 1), 2.0)), r2(y, np.full((2, 1), 2.0))) == (1.0, 0.0)


def test_pruning_a_sparse_truth_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """Nine of ten weights are noise: without them unseen rows are predicted better."""
    problem = sparse_problem(**SMALL)
    model = closed_form(problem.x, problem.y)
    mask = prune(model, problem)
    assert mask.mean() == pytest.approx(0.2, abs=0.02)
    pruned = Regression(np.where(mask, model.weight, 0.0), model.bias)
    before = rmse(problem.test_y, model.predict(problem.test_x))
    assert rmse(problem.test_y, pruned.predict(problem.test_x)) < before
    assert "Wanda, 2 of 4" in capsys.readouterr().out


def test_fewer_bits_cost_little_and_in_order() -> None:
    problem = sparse_problem(**SMALL)
    model = closed_form(problem.x, problem.y)
    linear = Linear(model.weight.astype(np.float32), model.bias.astype(np.float32))
    exact = model.predict(problem.test_x)
    scale = float(np.sqrt((exact**2).mean()))
    x = problem.test_x.astype(np.float32)
    lost = {width: rmse(exact, linear(x, width)) / scale for width in (4, 8, 16)}
    assert lost[16] < 1e-3 < lost[8] < 0.02 < lost[4] < 0.2


def latency(ms_8: float = 0.02) -> LatencyModel:
    """A row takes 10 µs in gear 4, 50 in gear 16; p95 is 2 % more."""
    times = {"4": 0.01, "8": ms_8, "16": 0.05}
    return LatencyModel({gear: GearCost(b_ms=ms, q_ms=ms) for gear, ms in times.items()})


def test_the_best_width_that_fits_is_chosen_and_none_is_refused() -> None:
    # 1000 rows take 10, 20 and 50 ms; the planner keeps back 0.5 ms and 1 % of the budget.
    chosen = [
        plan_calls(GEARS, 1000, budget_ms, latency()).gear for budget_ms in (11.0, 21.0, 52.0)
    ]
    assert chosen == ["4", "8", "16"]
    assert plan_calls(GEARS, 1000, 20.0, latency()).gear == "4"
    with pytest.raises(DeadlineInfeasible) as refusal:
        plan_calls(GEARS, 1000, 10.0, latency())
    assert plan_calls(GEARS, 1000, refusal.value.feasible_ms, latency()).gear == "4"


def test_a_width_that_a_better_one_beats_is_not_offered() -> None:
    assert offered(GEARS, 1000, latency()) == ("4", "8", "16")
    assert offered(GEARS, 1000, latency(ms_8=0.06)) == ("4", "16")


class TickingClock(FakeClock):
    """Every look at it takes a millisecond."""

    def now_ns(self) -> int:
        self.advance_ms(1.0)
        return super().now_ns()


def test_what_is_served_is_the_planned_widths_product() -> None:
    problem = sparse_problem(**SMALL)
    model = closed_form(problem.x, problem.y)
    linear = Linear(model.weight.astype(np.float32), model.bias.astype(np.float32))
    x = problem.test_x.astype(np.float32)
    found = serve(by_width(linear), rows_of(x), 6.0, latency(), FakeClock())
    assert found.plan.gear == "8"  # 256 rows: 2.6, 5.1 and 12.8 ms
    np.testing.assert_array_equal(np.concatenate(found.answers), linear(x, 8))
    clock = TickingClock()
    late = serve(by_width(linear), rows_of(x), 6.0, latency(), clock)
    assert late.elapsed_ms == len(x) + 2.0  # looked at before, after, and around each call


def test_every_row_is_predicted_alone() -> None:
    def predict(x: np.ndarray) -> np.ndarray:
        assert len(x) == 1
        clock.advance_ms(3.0)
        return x

    clock = FakeClock()
    measured = measure({"8": predict}, rows_of(np.zeros((50, 2), np.float32)), clock)
    assert measured.decode_ms("8", 0, 100, quantile=0.5) == pytest.approx(300.0)


def test_the_picture_is_xml_with_a_line_a_curve() -> None:
    root = ElementTree.fromstring(loss_plot({"a <b>": [4.0, 2.0, 1.0], "c": [1.0, 1e-20]}))
    lines = root.findall(".//{*}polyline")
    ends = [line.attrib["points"].split()[-1].split(",") for line in lines]
    assert len(lines) == 2
    assert float(ends[0][1]) < float(ends[1][1])  # a loss of a quarter lies above one of nothing


def test_the_walk_runs_and_its_documents_show_what_it_prints(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}
    command = [sys.executable, "-m", "examples.linear_regression.run", "--svg", tmp_path / "l.svg"]
    out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert (tmp_path / "l.svg").read_text(encoding="utf-8").startswith("<svg")
    told = _untimed(out.stdout)
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / "examples" / "linear_regression" / name).read_text(encoding="utf-8")
        shown = "\n".join(re.findall(r"```text\n(.*?)```", text, re.S))
        assert _untimed(shown) == told, name


def _untimed(output: str) -> list[str]:
    """The titles and rows of the tables whose figures depend on no machine's pace."""
    until = output.partition("3. Quantized")[0]
    return [" ".join(line.split()) for line in until.splitlines() if line.strip()]
