"""The walk: learn a line, learn something larger, prune it, quantize it, answer in time.

python -m examples.linear_regression.run [--svg FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from examples.callables import measure, rows_of
from examples.deadlines import print_deadlines
from onesec.backend.linear import Linear
from onesec.budget.latency import P50
from onesec.cli.output import table
from onesec.compress.masks import (
    Float32,
    Mask,
    keep_2_of_4,
    keep_best,
    magnitude_scores,
    report,
    wanda_scores,
)
from onesec.core.clock import MonotonicClock

from .data import Problem, line, sparse_problem
from .plot import loss_plot
from .regression import Regression, Training, closed_form, descend, r2, rmse
from .serving import by_width

PRUNED = 0.8  # the share of zeros that is served
REPEATS = 4  # of the test rows, where time is measured


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--svg", type=Path, help="write the losses there, as a picture")
    options = parser.parse_args(arguments)
    small, large, problem = learn()
    if options.svg:
        curves = {"a line": small.losses, "256 features": large.losses}
        options.svg.write_text(loss_plot(curves), encoding="utf-8")
    mask = prune(large.model, problem)
    serve_all(large.model, mask, problem)


def learn() -> tuple[Training, Training, Problem]:
    """Both problems by descent, beside the closed form."""
    x, y = line()
    small = descend(x, y)
    problem = sparse_problem()
    large = descend(problem.x, problem.y, tolerance=1e-6)
    rows = []
    for name, found, data in (
        ("y = 2x", small, (x, y)),
        ("256 features, 128 targets", large, (problem.x, problem.y)),
    ):
        exact = closed_form(*data)
        apart = max(
            float(np.abs(found.model.weight - exact.weight).max()),
            float(np.abs(found.model.bias - exact.bias).max()),
        )
        rows.append((name, str(len(found.losses) - 1), f"{found.losses[-1]:.4g}", f"{apart:.1e}"))
    heads = ("problem", "steps", "loss", "largest |θ − θ of the closed form|")
    table("1. Gradient descent", heads, rows)
    slope, intercept = float(small.model.weight[0, 0]), float(small.model.bias[0])
    print(f"y = 2x: slope {slope:.7f}, intercept {intercept:.7f}\n")
    return small, large, problem


def prune(model: Regression, problem: Problem) -> Mask:
    """Masks by magnitude and by Wanda, and the one that is served."""
    weight = model.weight.astype(np.float32)
    moment = (problem.x**2).mean(axis=0).astype(np.float32)
    by = {"magnitude": magnitude_scores(weight), "Wanda": wanda_scores(weight, moment)}
    masks = {"none": np.ones(weight.shape, dtype=np.bool_)}
    for name, scores in by.items():
        masks |= {f"{name}, {share:.0%}": keep_best(scores, share) for share in (0.5, PRUNED, 0.95)}
    masks["Wanda, 2 of 4"] = keep_2_of_4(by["Wanda"])
    rows = []
    for name, mask in masks.items():
        cost = report(weight, mask, moment)
        predicted = Regression(np.where(mask, model.weight, 0.0), model.bias).predict(
            problem.test_x
        )
        rows.append(
            (
                name,
                f"{cost.sparsity:.0%}",
                f"{cost.output_error:.3f}",
                f"{rmse(problem.test_y, predicted):.3f}",
                f"{r2(problem.test_y, predicted):.4f}",
            )
        )
    table("2. Pruned", ("mask", "zeros", "output error", "test RMSE", "test R²"), rows)
    return masks[f"Wanda, {PRUNED:.0%}"]


def serve_all(model: Regression, mask: Mask, problem: Problem) -> None:
    """Both weights at every width: accuracy, bytes and time; and then answers within deadlines."""
    clock = MonotonicClock()
    x, bias = problem.test_x.astype(np.float32), model.bias.astype(np.float32)
    many = rows_of(np.tile(x, (REPEATS, 1)))
    weights = {"whole": model.weight, f"pruned {PRUNED:.0%}": np.where(mask, model.weight, 0.0)}
    rows = []
    for name, weight in weights.items():
        float_weight = weight.astype(np.float32)
        linear = Linear(float_weight, bias)
        ways = by_width(linear) | {"NumPy": partial(_float_product, float_weight, bias)}
        latency = measure(ways, many, clock)
        for way, predict in reversed(ways.items()):
            predicted = predict(x)
            size = float_weight.nbytes if way == "NumPy" else linear.weight_bytes(int(way))
            rows.append(
                (
                    name,
                    "NumPy float32" if way == "NumPy" else f"{way} bits",
                    f"{rmse(problem.test_y, predicted):.3f}",
                    f"{r2(problem.test_y, predicted):.4f}",
                    f"{size:,}",
                    f"{latency.decode_ms(way, 0, len(many), quantile=P50):.1f}",
                )
            )
    table(
        "3. Quantized",
        ("θ", "width", "test RMSE", "test R²", "bytes", f"ms for {len(many):,}"),
        rows,
    )
    title = f"4. {len(many):,} rows, one by one, within a deadline"
    print_deadlines(title, by_width(linear), many, latency, clock)


def _float_product(weight: Float32, bias: Float32, x: Float32) -> Float32:
    return x @ weight.T + bias


if __name__ == "__main__":
    main()
