"""Prompts that are made to fit the time: with leave only, no more than needed, and told."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from doors import PREFILL_MS, STEP_MS, recite
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.core.deadline import Budget
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, InvalidRequest
from onesec.core.fitted import Fitting
from onesec.explain.sentences import explain
from onesec.llm import LLM
from onesec.output import Output
from onesec.prompt.pieces import OMISSION

QUESTION = "How long does the delivery take?"
FACTS = [
    f"Entry {i}: the {word} of our shop is described in the handbook under {i}."
    for i, word in enumerate(["colour", "history", "window", "garden", "kitchen", "parking"] * 4)
]
FACT = "The delivery takes five days in all of the country."
TEXT = " ".join([*FACTS[:15], FACT, *FACTS[15:]])


def door(*, context: int = 4096) -> LLM:
    """A model that answers with a sentence, whatever it is asked."""
    loaded, clock, backend = recite("Five days, and then it is there.")
    backend.context_length = context
    backend.num_blocks = context // backend.block_size
    loaded.context_length = context
    # Every prompt is followed by the whole text.
    backend.text = ""
    backend.answer = "Five days, and then it is there. " * 3  # type: ignore[attr-defined]
    return LLM.over(loaded, clock=clock)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def ask(llm: LLM, text: str, ms: float | None, fit: Fitting) -> Output:
    return llm.chat(user(text), None if ms is None else ms / 1e3, fit=fit)


def whole_ms(text: str) -> float:
    """What a prompt and 60 tokens take in the cheapest gear."""
    return PREFILL_MS * (len(text) + 20) * 1.05 + 60 * STEP_MS["4"] * 1.1


def test_without_leave_it_is_refused_with_a_budget_that_works() -> None:
    with door() as llm, pytest.raises(DeadlineInfeasible) as caught:
        ask(llm, f"{TEXT}\n\n{QUESTION}", 60.0, "none")
    with door() as llm:
        output = ask(llm, f"{TEXT}\n\n{QUESTION}", caught.value.feasible_ms, "none")
        assert output.met
        assert output.fitted is None


def test_what_speaks_of_the_question_stays() -> None:
    prompt = f"Answer from the text.\n\n{TEXT}\n\n{QUESTION}"
    with door() as llm:
        output = ask(llm, prompt, whole_ms("x" * 500), "extract")
    assert output.met
    report = output.fitted
    assert report is not None
    assert report.tokens_before > 1500
    assert report.tokens_after == output.prompt_tokens < 800
    assert report.removed_chars > 1000
    assert report.dropped_turns == 0


def test_a_prompt_that_fits_is_left_alone() -> None:
    prompt = f"{TEXT}\n\n{QUESTION}"
    with door() as llm:
        for ms in (None, 5000.0):
            output = ask(llm, prompt, ms, "extract")
            assert output.fitted is None
            assert output.prompt_tokens > len(prompt)


def test_it_is_told_in_the_trace_and_in_the_story() -> None:
    with door() as llm:
        output = ask(llm, f"{TEXT}\n\n{QUESTION}", 120.0, "extract")
    report = output.fitted
    assert report is not None
    first = output.trace.events[0]
    assert first.kind == "fit"
    assert first.detail["removed_chars"] == report.removed_chars
    assert first.detail["tokens_after"] == output.trace.prompt_tokens
    assert output.trace.events[1].kind == "plan"
    for language in ("en", "zh"):
        line = explain(output.trace, language)[1]
        assert str(report.tokens_before) in line
        assert str(report.tokens_after) in line


def test_old_turns_go_first_where_that_is_asked() -> None:
    turns: list[dict[str, Any]] = []
    for number in range(12):
        turns += [
            {"role": "user", "content": f"Question number {number}, which is long enough."},
            {"role": "assistant", "content": f"Answer number {number}, which is long as well."},
        ]
    with door() as llm:
        output = llm.chat([*turns, *user(QUESTION)], 0.11, fit="drop_oldest")
        report = output.fitted
        assert report is not None
        assert 0 < report.dropped_turns < 12
        assert report.removed_chars == 0
        assert output.met


def test_a_text_to_be_continued_loses_its_beginning() -> None:
    with door() as llm:
        output = llm.generate(TEXT, 0.1, fit="drop_oldest")
        assert output.met
        assert output.fitted is not None
        assert output.fitted.removed_chars + output.prompt_tokens == len(TEXT)
        with pytest.raises(DeadlineInfeasible):
            llm.generate(list(map(ord, TEXT)), 0.1, fit="drop_oldest")  # ids are never shortened


def test_where_no_shortening_is_enough_time_is_what_lacks() -> None:
    # Longer than the context, and so long that it is not even tokenized as it is.
    for text, fit in product((TEXT, TEXT * 20), ("drop_oldest", "extract")):
        text = f"{text}\n\n{QUESTION}"
        with door(context=512) as llm:
            with pytest.raises(DeadlineInfeasible) as caught:
                ask(llm, text, 5.0, fit)  # type: ignore[arg-type]
            assert ask(llm, text, caught.value.feasible_ms, fit).met  # type: ignore[arg-type]
            output = llm.chat(user(text), 5e-3, fit=fit, best_effort=True)  # type: ignore[arg-type]
            assert output.fitted is not None
            assert len(QUESTION) < output.fitted.tokens_after == output.prompt_tokens < 300


def test_a_prompt_too_long_for_the_context_fits_too() -> None:
    with door(context=512) as llm:
        with pytest.raises(ContextLengthExceeded):
            ask(llm, f"{TEXT}\n\n{QUESTION}", None, "none")
        for fit in ("drop_oldest", "extract"):
            output = ask(llm, f"{TEXT * 20}\n\n{QUESTION}", None, fit)  # type: ignore[arg-type]
            assert output.prompt_tokens <= 512 - 48
            assert output.fitted is not None
            assert output.fitted.tokens_before > 30_000


def test_nothing_to_shorten_is_a_refusal() -> None:
    with door() as llm:
        with pytest.raises(DeadlineInfeasible):
            ask(llm, QUESTION, 3.0, "extract")
        with pytest.raises(InvalidRequest, match="drop_oldest"):
            ask(llm, QUESTION, 3.0, "shrink")  # type: ignore[arg-type]


@settings(max_examples=40)
@given(
    st.floats(40.0, 300.0),
    st.floats(0.0, 200.0),
    st.sampled_from(["drop_oldest", "extract"]),
)
def test_more_time_never_takes_more_away(ms: float, more_ms: float, fit: Fitting) -> None:
    messages = [
        {"role": "system", "content": "Be kind. " + " ".join(FACTS)},
        *user("An earlier question."),
        {"role": "assistant", "content": "An answer."},
        *user(f"{TEXT}\n\n{QUESTION}"),
    ]
    kept = []
    for budget_ms in (ms, ms + more_ms):
        loaded, clock, backend = recite("")
        backend.context_length = loaded.context_length = 8192
        backend.num_blocks = 512
        with LLM.over(loaded, clock=clock) as llm:
            try:
                report = llm.chat(messages, budget_ms / 1e3, fit=fit).fitted
            except DeadlineInfeasible:
                kept.append((-1, 0))
                continue
            gone = (0, 0) if report is None else (report.dropped_turns, report.removed_chars)
            kept.append((-gone[0], -gone[1]) if fit == "drop_oldest" else (-gone[1], -gone[0]))
    if kept[0][0] != -1:
        assert kept[0] <= kept[1]


@pytest.mark.parametrize("context", [4096, 512])
def test_the_question_is_never_dropped(context: int) -> None:
    seen: list[str] = []
    loaded, clock, backend = recite("")
    backend.context_length = loaded.context_length = context
    backend.num_blocks = context // backend.block_size
    with LLM.over(loaded, clock=clock) as llm:
        add = llm._engine.add_request

        def spy(request: Any, **options: Any) -> Any:
            seen.append("".join(map(chr, request.prompt_tokens)))
            return add(request, **options)

        llm._engine.add_request = spy  # type: ignore[method-assign]
        for fit in ("drop_oldest", "extract"):
            for place in (f"{TEXT}\n\n{QUESTION}", f"{QUESTION}\n\n{TEXT}"):
                for ms in (10.0, 30.0, 60.0, 120.0):
                    try:
                        ask(llm, place, ms, fit)  # type: ignore[arg-type]
                    except DeadlineInfeasible:
                        continue
                    assert QUESTION in seen[-1]
                    assert OMISSION.strip() in seen[-1] or fit == "drop_oldest"
                    if fit == "extract" and ms > 60.0:
                        assert FACT in seen[-1]
    assert len(seen) >= 8


@pytest.mark.parametrize(
    "budget",
    [Budget(total_ms=3000.0, ttft_ms=60.0), Budget(total_ms=500.0, ttft_ms=60.0),
     Budget(ttft_ms=60.0)],
)  # fmt: skip
def test_the_first_tokens_budget_counts_too(budget: Budget) -> None:
    with door() as llm:
        output = llm.chat(
            user(f"Answer from the text.\n\n{TEXT}\n\n{QUESTION}"), budget, fit="extract"
        )
    assert output.fitted is not None
    assert output.met
