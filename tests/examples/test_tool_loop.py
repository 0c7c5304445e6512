"""The tool loop: one deadline for all of it, handed down as it is used."""

from __future__ import annotations

import pytest
from doors import recite

from examples import tool_loop
from onesec.core.errors import DeadlineInfeasible
from onesec.llm import LLM

TEXT = "x" * 20 + " Your order is on its way. Thank you."


def test_each_part_gets_its_share_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, clock, _ = recite(TEXT, template=True)
    asked: list[float] = []
    monkeypatch.setattr(
        tool_loop, "look_up", lambda question, timeout_ms: asked.append(timeout_ms) or "Found."
    )
    begin_ns = clock.now_ns()
    with LLM.over(loaded, clock=clock) as llm:
        turn = tool_loop.answered(llm, "Order 4821?", "1s", clock)
    first, second, last = turn.given_ms
    assert first == pytest.approx((1000.0 - tool_loop.ANSWER_MS) / 4)
    assert asked == [second]
    assert second > first  # the first call left time over
    assert last >= second + tool_loop.ANSWER_MS
    assert (clock.now_ns() - begin_ns) / 1e6 <= 1000.0


def test_a_tool_without_enough_time_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, clock, _ = recite(TEXT, template=True)
    monkeypatch.setattr(tool_loop, "TOOL_MS", 2000.0)
    with LLM.over(loaded, clock=clock) as llm:
        turn = tool_loop.answered(llm, "Order 4821?", "1s", clock)
        assert not turn.used_tool
        assert len(turn.given_ms) == 2
        with pytest.raises(DeadlineInfeasible):
            tool_loop.answered(llm, "Order 4821?", "20ms", clock)
