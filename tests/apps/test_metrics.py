"""What the metrics say of replies that are right, half right and wrong."""

from __future__ import annotations

import sys

import pytest

from onesec.apps.metrics import (
    check_chrf,
    chrf,
    exact_match,
    f1,
    fact_coverage,
    rouge_l,
    sentence_chrf,
)
from onesec.core.errors import InvalidRequest


def test_exact_match_forgives_spelling_only() -> None:
    assert exact_match("THE price: $45!", "price 45") == 1.0
    assert exact_match("４５元", ["45 元"]) == 1.0
    assert exact_match("46元", "45元") == 0.0
    assert exact_match("anything", []) == 0.0


def test_f1_counts_words_once() -> None:
    assert f1("red red red", "red") == 0.5
    assert f1("红色水壶", "水壶是红色") == pytest.approx(8 / 9)
    assert f1("", "x") == 0.0
    assert f1("", "") == 1.0


def test_facts_are_whole_words() -> None:
    assert fact_coverage("It costs 15 dollars.", ["5"]) == 0.0
    assert fact_coverage("晚上6点关门", ["18点|6点", "周日"]) == 0.5
    assert fact_coverage("It costs 15 dollars.", []) == 1.0  # none was asked for


def test_corpus_metrics() -> None:
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    assert chrf(["我的订单"], ["我的订单"]) == pytest.approx(1.0)
    assert rouge_l(["水壶是红色的"], ["水壶是红色的"]) == pytest.approx(1.0)
    assert 0.0 < rouge_l(["水壶很好"], ["水壶是红色的"]) < 1.0
    with pytest.raises(InvalidRequest):
        chrf(["a"], [])


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(InvalidRequest, match=r"onesec\[evaluation\]"):
        chrf(["a"], ["a"])


def test_chrf_of_one_translation() -> None:
    pytest.importorskip("sacrebleu")
    check_chrf()
    assert sentence_chrf("我的订单", "我的订单") == 1.0
    assert sentence_chrf("xyz", "我的订单") == 0.0
    assert 0.3 < sentence_chrf("the red kettle", "the blue kettle") < 0.9


def test_chrf_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(InvalidRequest, match=r"sacrebleu is not installed.*onesec\[evaluation\]"):
        check_chrf()
