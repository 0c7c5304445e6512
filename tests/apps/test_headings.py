"""Headings of a text: which lines are, and which only look like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.apps.answer import passages
from onesec.apps.headings import headings


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Title\n=====\nText", ["Title"]),
        ("Title\n==", ["Title"]),
        ("Part one\n  --------  \n\nText", ["Part one"]),
        ("标题\r\n===\r\n正文", ["标题"]),
        ("What is it?\n---\nText", ["What is it?"]),
        ("One\n===\nTwo\n---\nText", ["One", "Two"]),
        ("# One\nTwo\n---\n## C#\n### In ###\n####### no", ["One", "Two", "C#", "In"]),
        ("A paragraph that\ngoes on\n---\nafter a rule", []),
        ("A sentence.\n---\nafter a rule", []),
        ("---\nkey: value\n---\n", []),
        ("- item\n---\n> said\n---\n| a |\n---\n1. one\n---\n", []),
        ("a | b\n--- | ---\n1 | 2\n", []),
        ("    code\n---\n", []),
        ("***\n---\n", []),
        ("Yours\n-- \nLi", []),
        ("```\nTitle\n=====\n# no\n```\n---\n", []),
        ("~~~\n```\n# no\n~~~\n# One\n```py\nTwo\n---", ["One"]),
        ("", []),
    ],
)
def test_headings_are_told_from_what_looks_like_them(text: str, titles: list[str]) -> None:
    assert [heading.title for heading in headings(text)] == titles


@given(st.lists(st.sampled_from(["A", "b c.", "===", "---", "", "# C", "#", "```", "- d", " e "])))
def test_headings_are_whole_lines_in_their_order(lines: list[str]) -> None:
    text = "\n".join(lines)
    end = 0
    for heading in headings(text):
        assert end <= heading.start < heading.end <= len(text)
        assert heading.start == 0 or text[heading.start - 1] == "\n"
        assert heading.end == len(text) or text[heading.end - 1] == "\n"
        assert heading.title in text[heading.start : heading.end]
        end = heading.end


def test_long_lines_cost_linear_time() -> None:
    for text in ("# " + "#" * 200_000 + "x", ". " * 100_000 + "x\n---", "a\n---\n" * 50_000):
        list(headings(text))  # a quadratic expression would not come back


@pytest.mark.parametrize("mark", ["## {}", "{}\n-----"])
def test_a_heading_begins_a_passage_and_stays_with_what_follows(mark: str) -> None:
    fees, returns = mark.format("Fees"), mark.format("Returns")
    text = f"Preface.\n\n{fees}\n\nFive. More.\n\nSix.\n\n{returns}\n七天。"
    found = [piece.text for piece in passages(text)]
    assert found == ["Preface.", f"{fees}\n\nFive. More.", "Six.", f"{returns}\n七天。"]
