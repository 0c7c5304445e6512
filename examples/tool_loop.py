"""A tool loop within one second: the model is asked, a tool is run, the model answers.

    python examples/tool_loop.py

The second is one Deadline. Each part is handed its share of what is left when it begins, so what
one did not use is the next one's; the answer is given all that is left. A tool that would not leave
enough for an answer is not started, and the customer is told so.
"""

from __future__ import annotations

from dataclasses import dataclass

from onesec import LLM, Deadline, DeadlineInfeasible
from onesec.core.clock import Clock, MonotonicClock

ORDERS = {"4821": "shipped on Monday", "5093": "waiting for payment"}
ANSWER_MS = 30.0  # kept for the answer, whatever the parts before it take
TOOL_MS = 5.0  # what the tool takes at least


@dataclass(frozen=True)
class Turn:
    """What came of it, with the milliseconds that each part was given."""

    text: str
    used_tool: bool
    given_ms: tuple[float, ...]


def look_up(question: str, timeout_ms: float) -> str:
    """The tool: a table here; a service that is called with this timeout elsewhere."""
    found = [f"Order {number}: {ORDERS[number]}." for number in ORDERS if number in question]
    return " ".join(found) or "No order was found."


def answered(
    llm: LLM, question: str, deadline: str | float = "1s", clock: Clock | None = None
) -> Turn:
    """Answer a question within the deadline: model, tool, model, in shares of 1 : 1 : 2."""
    clock = clock or MonotonicClock()
    due = Deadline.within(deadline, clock.now_ns())

    first = due.part(1, of=4, reserve_ms=ANSWER_MS, now_ns=clock.now_ns())
    given = [first.left_ms(clock.now_ns())]
    topic = llm.chat([{"role": "user", "content": f"What is asked about: {question}"}], first)

    facts, used_tool = "The orders could not be looked up in time.", False
    try:
        second = due.part(1, of=3, reserve_ms=ANSWER_MS, least_ms=TOOL_MS, now_ns=clock.now_ns())
    except DeadlineInfeasible:
        pass
    else:
        given.append(second.left_ms(clock.now_ns()))
        facts, used_tool = look_up(question, timeout_ms=given[-1]), True

    given.append(due.left_ms(clock.now_ns()))
    messages = [
        {"role": "system", "content": f"{facts} {topic.text}"},
        {"role": "user", "content": question},
    ]
    return Turn(llm.chat(messages, due).text, used_tool, tuple(given))


if __name__ == "__main__":
    with LLM("onesec-mini") as llm:
        turn = answered(llm, "Where is my order 4821?")
    print(turn.text)
    print("given:", ", ".join(f"{ms:.0f} ms" for ms in turn.given_ms))
