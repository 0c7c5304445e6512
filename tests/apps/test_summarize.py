"""Summaries: lengths, and how much of a long text there is time for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from app_model import FakeModel
from hypothesis import given
from hypothesis import strategies as st

from onesec.apps import Summarize, Target
from onesec.apps.ask import Length
from onesec.apps.chunks import chunks, plan, spread
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
)

TEXT = "".join(f"Sentence number {n} says that {n} things happened. " for n in range(400))


def summarizer(**options: object) -> tuple[Summarize, FakeModel]:
    model = FakeModel(reply=lambda prompt: "It happened.", **options)  # type: ignore[arg-type]
    return Summarize(model, clock=model.clock), model


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("one sentence", Target(1, "sentences")),
        ("3 sentences", Target(3, "sentences")),
        ("≤ 40 words", Target(40, "words")),
        ("At most 40 words.", Target(40, "words")),
        ("一句话", Target(1, "sentences")),
        ("两句", Target(2, "sentences")),
        ("60字", Target(60, "words")),
        ("不超过60个字", Target(60, "words")),
        ("60字以内", Target(60, "words")),
        ("under 80 characters", Target(80, "characters")),
    ],
)
def test_lengths_are_understood(words: str, expected: Target) -> None:
    assert Target.of(words) == expected


@pytest.mark.parametrize("words", ["", "short", "0 words", "99 sentences", "-3 words", "forty"])
def test_no_length_is_refused(words: str) -> None:
    with pytest.raises(InvalidRequest):
        Target.of(words)


def test_the_prompts_are_the_agreed_ones() -> None:
    app, model = summarizer()
    app("A.\n\nB.")
    app("A text.", "3 sentences")
    app("A text.", "40 words")
    app("A text.", "80 characters")
    app("一篇文章。", "80 characters")
    app("一篇文章。", "一句话")
    app("一篇文章。", "2句话")
    app("一篇文章。", "60字")
    assert model.prompts == [
        "Summarize in one sentence:\n\nA.\nB.",
        "Summarize in 3 sentences:\n\nA text.",
        "Summarize in at most 40 words:\n\nA text.",
        "Summarize in at most 80 characters:\n\nA text.",
        "用不超过80字概括：\n\n一篇文章。",
        "用一句话概括：\n\n一篇文章。",
        "用2句话概括：\n\n一篇文章。",
        "用不超过60字概括：\n\n一篇文章。",
    ]


def test_characters_are_no_words() -> None:
    app, _ = summarizer()
    assert not app("A text.", "10 characters").kept  # "It happened." has 12
    assert app("A text.", "12 characters").kept
    assert Target(4, "characters").met_by("三点开门。")


def test_a_long_text_is_read_in_parts_and_brought_together() -> None:
    app, model = summarizer()
    shares: list[float] = []
    made = app(TEXT, "40 words", "60s", on_progress=shares.append)
    assert made.left_out == ()
    assert made.read_share == 1.0
    assert made.merged
    assert made.calls == len(model.seen) == len(made.read) + 1
    assert all(prompt.startswith("Summarize in one") for prompt in model.prompts[:-1])
    assert model.prompts[-1].startswith("Summarize in at most 40 words:\n\nIt happened.\nIt")
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_there_is_no_time_for_is_left_out_evenly_and_told() -> None:
    app, model = summarizer()
    start_ns = model.clock.now_ns()
    made = app(TEXT, "one sentence", "500ms")
    assert (model.clock.now_ns() - start_ns) / 1e6 <= 500
    assert 0.1 < made.read_share < 0.9
    assert made.read[0].start == 0
    assert made.read[-1].end == len(TEXT.rstrip())
    covered = sorted([*made.read, *made.left_out], key=lambda piece: piece.start)
    assert "".join(TEXT[p.start : p.end] for p in covered).replace(" ", "") == TEXT.replace(" ", "")


def test_more_time_reads_more() -> None:
    shares = [summarizer()[0](TEXT, "one sentence", f"{ms}ms").read_share for ms in (200, 400, 800)]
    assert shares[0] < shares[1] < shares[2]


def test_a_model_that_is_faster_than_predicted_reads_more_than_planned() -> None:
    shares = []
    for pessimism in (1.0, 6.0):
        app, _ = summarizer(pessimism=pessimism)
        shares.append(app(TEXT, "one sentence", "900ms").read_share)
    assert shares[1] > 0.5 * shares[0]


def test_many_parts_are_brought_together_in_rounds() -> None:
    app, model = summarizer(context_length=512)
    model.reply = lambda prompt: "A sentence with quite a few words about what happened here."
    made = app(TEXT * 3, "one sentence", "600s")
    assert made.merged
    assert made.read_share == 1.0
    assert made.calls > len(made.read) + 1
    assert all(model.count_tokens(prompt) < 512 for prompt in model.prompts)


def test_parts_stand_alone_when_the_time_ends_before_they_are_merged() -> None:
    app, model = summarizer()

    def reply(prompt: str) -> str:
        if len(model.seen) == 2:
            model.clock.advance_ms(10_000)
        return "It happened."

    model.reply = reply
    made = app(TEXT, "one sentence", "1s")
    assert not made.merged
    assert made.text == "It happened.\nIt happened.\nIt happened."


def test_parts_stand_alone_when_the_merging_reply_is_empty() -> None:
    app, model = summarizer()
    model.reply = lambda prompt: "" if "It happened." in prompt else "It happened."
    made = app(TEXT, "one sentence", "600s")
    assert not made.merged
    assert made.text == "\n".join(["It happened."] * len(made.read))


def test_a_summary_that_is_too_long_is_told() -> None:
    app, model = summarizer()
    model.reply = lambda prompt: "One two three four five six seven. Eight."
    assert not app("A text.", "5 words").kept
    assert not app("A text.", "one sentence").kept
    assert app("A text.", "2 sentences").kept


def test_a_text_that_a_small_context_holds_needs_no_parts() -> None:
    app, model = summarizer(context_length=300)
    made = app("A short text about a dog.", "one sentence")
    assert (made.text, made.read_share, len(model.seen)) == ("It happened.", 1.0, 1)
    with pytest.raises(ContextLengthExceeded):
        app(TEXT * 3, "one sentence")


def test_no_text_no_time_no_room() -> None:
    with pytest.raises(EmptyPrompt):
        summarizer()[0](" \n")
    with pytest.raises(DeadlineInfeasible):
        summarizer()[0](TEXT, "one sentence", "5ms")
    with pytest.raises(ContextLengthExceeded):
        summarizer(context_length=200)[0](TEXT)


@given(
    st.integers(1, 200),
    st.floats(1.0, 1e5),
    st.floats(0.001, 1.0),
)
def test_the_plan_fits_the_time_and_more_time_is_never_fewer_chunks(
    count: int, left_ms: float, rate: float
) -> None:
    def predict(prompt: int, answer: int) -> float:
        return rate * prompt + answer

    final = Length(usual=40, most=80)
    made = plan([500] * count, left_ms, predict, limit=600, part=final, final=final)
    assert 1 <= made.chunks <= count
    if made.chunks > 1:
        assert made.chunks * made.part_ms + made.reduce_ms <= left_ms
    more = plan([500] * count, 2 * left_ms, predict, limit=600, part=final, final=final)
    assert more.chunks >= made.chunks


@given(st.integers(1, 300))
def test_the_order_is_a_permutation_whose_beginnings_are_spread(count: int) -> None:
    order = spread(count)
    assert sorted(order) == list(range(count))
    if count >= 8:
        gaps = sorted(order[:5])
        assert max(b - a for a, b in pairwise(gaps)) <= count // 4 + 2


@given(st.text(alphabet="ab. 。\n中!?", min_size=1, max_size=400), st.integers(40, 200))
def test_chunks_are_pieces_of_the_text(text: str, most: int) -> None:
    found = chunks(text, most)
    assert all(len(piece.text) <= most for piece in found)
    assert all(text[piece.start : piece.end] == piece.text for piece in found)
    assert "".join("".join(p.text.split()) for p in found) == "".join(text.split())


def test_parts_stand_alone_when_together_they_are_too_long() -> None:
    app, model = summarizer(context_length=512)
    count = model.count_tokens

    def denser(text: str) -> int:  # figures have more tokens a character than the text
        return count(text) + 40 * text.count("4711")

    model.count_tokens = denser  # type: ignore[method-assign]
    model.reply = lambda prompt: "It cost 4711 and 4711."
    made = app(TEXT * 3, "one sentence", "600s")
    assert not made.merged
    assert made.text.count("4711") == 2 * len(made.read)
