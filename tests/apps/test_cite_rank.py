"""Ranking passages for a question, and finding what bears a reply out."""

from __future__ import annotations

import pytest

from onesec.apps.cite import supports, unsupported_numbers
from onesec.apps.rank import rank

FAQ = [
    "We open at 9:00 and close at 18:00.",
    "Delivery takes 3 days. Delivery costs 5 dollars.",
    "Returned items are refunded within 14 days.",
    "送货需要3天，运费是5元。",
    "退货请在7天内办理。",
]


def best(question: str) -> int:
    return rank(question, FAQ)[0][0][0]


def test_the_passage_that_speaks_of_it_comes_first() -> None:
    assert best("How much is delivery?") == 1
    assert best("When do you close?") == 0
    assert best("Can I get refunds for returned things?") == 2
    assert best("运费多少？") == 3
    assert best("怎么退货") == 4


@pytest.mark.parametrize("question", ["Are batteries covered?", "a battery", "battery's cover"])
def test_words_that_end_in_y_are_found_in_every_form(question: str) -> None:
    texts = ["Nothing.", "Two batteries.", "One battery.", "The battery's life.", "Batter."]
    assert {index for index, _ in rank(question, texts)[0]} == {1, 2, 3}
    assert rank("apply", ["He applied.", "Apples."])[0][0][0] == 0


def test_nothing_in_common_is_nothing_found() -> None:
    assert rank("zebra", FAQ) == ([], 5)
    assert rank("", FAQ) == ([], 5)
    assert rank("delivery", []) == ([], 0)


def test_ranking_stops_when_the_time_is_up() -> None:
    order, seen = rank("delivery", ["delivery"] * 1000, enough=lambda: True)
    assert 0 < seen < 1000
    assert len(order) == seen


def test_patterns_in_a_question_are_plain_text() -> None:
    assert rank(".* (a+)+$ [z", ["aaaa", "zzz"])[0] == []
    assert [index for index, _ in rank("(a+)+$ delivery", ["no", "delivery"])[0]] == [1]


def test_each_sentence_of_a_reply_finds_its_source() -> None:
    found = supports("It takes 3 days and costs 5 dollars. We open at 9:00.", FAQ)
    assert {one.source for one in found} == {0, 1}
    for one in found:
        assert FAQ[one.source][one.span.start : one.span.end] == one.span.text


def test_of_equal_sources_the_one_that_was_asked_about_is_cited() -> None:
    sources = ["Refunds take 3 days.", "Delivery takes 3 days.", "Repairs take 3 days."]
    [found] = supports("3 days.", sources, question="How long is delivery?")
    assert found.source == 1


def test_what_no_source_says_finds_none() -> None:
    assert supports("Blue whales sing.", FAQ) == []
    assert (
        supports("Delivery is a lovely word.", ["Delivery costs $5."], question="delivery?") == []
    )


def test_numbers_that_nobody_gave_are_told() -> None:
    assert unsupported_numbers("Delivery takes 3 days, 12 at most.", FAQ) == ("12",)
    assert unsupported_numbers("1,200.50 元", ["1200.5"]) == ()
    assert unsupported_numbers("运费8元，订单B79，４５天", ["运费5元，订单B77，45天"]) == (
        "8",
        "79",
    )
    assert unsupported_numbers("Rooms 3 and 5", ["Rooms 3,5"]) == ()
