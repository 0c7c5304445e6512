"""Quantiles of lengths hold on answers that were not seen, and it shows where they do not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from onesec.budget.calibration import Answered, calibration
from onesec.budget.length import LengthModel
from onesec.core.cues import Cues

Source = Callable[[random.Random], Answered]


def lognormal(rng: random.Random) -> Answered:
    return Answered(Cues(app="a"), round(math.exp(rng.gauss(4.0, 0.6))))


def two_kinds(rng: random.Random) -> Answered:
    question = rng.random() < 0.5
    cues = Cues(app="a", task="question" if question else "summary")
    return Answered(cues, rng.randint(1, 12) if question else rng.randint(60, 140))


def like_the_source(rng: random.Random) -> Answered:
    source = rng.randint(5, 400)
    tokens = max(1, round(source * math.exp(rng.gauss(0.1, 0.2))))
    return Answered(Cues(app="t", task="translation", source_tokens=source), tokens)


def often_stopped(rng: random.Random) -> Answered:
    tokens = rng.randint(50, 250)
    limit = rng.choice([60, 120, 400])
    return Answered(Cues(app="a"), min(tokens, limit), ended=tokens <= limit)


@pytest.mark.parametrize("source", [lognormal, two_kinds, like_the_source])
def test_quantiles_hold_on_held_out_answers(source: Source) -> None:
    rng = random.Random(5)
    model = LengthModel()
    for _ in range(1200):
        cues, tokens, ended = source(rng)
        model.observe(tokens, ended=ended, cues=cues)
    found = calibration(model, [source(rng) for _ in range(1500)], quantiles=(0.5, 0.8, 0.95))
    assert found.answers == 1500
    for one in found.coverage:  # a model of 256 answers, held against 1500: 4 sigma are 7 points
        slack = 4.0 * math.sqrt(one.quantile * (1.0 - one.quantile) * (1 / 256 + 1 / 1500)) + 0.01
        assert one.below - slack <= one.quantile <= one.covered + slack, one


def test_answers_that_were_stopped_do_not_spoil_it() -> None:
    rng = random.Random(6)
    model = LengthModel()
    for _ in range(1200):
        cues, tokens, ended = often_stopped(rng)
        model.observe(tokens, ended=ended, cues=cues)
    whole = [Answered(Cues(app="a"), rng.randint(50, 250)) for _ in range(1500)]
    for one in calibration(model, whole, quantiles=(0.5, 0.8)).coverage:
        assert abs(one.covered - one.quantile) < 0.09, one


def test_a_model_that_knows_nothing_is_told_so() -> None:
    short = [Answered(Cues(), 3)] * 100
    found = calibration(LengthModel(), short, quantiles=(0.5, 0.95))
    assert [one.covered for one in found.coverage] == [1.0, 1.0]
    assert [one.below for one in found.coverage] == [1.0, 1.0]  # far too long
    learned = calibration(LengthModel(), short * 3, quantiles=(0.5, 0.95), learn=True)
    assert learned.log_loss < 0.3 * found.log_loss
    assert learned.coverage[0].pinball < 0.2 * found.coverage[0].pinball


def test_stopped_answers_are_not_held_against_it() -> None:
    model = LengthModel()
    found = calibration(model, [Answered(Cues(), 1, ended=False), Answered(Cues(), 5)])
    assert found.answers == 1
    with pytest.raises(ValueError, match="no answer"):
        calibration(model, [Answered(Cues(), 1, ended=False)])
