"""A trace that holds together passes; bend one number, and it is told which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from stories import story

from onesec.core.trace import MAX_EVENTS, Event, Trace
from onesec.explain.check import check
from onesec.explain.sentences import explain
from onesec.explain.timeline import token_gears, token_times


def bent(index: int, **detail: Any) -> Trace:
    """The story with other values in one event's detail."""
    trace = story()
    event = trace.events[index]
    trace.events[index] = replace(event, detail=event.detail | detail)
    return trace


def test_the_story_holds() -> None:
    assert check(story()) == []


@pytest.mark.parametrize(
    ("index", "detail", "words"),
    [
        (0, {"gear": "9"}, "gear 9 is none of 4, g2, 8"),
        (0, {"predicted_ms": 995.0}, "is a quicker gear"),
        (0, {"likely_ms": 901.0}, "done by 900.0 ms, but likely at 901.0"),
        (0, {"feasible_ms": 1200.0}, "less than the 1200.0 it takes"),
        (0, {"gear": "4", "better_ms": 600.0}, "a better gear would be done at 600.0 ms"),
        (0, {"end_ms": 980.0}, "until 980"),
        (1, {"gear": "4"}, "in gear 4, while 8 was in use"),
        (1, {"ms": 900.0}, "ms of work in 941"),
        (2, {"slowest_ms": 246.0}, "slowest step took 246 ms of 245"),
        (2, {"calls": 21}, "21.0 calls for 20 tokens"),
        (2, {"tokens": 10}, "but drawn were"),
        (3, {"was": "4"}, "from gear 4, while 8 was in use"),
        (3, {"need_ms": 650.0}, "no cause to shift"),
        (3, {"gear": "8", "was": "8"}, "no cause to shift"),
        (3, {"need_ms": None}, "without the numbers"),
        (3, {"token": 99}, "token 99 after 0 of 50"),
        (5, {"room_tokens": 13}, "no cause to land"),
        (5, {"left_ms": 119.0}, "119 ms left, but 120"),
        (5, {"token": 20}, "token 20 after 21"),
        (7, {"ending": "natural"}, "natural, but the trace says landed"),
    ],
)
def test_a_bent_number_is_told(index: int, detail: dict[str, Any], words: str) -> None:
    faults = check(bent(index, **detail))
    assert any(words in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"elapsed_ms": 1001.0}, "in time, but 1001 ms of 1000"),
        ({"elapsed_ms": 900.0}, "an event at 941 ms, the end at 900"),
        ({"gears": {"8": 21}}, "21 tokens by gear, 50 in the answer"),
        ({"gears": {"8": 1, "g2": 49}}, "but drawn were"),
        ({"accepted_tokens": 1}, "1 guesses right of 0"),
        ({"cached_tokens": 61}, "61 tokens cached of 60"),
        ({"ttft_ms": 950.0}, "the first token at 950 ms"),
        ({"confidence": [1.2]}, "outside [0, 1]"),
    ],
)
def test_sums_that_do_not_add_up_are_told(changes: dict[str, Any], words: str) -> None:
    faults = check(story(**changes))
    assert any(words in fault for fault in faults), faults


def test_a_shift_up_needs_time_to_spare() -> None:
    def up(there_ms: float) -> list[str]:
        trace = bent(3, gear="8", was="4", need_ms=300.0, need_there_ms=there_ms)
        trace.events = [trace.events[3]]
        trace.ending, trace.gears, trace.answer_tokens = "", {"8": 50}, 50
        return check(trace)

    assert up(573.0) == []  # 573 · 1.15 = 658.95
    assert len(up(575.0)) == 1


def test_an_end_for_want_of_time_had_none() -> None:
    trace = Trace("r", elapsed_ms=9.0, ending="cut")
    trace.add(9.0, "no_time", token=0, left_ms=2.0, need_ms=3.0)
    trace.add(9.0, "stop", finish_reason="length", stop_reason="deadline", ending="cut")
    assert check(trace) == []
    trace.events[0].detail["need_ms"] = 1.0
    assert "there was time" in check(trace)[0]
    assert any(
        "cut for the deadline" in fault for fault in check(replace(trace, events=[trace.events[1]]))
    )


def test_events_out_of_order_and_behind_the_end() -> None:
    trace = story()
    trace.events.append(Event(900.0, "shift", {}))
    faults = check(trace)
    assert any("before the event at 941" in fault for fault in faults)
    assert any("after the end" in fault for fault in faults)


