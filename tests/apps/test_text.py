"""Languages, sentences and terms of both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.apps.text import (
    SentenceStream,
    language,
    other_script,
    sentences,
    telling_terms,
    terms,
    words,
)

MIXED = st.text(alphabet="ab C1 .!?。！？“”\n3中文的,，", max_size=60)
PARTS = [
    *("See", "p.", "no.", "No.", "5", "7.", "Mr.", "Li", "Fig.", "3", "e.g.", "this"),
    *("approx.", "It", "ended.", "Why?", "好。"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where is order 4821?", "en"),
        ("订单4821在哪里？", "zh"),
        ("我要退 iPhone 15 Pro Max", "zh"),
        ("iPhone 怎么退？", "zh"),
        ("How do I say 谢谢 in English?", "en"),
        ("怎么打开 https://example.com/help/login ？", "zh"),
        ("请发到john.smith@example.com", "zh"),
        ("Open https://example.com/帮助 now", "en"),
        ("12345", "en"),
        ("\u202eהלום\u200f", "en"),
    ],
)
def test_the_language_is_told_by_script(text: str, expected: str) -> None:
    assert language(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs $3.50. Mr. Li paid at 9 a.m. on Monday.", 2),
        ("He said “Stop.” Then he left.", 2),
        ("一。二！三？”四", 4),
        ("1. First item\n2. Second item", 2),
        ("A line that\ngoes on here. Done", 2),
        ("Title\n\nText", 2),
        ("Wait... what?! Yes.", 3),
        ("你好world.再见", 1),
        ("The fee is 35. Pay now.", 2),
        ("Is it free? No. It costs 5.", 3),
        ("No. 5 was sent. Order No. 6 was not.", 2),
        ("See p. 5 and pp. 7-9. Fig. 3, ch. 2 and Tab. 1 say more.", 2),
        ("It is No. 7. Did she say no? She said no. It is late.", 4),
        ("Take fruit, e.g. this, approx. 5 kg, min. 3, max. 9 pieces. Done.", 2),
        ("'Mr. Li came on Jan. 5.' [p. 5] He left in Jan. It was cold.", 3),
        ("见 p. 5。他是Mr. Li。完", 3),
        ("Turn to the next p. There it is.", 2),
        ("1. Is it free? No.\n2. Is it here?", 3),
        ("", 0),
        (" \n ", 0),
    ],
)
def test_sentences_end_where_people_end_them(text: str, expected: int) -> None:
    assert len(list(sentences(text))) == expected


@given(MIXED, st.integers(5, 40))
def test_sentences_are_pieces_of_the_text_and_lose_only_white_space(text: str, most: int) -> None:
    found = list(sentences(text, longest=most))
    end = 0
    for span in found:
        assert text[span.start : span.end] == span.text
        assert 0 < len(span.text) <= most
        assert not text[end : span.start].strip()
        end = span.end
    assert not text[end:].strip()


@given(MIXED, st.lists(st.integers(1, 9), max_size=12))
def test_a_stream_gives_all_of_the_text_in_order(text: str, cuts: list[int]) -> None:
    stream = SentenceStream()
    found = []
    at = 0
    for size in cuts:
        found += stream.push(text[at : at + size])
        at += size
    found += stream.push(text[at:])
    found += stream.flush()
    assert "".join("".join(s.text.split()) for s in found) == "".join(text.split())
    for span in found:
        assert text[span.start : span.end] == span.text


def test_a_stream_keeps_no_white_space() -> None:
    stream = SentenceStream()
    for _ in range(100):
        assert stream.push(" \n" * 1000) == []
    assert [s.start for s in stream.push("Really?")] == [200_000]
    assert len(stream._rest) == 0
    stream.push("and so")
    for _ in range(100):
        stream.push(" " * 1000)
    assert len(stream._rest) <= 1006


def test_a_stream_does_not_wait_for_the_next_sentence() -> None:
    stream = SentenceStream()
    assert [s.text for s in stream.push("你好。")] == ["你好。"]
    assert [s.text for s in stream.push("Really?")] == ["Really?"]
    assert stream.push("他说“好。") == []
    assert [s.text for s in stream.push("”")] == ["他说“好。”"]


def test_a_stream_of_words_waits_behind_abbreviations() -> None:
    said = "Mr. Li met Dr. Wu at 9 a.m. today. 1. It was e.g. “short. Very.” (So they say.) Good"
    stream = SentenceStream()
    found = [s.text for word in said.split() for s in stream.push(word + " ")]
    assert found == [s.text for s in sentences(said)][:-1]
    assert [s.text for s in stream.flush()] == ["Good"]


@given(
    st.lists(
        st.sampled_from(
            [
                "See",
                "p.",
                "no.",
                "No.",
                "5",
                "7.",
                "Mr.",
                "Li",
                "Fig.",
                "3",
                "e.g.",
                "this",
                "approx.",
                "It",
                "ended.",
                "Why?",
                "好。",
            ]
        ),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.integers(1, 3)),
)
def test_a_stream_ends_sentences_where_the_whole_text_does(
    words: list[str], sizes: list[int]
) -> None:
    said = " ".join(words)
    stream, found, at = SentenceStream(), [], 0
    for size in [*sizes, len(said)]:
        found += stream.push(said[at : at + size])
        at += size
    assert [*found, *stream.flush()] == list(sentences(said))


def test_a_stream_waits_behind_what_a_number_may_follow() -> None:
    stream = SentenceStream()
    assert stream.push("She said no. ") == []
    assert [s.text for s in stream.push("It")] == ["She said no."]
    assert stream.push(" is on p. ") == []
    assert [s.text for s in stream.push("5. ")] == ["It is on p. 5."]


def test_terms_are_words_numbers_and_pairs_of_characters() -> None:
    assert terms("Batteries: 3.5V, 退货费") == ["battery", "3.5v", "退货", "货费"]
    assert terms("费") == ["费"]
    assert telling_terms("What does it do?") == []


def test_words_count_each_chinese_character() -> None:
    assert words("满99元 free") == ["满", "99", "元", "free"]


@pytest.mark.parametrize(
    "text", ["." * 200_000 + "x", "!)" * 100_000, "\n" * 200_000, " " * 200_000]
)
def test_long_runs_of_marks_cost_linear_time(text: str) -> None:
    list(sentences(text))  # a quadratic expression would not come back
    language(text)
    terms(text)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Где мой заказ?", True),
        ("こんにちは世界", True),
        ("أين طلبي؟", True),
        ("Where is Иван?", False),
        ("Où est ma commande ?", False),
        ("订单在哪里？", False),
        ("12 + 30", False),
        ("", False),
    ],
)
def test_another_script_is_told(text: str, other: bool) -> None:
    assert other_script(text) is other
