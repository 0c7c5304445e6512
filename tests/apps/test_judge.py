"""What the rules of a suite take for right, and what they find wrong."""

from __future__ import annotations

from typing import Any

import pytest

from onesec.apps.judge import Item, contains, facts_missing, invented, is_right


def item(**changes: Any) -> Item:
    """A question about order B7, with the key to its answer."""
    found: Any = {
        "id": "1",
        "skill": "support",
        "kind": "record",
        "language": "en",
        "wording": "known",
        "messages": [
            {"role": "system", "content": "order: B7, amount: $40, arrives: Monday\nA9: $30"},
            {"role": "user", "content": "When does order B7 arrive?"},
        ],
        "metric": "right",
        "answer": "Order B7 arrives on Monday.",
        "required": ["Monday|Mon", "B7"],
        "forbidden": ["delayed"],
        "exact": [],
        "grounded": False,
    }
    return found | changes  # type: ignore[no-any-return]


def test_values_are_whole_words() -> None:
    assert contains("It costs $12.50.", "$12.50")
    assert not contains("It costs 125 yuan", "12")
    assert not contains("at 19:30", "9:30")
    assert not contains("It costs 12.50", "12")
    assert not contains("1,200 yuan", "200")
    assert not contains("at 19:30", "30")
    assert contains("It costs 8,127,000.50 yuan.", "8127000.50")
    assert contains("It costs 8127 yuan.", "8,127 yuan")
    assert not contains("1,27 yuan", "127")
    assert not contains("rooms 1,2345", "12345")
    assert contains("金额是46元。", "46元")
    assert contains("好的,B7周一到", "B7")
    assert contains("订单Ｂ７，４６元。", "46元")


@pytest.mark.parametrize(
    "reply",
    [
        "Order B7 arrives on Monday.",
        "mon, for b7",
        " B7 will come on Monday!\n",
        "Yes,B７ on Monday",
    ],
)
def test_all_facts_in_any_words_are_right(reply: str) -> None:
    assert is_right(item(), reply)
    assert not is_right(item(), reply, ended=False)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "nothing said"),
        ("Order B7 arrives.", "a fact is missing"),
        ("Order B7 is delayed until Monday.", "a forbidden word"),
        ("Order B7, Monday,delayed.", "a forbidden word behind a comma"),
        ("Order B7 arrives on Monday, 9 May.", "a number that nobody gave"),
        ("Order B7 ($40) arrives on Monday.", "a number that was not asked for"),
        ("Order B77 arrives on Monday.", "part of another number"),
        ("B7: Monday? Sorry, I don't have that information.", "an evasion"),
    ],
)
def test_what_is_wrong(reply: str, why: str) -> None:
    assert not is_right(item(), reply), why


def test_an_evasion_is_right_where_it_is_the_answer() -> None:
    answer = "Sorry, I don't have that information."
    assert is_right(item(answer=answer, required=["information"]), answer)


def test_an_exact_answer_is_that_and_no_more() -> None:
    exact = item(exact=["Monday", "On Monday"], required=["Monday"])
    assert is_right(exact, "On Monday\n")
    assert not is_right(exact, "On Monday, B7")


def test_a_number_with_commas_is_the_number_without() -> None:
    asked = item(answer="Order B7 costs $8127.", required=["$8127", "B7"])
    asked["messages"][0]["content"] = "order: B7, amount: $8127"
    assert is_right(asked, "Order B7 costs $8,127.")
    assert not invented(asked, "Order B7 costs $8,127.")
    assert not is_right(asked, "Order B7 costs $8,128.")


def test_a_grounded_reply_has_no_word_of_its_own() -> None:
    grounded = item(grounded=True, required=["B7"], answer="B7 comes late")
    assert invented(grounded, "Order B7 comes tomorrow") == {"tomorrow"}
    assert not invented(grounded, "order B7 does arrive late")  # of the question and the answer
    assert invented(grounded, "amount") == {"amount"}  # of the rules before the question
    assert facts_missing(grounded, "order B8") == ["B7"]