def test_what_is_not_known_is_left_alone() -> None:
    trace = story()
    trace.events.insert(4, Event(400.0, "pause", {"ms": 12.0}))
    assert check(trace) == []


def test_a_trace_is_bounded_and_keeps_its_end() -> None:
    trace = story()
    shift = trace.events[3]
    for _ in range(2 * MAX_EVENTS):
        trace.add(shift.at_ms, "shift", **shift.detail)
    trace.add(941.0, "stop", ending="landed")
    assert len(trace.events) == MAX_EVENTS
    assert trace.events[-1].kind == "stop"
    assert trace.dropped_events == 8 + 2 * MAX_EVENTS + 1 - MAX_EVENTS
    assert f"{trace.dropped_events} further events were not kept." in explain(trace)


def test_a_shift_down_may_leave_time_to_others() -> None:
    assert check(bent(3, need_ms=600.0, for_others_ms=100.0)) == []
    assert "600 ms needed of 610 left" in check(bent(3, need_ms=600.0, for_others_ms=50.0))[0]


def test_a_rhythm_has_an_instant_of_its_own() -> None:
    rhythm = {"want_tokens": 8, "left_ms": 34.0, "need_ms": 50.0, "need_there_ms": 30.0}
    trace = bent(3, **rhythm)  # token 21 + 8 is due at 84 + 28 · 10 ms, and it is 330 ms
    trace.budget_tpot_ms = 10.0
    assert check(trace) == []
    trace.budget_tpot_ms = 11.0
    assert "34 ms left, but 660 until 990" in check(trace)[0]


@pytest.mark.parametrize(
    ("detail", "tpot_ms", "faults"),
    [
        ({"better_ms": 600.0, "better_tpot_ms": 12.0}, 10.0, 0),
        ({"better_ms": 600.0, "better_tpot_ms": 12.0}, 13.0, 1),
        ({"better_ms": None, "better_tpot_ms": 12.0, "crowding": 1.0}, None, 0),
        ({"better_ms": None, "better_tpot_ms": 12.0, "crowding": 0.5}, None, 1),
    ],
)
def test_a_better_gear_is_left_for_a_cause(
    detail: dict[str, Any], tpot_ms: float | None, faults: int
) -> None:
    trace = bent(0, gear="g2", prefill_gear="8", **detail)
    trace.budget_tpot_ms = tpot_ms
    assert sum("a better gear" in fault for fault in check(trace)) == faults


def test_best_effort_is_begun_in_any_case() -> None:
    assert len(check(bent(0, feasible_ms=1200.0))) == 1
    assert check(bent(0, feasible_ms=1200.0, best_effort=True)) == []


def test_an_answer_is_handed_over_when_a_step_hangs_past_its_end() -> None:
    trace = Trace("r", budget_ms=10.0, elapsed_ms=10.0, ending="cut")
    plan = story().events[0].detail | {"end_ms": 9.6, "predicted_ms": 9.0, "likely_ms": 8.0}
    trace.add(0.0, "plan", **plan | {"feasible_ms": 5.0})
    trace.add(9.7, "stall", token=1, ms=7.0, expected_ms=2.0)
    trace.add(9.8, "stop", finish_reason="length", stop_reason="deadline", ending="cut")
    assert check(trace) == []
    trace.events[1] = replace(trace.events[1], at_ms=9.0)
    assert "there was time" in check(trace)[0]


def test_tokens_that_close_the_thinking_were_drawn_in_no_gear() -> None:
    trace = Trace("r", ttft_ms=2.0, elapsed_ms=9.0, answer_tokens=5, gears={"4": 3})
    trace.add(2.0, "prefill", gear="4", tokens=9, ms=2.0)
    trace.add(4.0, "decode", gear="4", tokens=1, calls=1, ms=2.0)
    trace.add(4.0, "close_thinking", token=2, tokens=2, room_tokens=9, zone_tokens=9)
    trace.add(9.0, "decode", gear="4", tokens=1, calls=1, ms=1.0)
    assert check(trace) == []
    assert token_gears(trace) == ["4", "4", "", "", "4"]
    assert token_times(trace) == [2.0, 4.0, 4.0, 4.0, 9.0]
    trace.events[2].detail["zone_tokens"] = 8
    assert "no cause to land" in check(trace)[0]
