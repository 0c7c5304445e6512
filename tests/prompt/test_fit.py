"""fit: refuses by default, drops the oldest turns when allowed, and reports every character."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.core.errors import ContextLengthExceeded, EmptyPrompt, InvalidRequest
from onesec.core.fitted import Fitting
from onesec.prompt.fit import cleaned, fit
from onesec.prompt.pieces import OMISSION, pieces_of
from onesec.prompt.template import ChatTemplate, Message

TEMPLATE = ChatTemplate(
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def count(text: str) -> int:
    return len(text)  # a token a character


def say(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


CHAT = [
    say("system", "be kind"),
    say("user", "first question"),
    say("assistant", "first answer"),
    say("user", "second question"),
    say("assistant", "second answer"),
    say("user", "third question"),
]


def render(messages: Sequence[Message]) -> str:
    return TEMPLATE.render(messages)


def test_what_fits_is_rendered_once() -> None:
    fitted = fit(CHAT, count_tokens=count, render=render, max_tokens=500, fitting="drop_oldest")
    assert fitted.text == render(CHAT)
    assert fitted.prompt_tokens == len(fitted.text)
    assert (fitted.report.dropped_turns, fitted.report.removed_chars) == (0, 0)
    assert fitted.report.passes == 1


def test_refused_by_default_with_both_numbers() -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        fit(CHAT, count_tokens=count, render=render, max_tokens=50)
    assert caught.value.prompt_tokens == len(render(CHAT))
    assert caught.value.context_length == 51


def test_oldest_turn_goes_first_and_no_more_than_needed() -> None:
    needed = len(render([CHAT[0], *CHAT[3:]]))
    fitted = fit(CHAT, count_tokens=count, render=render, max_tokens=needed, fitting="drop_oldest")
    assert fitted.messages == (CHAT[0], *CHAT[3:])
    assert fitted.report.dropped_turns == 1
    assert fitted.report.removed_chars == 0


def test_a_turn_goes_with_its_tool_calls() -> None:
    chat = [
        say("user", "weather? " * 9),
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "w"}}]},
        say("tool", "sunny"),
        say("assistant", "It is sunny."),
        say("user", "thanks"),
    ]
    fitted = fit(chat, count_tokens=count, render=render, max_tokens=60, fitting="drop_oldest")
    assert fitted.messages == (chat[4],)


def test_long_message_is_shortened_in_its_middle_at_sentence_ends() -> None:
    sentences = [f"This is sentence number {i}. " for i in range(100)]
    chat = [say("user", "Summarize: " + "".join(sentences) + "Now answer.")]
    fitted = fit(chat, count_tokens=count, render=render, max_tokens=600, fitting="drop_oldest")
    assert fitted.messages is not None
    content = fitted.messages[0]["content"]
    assert content.startswith("Summarize: This is sentence number 0.")
    assert content.endswith("Now answer.")
    head, tail = content.split(OMISSION)
    assert head.endswith(".")
    assert tail.startswith("This is sentence")
    assert len(fitted.text) > 500
    kept = len(head) + 1 + len(tail)  # the space after the head's last sentence stays out
    assert fitted.report.removed_chars == len(chat[0]["content"]) - kept


def test_plain_text_loses_its_beginning() -> None:
    text = "".join(f"Line {i}.\n" for i in range(100))
    fitted = fit(text, count_tokens=count, max_tokens=100, fitting="drop_oldest")
    assert text.endswith(fitted.text)
    assert fitted.text.startswith("Line")
    assert fitted.messages is None
    assert fitted.report.removed_chars == len(text) - len(fitted.text)


def test_far_too_long_texts_are_not_counted() -> None:
    def capped(text: str) -> int:
        if len(text) > 2000:
            raise InvalidRequest("too long to tokenize")
        return len(text)

    fitted = fit("Word. " * 20_000, count_tokens=capped, max_tokens=50, fitting="drop_oldest")
    assert 30 <= fitted.prompt_tokens <= 50
    with pytest.raises(InvalidRequest):
        fit("Word. " * 20_000, count_tokens=capped, max_tokens=50)
    assert fitted.report.tokens_before == 120_000  # by what a part of it has


def test_nothing_helps() -> None:
    with pytest.raises(ContextLengthExceeded):
        fit([say("user", "hello there")], count_tokens=count, render=render, max_tokens=5,
            fitting="drop_oldest")  # fmt: skip


def test_cleaned_before_it_is_counted() -> None:
    chat = [say("user", "a\x00\r\nb ")]
    fitted = fit(chat, count_tokens=count, render=render, max_tokens=99)
    assert fitted.text == "<user>a\nb</><assistant>"
    assert fit("a\r\n  ", count_tokens=count, max_tokens=9).text == "a\n  "  # a text to continue


def test_text_parts_are_one_text() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    fitted = fit(
        [{"role": "user", "content": parts}], count_tokens=count, render=render, max_tokens=99
    )
    assert fitted.text.startswith("<user>one\ntwo</>")


def test_empty_and_senseless() -> None:
    with pytest.raises(EmptyPrompt):
        fit("\x00", count_tokens=count, max_tokens=9)
    with pytest.raises(EmptyPrompt):
        fit([], count_tokens=count, render=render, max_tokens=9)
    with pytest.raises(InvalidRequest):
        fit("a", count_tokens=count, max_tokens=0)
    with pytest.raises(InvalidRequest):
        fit(CHAT, count_tokens=count, max_tokens=9)


CONTENT = st.text(st.sampled_from('ab .!?。\n"”3é😀'), max_size=300)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), CONTENT), min_size=1,
                max_size=6), st.integers(1, 400))  # fmt: skip
def test_it_fits_or_is_refused(chat: list[tuple[str, str]], max_tokens: int) -> None:
    messages = [say(role, content) for role, content in chat]
    try:
        fitted = fit(
            messages,
            count_tokens=count,
            render=render,
            max_tokens=max_tokens,
            fitting="drop_oldest",
        )
    except ContextLengthExceeded:
        return
    assert fitted.prompt_tokens == len(fitted.text) <= max_tokens
    assert fitted.messages is not None
    assert fitted.text == render(fitted.messages)
    roles = [m["role"] for m in fitted.messages]
    assert roles.count("system") == [role for role, _ in chat].count("system")
    assert fitted.report.passes < 100


@given(CONTENT, st.integers(1, 100))
def test_plain_text_keeps_its_end(text: str, max_tokens: int) -> None:
    try:
        fitted = fit(text, count_tokens=count, max_tokens=max_tokens, fitting="drop_oldest")
    except (ContextLengthExceeded, EmptyPrompt):
        return
    whole = fit(text, count_tokens=count, max_tokens=10_000).text
    assert whole.endswith(fitted.text)
    assert fitted.report.removed_chars == len(whole) - len(fitted.text)


def test_pieces_do_not_end_behind_abbreviations() -> None:
    text = "Mr. Li, see p. 5 and No. 7, e.g. Fig. 3. It weighs approx. 5 kg. No. 好。见 p. 2。"
    ends = ["Fig. 3. ", "5 kg. ", "No. ", "好。", "p. 2。"]
    found = pieces_of(text, 200)
    assert [piece.endswith(end) for piece, end in zip(found, ends, strict=True)] == [True] * 5
    assert "".join(found) == text


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.integers(1, 90)), min_size=1,
             max_size=5), st.integers(60, 4000), st.sampled_from(["extract", "drop_oldest"]),
)  # fmt: skip
def test_what_is_gone_is_counted_once(
    chat: list[tuple[str, int]], max_tokens: int, fitting: Fitting
) -> None:
    """Sentences of 20 characters that nothing else looks like: marks are none of them."""
    texts = [
        (role, "".join(f"Sentence {i:02}{j:03} here. " for j in range(size)))
        for i, (role, size) in enumerate(chat)
    ]
    messages = [say(role, text) for role, text in texts]
    try:
        fitted = fit(
            messages, count_tokens=count, render=render, max_tokens=max_tokens, fitting=fitting
        )
    except ContextLengthExceeded:
        return
    assert fitted.messages is not None
    before = [message["content"] for message in messages[len(messages) - len(fitted.messages) :]]
    sentence = re.compile(r"Sentence \d{5} here\.")
    lost = sum(len(sentence.findall(text)) for text in before)
    lost -= sum(len(sentence.findall(message["content"])) for message in fitted.messages)
    # A sentence and the space behind it, which the last one of a text has not.
    assert abs(fitted.report.removed_chars - 21 * lost) <= len(before)


@pytest.mark.parametrize("run", ["." * 200_000, "?!" * 100_000, ".)" * 100_000, "。" * 200_000])
def test_long_runs_of_marks_cost_linear_time(run: str) -> None:
    assert "".join(pieces_of(run + "x", 200)) == run + "x"  # a quadratic pass does not come back


@pytest.mark.parametrize("end", ["Total: ", "```json\n"])
def test_a_message_that_goes_on_keeps_its_end(end: str) -> None:
    messages = [{"role": "user", "content": "Go on. "}, {"role": "assistant", "content": end}]
    whole = cleaned(messages, goes_on=True)
    assert [message["content"] for message in whole] == ["Go on.", end]
    assert [message["content"] for message in cleaned(messages)] == ["Go on.", end.rstrip()]
    fitted = fit(
        messages,
        count_tokens=len,
        max_tokens=99,
        render=lambda some: "|".join(str(message["content"]) for message in some),
        goes_on=True,
    )
    assert fitted.text == f"Go on.|{end}"
