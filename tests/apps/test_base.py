"""The driver: errors go into the steps, text comes out as it is made."""

from __future__ import annotations

from typing import Any

import pytest
from app_model import FakeModel

from onesec.apps import Answer, Ask, Summarize, Support, Translate, run
from onesec.apps.ask import Steps
from onesec.core.deadline import Budget, Deadline
from onesec.core.errors import DeadlineInfeasible, EmptyPrompt, InvalidRequest

HELLO = ({"role": "user", "content": "Hi"},)


def ask(budget_ms: float | None = None, *, shown: bool = True) -> Ask:
    return Ask(messages=HELLO, max_tokens=9, budget_ms=budget_ms, app="test", shown=shown)


def test_errors_of_the_model_reach_the_steps() -> None:
    def steps() -> Steps[str]:
        try:
            yield ask(0.01)
        except DeadlineInfeasible:
            reply = yield ask(500.0)
            return reply.text
        return "not refused"

    assert run(FakeModel(), steps()) == "Yes."


def test_time_that_is_used_up_is_a_refusal_and_no_bad_budget() -> None:
    def steps() -> Steps[None]:
        yield ask(-5.0)

    with pytest.raises(DeadlineInfeasible):
        run(FakeModel(), steps())


def test_only_shown_replies_are_told_as_they_come() -> None:
    def steps() -> Steps[None]:
        yield ask(shown=False)
        yield ask()

    pieces: list[str] = []
    model = FakeModel(reply=lambda prompt: "One two")
    run(model, steps(), on_text=pieces.append)
    assert pieces == ["One", "two"]


def test_a_template_without_system_role_gets_it_in_the_first_turn() -> None:
    model = FakeModel(has_system=False)
    Support(model, clock=model.clock).ask("When do you open?")
    assert [message["role"] for message in model.seen[0]] == ["user"]
    assert model.prompts[0].startswith("Answer the customer from these notes.")
    assert model.prompts[0].endswith("\n\nWhen do you open?")


def test_other_refusals_stay_refusals() -> None:
    def refuse(prompt: str) -> str:
        raise InvalidRequest("no")

    model = FakeModel(reply=refuse)
    with pytest.raises(InvalidRequest, match="no"):
        Support(model, clock=model.clock).ask("Hi")
    with pytest.raises(EmptyPrompt):
        Support(model, clock=model.clock).ask(" \n ")


def test_gears_and_name_are_handed_on() -> None:
    model = FakeModel()
    Translate(model, gear="8", min_gear="4", clock=model.clock)("Hi there.")
    assert model.options[0]["gear"] == "8"
    assert model.options[0]["min_gear"] == "4"
    assert model.options[0]["app"] == "translate"


def test_deadlines_are_the_calls_then_the_apps_then_the_default() -> None:
    model = FakeModel()
    app = Translate(model, deadline="300ms", clock=model.clock)
    app("One.")
    app("Two.", "100ms")
    app("Three.", Budget())
    Translate(model, clock=model.clock)("Four.")
    assert model.budgets_ms == [299.0, 99.0, None, 999.0]  # the rest is for what comes afterwards


def test_a_callers_deadline_is_handed_down() -> None:
    model = FakeModel()
    due = Deadline.within("100ms", model.clock.now_ns())
    model.clock.advance_ms(40.0)
    Translate(model, clock=model.clock)("Hi there.", due)
    assert model.budgets_ms == [60.0 - Translate.AFTER_MS]


@pytest.mark.parametrize("text", [None, 5, b"Hi", ["Hi"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    model = FakeModel()
    for door in (
        Support(model).ask,
        Translate(model),
        Summarize(model),
        lambda text: Answer(model)(text, "We open at 9."),
        lambda text: Answer(model)("When?", text),
    ):
        with pytest.raises(InvalidRequest, match="it must be a text"):
            door(text)
    assert not model.seen
