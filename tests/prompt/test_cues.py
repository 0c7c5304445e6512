"""Cues of prompts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.core.cues import Cues
from onesec.prompt.cues import cues

LONG = "The report covers the third quarter. Sales rose by 4 percent in most regions. " * 40


@pytest.mark.parametrize(
    ("text", "task", "script", "words"),
    [
        ("Translate into Chinese: Where is my order?", "translation", "latin", 0),
        ("翻译成英语：我的订单在哪里？", "translation", "han", 0),
        ("请把“cloud disk”译成中文", "translation", "mixed", 0),
        (f"Summarize in at most 40 words:\n\n{LONG}", "summary", "latin", 40),
        (f"{LONG}\n\nSummarize this in two sentences.", "summary", "latin", 40),
        ("用不超过29字概括：\n\n授量集市周三在覆会大学举行。", "summary", "han", 29),
        ("用3句话概括：\n\n愿鸡城附近的料湖深407米。", "summary", "han", 90),
        ("Where is my order?", "question", "latin", 0),
        ("我的订单什么时候到", "question", "han", 0),
        (f"{LONG}\n\nQuestion: How much did sales rise?", "question", "latin", 0),
        ("Thanks, goodbye!", "", "latin", 0),
        ("回头见！", "", "han", 0),
        ("12 + 7", "", "", 0),
        ("", "", "", 0),
    ],
)
def test_what_a_prompt_tells(text: str, task: str, script: str, words: int) -> None:
    found = cues(text, source_tokens=9, app="desk")
    assert found == Cues("desk", task, script, words, 9)


@given(st.text(max_size=600))
def test_any_text_has_cues(text: str) -> None:
    found = cues(text, source_tokens=1)
    assert found.task in ("", "translation", "summary", "question")
    assert found.script in ("", "han", "mixed", "latin")
    assert 0 <= found.target_words <= 2000


@pytest.mark.parametrize(
    "text",
    ["Explain the Java words", "Write a characterization of Hamlet", "Someone sentenced him"],
)
def test_a_length_is_no_part_of_other_words(text: str) -> None:
    assert cues(text, source_tokens=9).target_words == 0
