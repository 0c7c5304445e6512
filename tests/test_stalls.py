"""The whole engine on the shipped model while a thread of it hangs: answers end in time.

Threads hang for half a minute or more and are woken when the test has seen enough, so only the
budgets pass in real time; they are long, so that a busy machine can hand over within their margin.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("onesec._native")

from onesec import LLM, _native
from onesec.output import Output

HANG_MS = 120_000.0
BUDGET_MS = 3_000.0
PROMPT = "The blue kettle"
LONG = {"max_tokens": 400, "ignore_eos": True, "gear": "8"}
SAMPLED = {**LONG, "temperature": 0.9, "seed": 5, "presence_penalty": 0.4, "max_tokens": 60}


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def hanging() -> Iterator[tuple[LLM, _native.Fault]]:
    """An LLM of two threads, and the door to make one of them hang."""
    fault = _native.Fault()
    with LLM("onesec-mini", threads=2, context=512) as llm:
        llm._engine.backend._engine.set_fault(fault)  # type: ignore[attr-defined]
        yield llm, fault
        fault.release()


@pytest.fixture(scope="module")
def plain() -> dict[str, Output]:
    """What is answered where nothing hangs."""
    with LLM("onesec-mini", threads=2, context=512) as llm:
        return {
            "greedy": llm.generate(PROMPT, **LONG),
            "sampled": llm.generate(PROMPT, **SAMPLED, logprobs=2),
        }


def stalls(output: Output) -> list[dict[str, object]]:
    return [event.detail for event in output.trace.events if event.kind == "stall"]


@pytest.mark.parametrize("thread", [0, 1])
def test_an_answer_ends_in_time_and_the_next_one_is_right(
    hanging: tuple[LLM, _native.Fault], plain: dict[str, Output], thread: int
) -> None:
    llm, fault = hanging
    fault.stall(thread, 12, HANG_MS)
    output = llm.generate(PROMPT, deadline=BUDGET_MS / 1e3, **LONG)
    assert output.met is True
    assert output.ending in ("landed", "cut")
    assert 0 < len(output.tokens) < 400
    assert output.tokens == plain["greedy"].tokens[: len(output.tokens)]
    [stall] = stalls(output)
    assert stall["token"] == len(output.tokens) + 1
    fault.release()
    again = llm.generate(PROMPT, **SAMPLED, logprobs=2)
    assert again.tokens == plain["sampled"].tokens
    assert again.logprobs == plain["sampled"].logprobs


def test_of_two_answers_only_the_one_that_is_due_ends(
    hanging: tuple[LLM, _native.Fault], plain: dict[str, Output]
) -> None:
    """The other one takes over what the hung step drew for it: no token is lost or drawn twice."""
    llm, fault = hanging
    patient = llm.stream(PROMPT, **SAMPLED, logprobs=2)
    urgent = llm.stream(PROMPT, deadline=BUDGET_MS / 1e3, **LONG)
    fault.stall(1, 20, HANG_MS)
    due = urgent.output
    assert due.met is True
    assert due.tokens == plain["greedy"].tokens[: len(due.tokens)]
    fault.release()
    output = patient.output
    assert output.tokens == plain["sampled"].tokens
    assert output.logprobs == plain["sampled"].logprobs


def test_closing_waits_for_the_step(hanging: tuple[LLM, _native.Fault]) -> None:
    llm, fault = hanging
    fault.stall(0, 12, HANG_MS)
    assert llm.generate(PROMPT, deadline=BUDGET_MS / 1e3, **LONG).met is True
    waker = threading.Thread(target=fault.release)
    waker.start()
    llm.close()
    waker.join()


def test_a_machine_that_is_twice_as_slow_is_no_stall(
    hanging: tuple[LLM, _native.Fault], plain: dict[str, Output]
) -> None:
    llm, fault = hanging
    fault.slow(2.0)
    output = llm.generate(PROMPT, deadline=BUDGET_MS / 1e3, **{**LONG, "max_tokens": 40})
    assert output.met is True
    assert output.tokens == plain["greedy"].tokens[: len(output.tokens)]
