"""Check: whether what a trace says happened is borne out by the numbers beside it.

It must not know how anything was decided: it reads one trace, and events of a kind that it does not
know it leaves alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onesec.core.trace import Event, Trace

from .record import number

_ROUNDING_MS = 0.002  # two numbers of a trace, each rounded to a thousandth
_CLOCKS = 1e-3  # a step's time and the answer's are read from two clocks


def check(trace: Trace) -> list[str]:
    """What in a trace does not hold, a line each; empty where everything does.

    A plan's gear is one that ends in time, and the next better one is not, or is too slow for the
    rhythm; a shift down did not have the time it needed, until the end or until the next tokens
    were due, a shift up has it to spare; landing, or closing the thinking, began where no more than
    was kept for it fitted; an end for want of time had none. Times and tokens add up.

    >>> shift = Event(5.0, "shift", {"token": 3, "was": "8", "gear": "4", "left_ms": 9.0,
    ...     "want_tokens": 4, "need_ms": 8.0, "need_there_ms": 8.5, "to_spare": 0.15})
    >>> check(Trace("r1", answer_tokens=3, elapsed_ms=6.0, gears={"8": 3}, events=[shift]))
    ['event 0, shift at 5 ms: 8 ms needed of 9 left (8.5 in gear 4): no cause to shift']
    """
    walk = _Walk(trace)
    found = []
    for i, event in enumerate(trace.events):
        found += [
            f"event {i}, {event.kind} at {event.at_ms:.6g} ms: {fault}"
            for fault in walk.step(event)
        ]
    return found + list(walk.whole())


@dataclass(slots=True)
class _Walk:
    """A walk along a trace's events, with what they have said so far."""

    trace: Trace
    at_ms: float = 0.0
    token: float = 0.0
    end_ms: float | None = None  # when the last token must be there
    order: list[str] = field(default_factory=list)  # gears, cheapest first
    gear: str | None = None
    prefill_gear: str | None = None
    plans: int = 0
    landing: bool = False
    no_time: bool = False  # nothing more fitted, or a step hung past the end
    stopped: bool = False
    work_ms: float = 0.0
    given: int = 0  # tokens that were put in
    tokens: Counter[str] = field(default_factory=Counter)  # drawn, by gear
    last_tokens: int = 0  # of the last stretch, where the answer may have ended

    def step(self, event: Event) -> Iterator[str]:
        if event.at_ms < self.at_ms:
            yield f"before the event at {self.at_ms:.6g} ms"
        self.at_ms = max(self.at_ms, event.at_ms)
        if self.stopped:
            yield "after the end"
        token = number(event.detail, "token")
        if token is not None and event.kind != "stall":  # that one's token never came
            if not self.token <= token <= self.trace.answer_tokens:
                yield f"token {token:g} after {self.token:g} of {self.trace.answer_tokens}"
            self.token = token
        left_ms = number(event.detail, "left_ms")
        if left_ms is not None and self.end_ms is not None and not self._until_due(event, left_ms):
            there_ms = self.end_ms - event.at_ms
            if abs(left_ms - there_ms) > _ROUNDING_MS:
                yield f"{left_ms:g} ms left, but {there_ms:.6g} until {self.end_ms:g}"
        if event.kind in _STEPS:
            yield from _STEPS[event.kind](self, event)

    def _until_due(self, event: Event, left_ms: float) -> bool:
        """Whether so much is left until the wanted tokens are due by the rhythm."""
        first_ms, tpot_ms = self.trace.ttft_ms, self.trace.budget_tpot_ms
        drawn, want = number(event.detail, "token"), number(event.detail, "want_tokens")
        if first_ms is None or tpot_ms is None or drawn is None or want is None:
            return False
        due_ms = first_ms + (drawn + want - 1.0) * tpot_ms
        return abs(left_ms - (due_ms - event.at_ms)) <= _ROUNDING_MS

    def fit(self, event: Event) -> Iterator[str]:
        after = number(event.detail, "tokens_after")
        if after != self.trace.prompt_tokens:
            yield f"shortened to {after} tokens, but the prompt has {self.trace.prompt_tokens}"

    def plan(self, event: Event) -> Iterator[str]:
        detail, first = event.detail, self.plans == 0
        self.plans += 1
        gears = detail.get("gears")
        self.order = [str(gear) for gear in gears] if isinstance(gears, list) else []
        self.gear, self.prefill_gear = str(detail.get("gear")), str(detail.get("prefill_gear"))
        self.end_ms = number(detail, "end_ms")
        for gear in (self.gear, self.prefill_gear):
            if gear not in self.order:
                yield f"gear {gear} is none of {', '.join(self.order)}"
                return
        predicted, likely = number(detail, "predicted_ms"), number(detail, "likely_ms")
        if predicted is None or likely is None or likely > predicted + _ROUNDING_MS:
            yield f"done by {predicted} ms, but likely at {likely}"
        feasible, trace = number(detail, "feasible_ms"), self.trace
        budgets = {
            "total": trace.budget_ms,
            "ttft": trace.budget_ttft_ms,
            "tpot": trace.budget_tpot_ms,
        }
        budget_ms = budgets.get(str(detail.get("feasible_of", "total")))
        least_ms = -math.inf if feasible is None or budget_ms is None else feasible - budget_ms
        if first and not detail.get("best_effort") and least_ms >= 1.0:
            yield f"accepted with {budget_ms} ms, which is less than the {feasible} it takes"
        last, best = str(detail.get("last_resort", self.order[0])), self.gear == self.order[-1]
        end_ms = math.inf if self.end_ms is None else self.end_ms
        done_ms = end_ms + (number(detail, "kept_ms") or 0.0)
        if predicted is not None and predicted > done_ms + _ROUNDING_MS and self.gear != last:
            yield f"done by {predicted} ms, after {done_ms}, and {last} is a quicker gear"
        hopeless = feasible is not None and budget_ms is not None and feasible > budget_ms
        if not best and not hopeless:
            yield from self._better(detail, end_ms)

    def _better(self, detail: Mapping[str, Any], end_ms: float) -> Iterator[str]:
        """Whether the next better gear was rightly left."""
        better, pace = number(detail, "better_ms"), number(detail, "better_tpot_ms")
        tpot_ms = self.trace.budget_tpot_ms
        late = better is not None and better > end_ms - _ROUNDING_MS
        slow = pace is not None and tpot_ms is not None and pace > tpot_ms - _ROUNDING_MS
        # Where others need all of the time to spare, no budget buys a better gear.
        others = better is None and number(detail, "crowding") == 1.0
        if not late and not slow and not others:
            yield f"a better gear would be done at {better} ms, before {end_ms}"

    def stretch(self, event: Event) -> Iterator[str]:
        """A prefill or a decode segment."""
        detail, prefill = event.detail, event.kind == "prefill"
        gear, ms, tokens = (
            str(detail.get("gear")),
            number(detail, "ms"),
            number(detail, "tokens"),
        )
        expected = self.prefill_gear if prefill else self.gear
        if expected is not None and gear != expected:
            yield f"in gear {gear}, while {expected} was in use"
        if ms is None or tokens is None or ms < 0.0 or tokens < 0:
            yield f"{tokens} tokens in {ms} ms"
            return
        self.work_ms += ms
        if prefill:
            return
        self.tokens[gear] += int(tokens)
        self.last_tokens = int(tokens)
        slowest, calls = number(detail, "slowest_ms"), number(detail, "calls")
        if slowest is not None and slowest > ms + _ROUNDING_MS:
            yield f"the slowest step took {slowest:g} ms of {ms:g}"
        if calls is None or not 1 <= calls <= tokens:
            yield f"{calls} calls for {tokens:g} tokens"

    def shift(self, event: Event) -> Iterator[str]:
        detail, gear = event.detail, str(event.detail.get("gear"))
        if self.gear is not None and detail.get("was") != self.gear:
            yield f"from gear {detail.get('was')}, while {self.gear} was in use"
        was, self.gear = self.gear, gear
        left, need = number(detail, "left_ms"), number(detail, "need_ms")
        there, to_spare = number(detail, "need_there_ms"), number(detail, "to_spare")
        if left is None or need is None or there is None or to_spare is None:
            yield "without the numbers that called for it"
            return
        left -= number(detail, "for_others_ms") or 0.0
        down = need > left - _ROUNDING_MS
        up = there * (1.0 + to_spare) <= left + _ROUNDING_MS
        if was in self.order and gear in self.order:
            step = self.order.index(gear) - self.order.index(was)
            down, up = down and step < 0, up and step > 0
        if not down and not up:
            numbers = f"{need:g} ms needed of {left:g} left ({there:g} in gear {gear})"
            yield f"{numbers}: no cause to shift"

    def land(self, event: Event) -> Iterator[str]:
        """Landing, or closing the thinking."""
        room, zone = number(event.detail, "room_tokens"), number(event.detail, "zone_tokens")
        if event.kind == "land":
            if self.landing:
                yield "a second time"
            self.landing = True
        else:
            given, behind = number(event.detail, "tokens"), self.trace.answer_tokens - self.token
            self.given += int(min(given or 0.0, behind))
        if room is None or zone is None or room > zone:
            yield f"{room} tokens fit, the landing zone is {zone}: no cause to land"

    def out_of_time(self, event: Event) -> Iterator[str]:
        left, need = number(event.detail, "left_ms"), number(event.detail, "need_ms")
        self.no_time = True
        if left is None or need is None or need < left - _ROUNDING_MS:
            yield f"{need} ms needed of {left} left: there was time"

    def stall(self, event: Event) -> Iterator[str]:
        self.no_time = True
        if self.end_ms is None or event.at_ms < self.end_ms - _ROUNDING_MS:
            yield f"handed over before {self.end_ms}: there was time"

    def stop(self, event: Event) -> Iterator[str]:
        self.stopped = True
        ending, by_time = event.detail.get("ending"), event.detail.get("stop_reason") == "deadline"
        if ending != self.trace.ending:
            yield f"{ending}, but the trace says {self.trace.ending}"
        by_tokens = event.detail.get("stop_reason") == "max_tokens"
        if ending == "landed" and not (self.landing or self.no_time or by_tokens):
            yield "landed, but nothing called for it"
        if ending == "cut" and by_time and not self.no_time:
            yield "cut for the deadline, but there was time"

    def whole(self) -> Iterator[str]:
        """What must hold of the trace as a whole."""
        trace = self.trace
        elapsed_ms = trace.elapsed_ms
        if trace.met and trace.budget_ms is not None and elapsed_ms > trace.budget_ms:
            yield f"in time, but {elapsed_ms:g} ms of {trace.budget_ms:g}"
        if self.at_ms > elapsed_ms + _ROUNDING_MS:
            yield f"an event at {self.at_ms:g} ms, the end at {elapsed_ms:g}"
        if trace.ttft_ms is not None and trace.ttft_ms > elapsed_ms + _ROUNDING_MS:
            yield f"the first token at {trace.ttft_ms:g} ms, the end at {elapsed_ms:g}"
        if self.work_ms > elapsed_ms * (1.0 + _CLOCKS) + _ROUNDING_MS * len(trace.events):
            yield f"{self.work_ms:g} ms of work in {elapsed_ms:g}"
        by_gear, drawn = sum(trace.gears.values()), trace.answer_tokens - self.given
        if by_gear > drawn or (by_gear < drawn and not trace.dropped_events):
            yield f"{by_gear} tokens by gear, {drawn} in the answer"
        if trace.accepted_tokens > trace.drafted_tokens:
            yield f"{trace.accepted_tokens} guesses right of {trace.drafted_tokens}"
        if trace.cached_tokens > trace.prompt_tokens:
            yield f"{trace.cached_tokens} tokens cached of {trace.prompt_tokens}"
        if not all(0.0 <= value <= 1.0 for value in trace.confidence):
            yield "a confidence outside [0, 1]"
        if self.stopped and not trace.dropped_events:
            yield from self._drawn()

    def _drawn(self) -> Iterator[str]:
        """Tokens by gear: the first one comes from the prompt's last step; what was drawn behind
        the answer's end is in the last stretch."""
        drawn = self.tokens.copy()
        if self.trace.ttft_ms is not None and self.prefill_gear is not None:
            drawn[self.prefill_gear] += 1
        more = drawn - Counter(self.trace.gears)
        if Counter(self.trace.gears) - drawn:
            yield f"{self.trace.gears} tokens by gear, but drawn were {dict(drawn)}"
        if more.total() > max(1, self.last_tokens):
            yield f"drawn were {dict(drawn)}, of which the answer has only {self.trace.gears}"


_STEPS: dict[str, Callable[[_Walk, Event], Iterator[str]]] = {
    "fit": _Walk.fit,
    "plan": _Walk.plan,
    "prefill": _Walk.stretch,
    "decode": _Walk.stretch,
    "shift": _Walk.shift,
    "land": _Walk.land,
    "close_thinking": _Walk.land,
    "stall": _Walk.stall,
    "no_time": _Walk.out_of_time,
    "stop": _Walk.stop,
}
