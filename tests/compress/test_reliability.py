"""Reliability: the fit against data of a known curve, the error by hand, and what is heard of the
shipped model against what its engine says when it writes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from onesec.compress.reliability import Answers, Text, bins, calibration_error, fit, judge, listen
from onesec.compress.reliability_picture import reliability_picture
from onesec.core.errors import InvalidRequest
from onesec.explain.confidence import Curve


def drawn(curve: Curve, count: int, *, per_text: int = 20, seed: int = 3) -> Answers:
    """Tokens of all probabilities that are right as often as the curve says."""
    rng = np.random.default_rng(seed)
    logprobs = np.log(rng.beta(3.0, 0.7, count))
    truth = np.array([curve(value) for value in logprobs])
    return Answers(logprobs, rng.random(count) < truth, np.arange(count) // per_text)


@pytest.mark.parametrize("curve", [Curve(), Curve(0.5, 0.7, -0.35), Curve(1.6, 1.2, 0.5)])
def test_a_fit_finds_the_curve_that_the_data_follow(curve: Curve) -> None:
    found = fit(drawn(curve, 40_000))
    for p in (0.2, 0.5, 0.8, 0.95, 0.99):
        assert found(np.log(p)) == pytest.approx(curve(np.log(p)), abs=0.02)


def test_a_fit_never_falls() -> None:
    answers = drawn(Curve(), 5_000)
    backwards = Answers(answers.logprobs, ~answers.right, answers.text)
    curve = fit(backwards)
    assert (curve.a, curve.b) == (0.0, 0.0)
    assert curve(-3.0) == pytest.approx(backwards.right.mean(), abs=0.01)
    few = Answers(np.full(4, -0.01), np.ones(4, dtype=bool), np.arange(4))
    assert fit(few)(np.log(0.05)) == pytest.approx(0.05, abs=0.03)  # nothing is known of these
    certain = Answers(answers.logprobs, np.ones(5_000, dtype=bool), answers.text)
    assert fit(certain)(-0.1) > 0.99


def test_the_error_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 1.0])
    right = np.array([True, True, True, False, True, True])
    parts = bins(sure, right)
    assert [(p["low"], p["tokens"], p["right"]) for p in parts] == [(0.1, 1, 1.0), (0.9, 5, 0.8)]
    assert calibration_error(parts) == pytest.approx((1 * 0.85 + 5 * abs(0.96 - 0.8)) / 6)


def test_a_curve_is_judged_on_texts_that_it_was_not_fitted_on() -> None:
    answers = drawn(Curve(0.4, 0.6, -0.5), 20_000)
    record = judge(answers, 1000)
    assert record["fitted_tokens"] + record["tokens"] == 20_000
    assert record["fitted_tokens"] % 20 == 0  # whole texts
    assert record["after"]["ece"] < 0.02 < record["before"]["ece"]
    assert record["after"]["loss"] < record["before"]["loss"]
    with pytest.raises(InvalidRequest, match="--limit"):
        judge(drawn(Curve(), 300), 15)


def test_the_picture_has_a_panel_a_gear_and_a_dot_a_bin() -> None:
    record = judge(drawn(Curve(0.4, 0.6, -0.5), 4_000), 200)
    root = ElementTree.fromstring(reliability_picture("<&>", {"4": record, "8": record}))
    dots = [c.get("class") for c in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert dots.count("before") == 2 * len(record["before"]["bins"])
    assert dots.count("after") == 2 * len(record["after"]["bins"])


def test_what_is_heard_is_what_the_engine_says_when_it_writes() -> None:
    pytest.importorskip("onesec._native")
    from onesec import LLM

    with LLM("onesec-mini", threads=1, speculate=False) as llm:
        asked = llm.tokenizer.encode("Once upon a time")
        gear = llm.gears[-1]
        output = llm.generate(asked, gear=gear.name, max_tokens=12, logprobs=0, ignore_eos=True)
        told = list(output.tokens)
        answers = listen(llm._loaded.backend, gear, [Text(asked, told), Text(asked, [told[0], 7])])
        assert answers.right[:12].all()
        assert answers.logprobs[:12] == pytest.approx(output.logprobs, abs=1e-4)
        assert answers.right[12:].tolist() == [True, told[1] == 7]
        assert answers.text.tolist() == [0] * 12 + [1] * 2
        with pytest.raises(InvalidRequest, match="Text 0"):
            listen(llm._loaded.backend, gear, [Text([], [1])])
        rows = llm._loaded.backend.vocab_size
        with pytest.raises(InvalidRequest, match=f"token {rows}; the model knows {rows}"):
            listen(llm._loaded.backend, gear, [Text([1], [rows])])
