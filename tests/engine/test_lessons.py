"""What answers teach is learned when somebody has time for it, and never all at once by one in a
hurry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_backend import FakeBackend, drain, engine_over

from onesec.budget.length import LengthModel
from onesec.core.clock import FakeClock
from onesec.core.cues import Cues
from onesec.core.deadline import Budget
from onesec.core.request import Request, SamplingParams
from onesec.engine.lessons import Lessons


class Counting(LengthModel):
    """Counts what it learns."""

    learned = 0

    def observe(self, tokens: int, *, ended: bool, cues: Cues) -> None:
        self.learned += 1
        super().observe(tokens, ended=ended, cues=cues)


def ask(ms: float | None) -> Request:
    return Request(id="a", prompt_tokens=(1,), params=SamplingParams(), budget=Budget(total_ms=ms))


def taught(count: int) -> tuple[Lessons, Counting]:
    model = Counting()
    lessons = Lessons(model)
    for tokens in range(count):
        lessons.note(1 + tokens, None, ended=True, cues=Cues())
    return lessons, model


@pytest.mark.parametrize("ms", [None, 100.0, 5000.0])
def test_who_has_time_learns_all(ms: float | None) -> None:
    lessons, model = taught(70)
    lessons.learn_before(ask(ms))
    assert model.learned == 70


def test_who_is_in_a_hurry_learns_one_at_most() -> None:
    lessons, model = taught(64)
    lessons.learn_before(ask(20.0))
    assert model.learned == 0
    for tokens in range(3):
        lessons.note(9, None, ended=True, cues=Cues())
        lessons.learn_before(ask(20.0))
        assert model.learned == tokens + 1
    lessons.learn()
    assert model.learned == 67


def test_an_answer_that_never_began_teaches_nothing() -> None:
    backend = FakeBackend(FakeClock(10**9), eos_rate=0.0)
    engine = engine_over(backend)
    engine.add_request(replace(ask(0.01), best_effort=True))
    (ended,) = drain(engine)
    assert (ended.ending, ended.trace.answer_tokens if ended.trace else None) == ("cut", 0)
    assert engine.length.cells == 0
