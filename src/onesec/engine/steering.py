"""Steering: carries the controller's decisions out on a sequence that has a deadline.

It must not know batches, tokens' text or results: it turns a sequence's state into a Standing, and
a Decision into the sequence's gear, landing and instants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from onesec.budget import controller
from onesec.budget.latency import P50, LatencyModel
from onesec.budget.length import LengthModel
from onesec.core.thinking import ThinkingMarks

from .scheduler import Scheduler
from .sequence import Sequence
from .stopping import Stop

BACKGROUND_SHARE = 0.25  # how much of the work without a deadline one with a deadline waits for


@dataclass(frozen=True, slots=True)
class Force:
    """Tokens that go into an answer now, as if the model had drawn them."""

    tokens: tuple[int, ...]


class Steering:
    """Asks the controller when a sequence's next look is due.

    `marks` are those of the model's thinking, `answer_length` what is known of the answers that
    come after it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        latency: LatencyModel,
        length: LengthModel,
        marks: ThinkingMarks | None,
        answer_length: LengthModel,
        *,
        fenced: bool,
    ) -> None:
        self._scheduler = scheduler
        self._latency = latency
        self._length = length
        self._marks = marks
        self._answer_length = answer_length
        self._fenced = fenced

    def hopeless(self, sequence: Sequence, now_ns: int) -> bool:
        """Whether not even its next token can come in time: no work is spent on it."""
        if sequence.end_ns is None:
            return False
        if sequence.request.best_effort:
            return now_ns >= sequence.end_ns
        need_ms = self._latency.prefill_ms(
            sequence.prefill_gear.name,
            sequence.prefill_left,
            start=sequence.computed,
            quantile=P50,
        )
        return now_ns + int(need_ms * 1e6) >= sequence.end_ns

    def look(self, sequence: Sequence, now_ns: int, host_ms: float) -> Stop | Force | None:
        """The next move of a decoding sequence: its Stop, tokens to be put in, or None after its
        state was set.

        `host_ms` is the loop's own time between two steps.
        """
        dues, end_ns = sequence.dues, sequence.end_ns
        if not dues.steered:
            return None
        drawn, name = len(sequence.tokens), sequence.gear.name
        policy, cues = sequence.policy, sequence.request.cues
        due_ns = dues.next_ns(drawn)
        others_ms, batch = self._pace(sequence)
        closing = self._marks if sequence.stop.thinking else None
        standing = controller.Standing(
            gears=sequence.gear_names,
            gear=name,
            context=sequence.length,
            left_ms=math.inf if end_ns is None else (end_ns - now_ns) / 1e6,
            want_tokens=self._length.quantile(policy.gear_quantile, done=drawn, cues=cues),
            whole_tokens=self._length.quantile(policy.target_quantile, done=drawn, cues=cues),
            limit_tokens=sequence.stop.left,
            zone_tokens=self._zone_tokens(sequence, closing),
            since_shift=drawn - sequence.shifted_at,
            batch=batch,
            others_ms=others_ms + host_ms,
            speed=sequence.speed,
            landing=sequence.landing,
            tpot_ms=sequence.request.budget.tpot_ms or math.inf,
            due_ms=math.inf if due_ns is None else (due_ns - now_ns) / 1e6,
            crowding=self._scheduler.crowding(sequence),
            fenced=self._fenced,
        )
        decision = controller.shift(standing, self._latency, policy)
        if decision.stop:
            return sequence.stop.out_of_time(may_trim=not sequence.streamed)
        at_ms = sequence.at_ms(now_ns)
        if decision.gear != name:
            own = controller.with_own_time(standing, self._latency)
            cause, there = self._cause(own, name), self._cause(own, decision.gear)
            sequence.trace_decode(at_ms)
            sequence.gear = sequence.gear_of(decision.gear)
            sequence.shifted_at = drawn
            sequence.trace.add(
                at_ms,
                "shift",
                token=drawn,
                gear=decision.gear,
                was=name,
                left_ms=round(cause.left_ms, 3),
                want_tokens=cause.tokens,
                need_ms=round(cause.need_ms, 3),
                need_there_ms=round(cause.left_ms - there.slack_ms, 3),
            )
        if decision.land and closing is not None:
            bare = sequence.stop.structured  # whose answer begins at once
            force = Force(closing.bare_closing_ids if bare else closing.closing_ids)
            sequence.trace.add(
                at_ms,
                "close_thinking",
                token=drawn,
                tokens=len(force.tokens),
                room_tokens=decision.room_tokens,
            )
            return force
        if decision.land and not sequence.landing:
            sequence.landing = True
            sequence.trace.add(at_ms, "land", token=drawn, room_tokens=decision.room_tokens)
            stop = sequence.stop.land(decision.room_tokens, may_trim=not sequence.streamed)
            if stop is not None:
                return stop
        sequence.slack_ms = decision.slack_ms
        sequence.check_tokens = drawn + decision.check_tokens
        sequence.check_ns = now_ns + int(decision.check_ms * 1e6)
        if end_ns is not None:
            step_ms = controller.last_step_ms(standing, self._latency, decision.gear)
            sequence.until_ns = end_ns - int(step_ms * 1e6)
            sequence.check_ns = min(sequence.check_ns, sequence.until_ns)
        return None

    def _zone_tokens(self, sequence: Sequence, closing: ThinkingMarks | None) -> int:
        """Tokens that must still fit when the end begins: the landing zone; while the model thinks
        (`closing`), before it a usual answer (half of the plan's room at most) and what closing
        costs."""
        zone, plan, policy = (
            sequence.plan.landing_reserve_tokens,
            sequence.plan,
            sequence.policy,
        )
        if closing is None:
            return zone
        cues = sequence.request.cues
        usual = self._answer_length.quantile(policy.target_quantile, cues=cues)
        answer = zone + max(policy.min_answer_tokens, min(usual, plan.max_tokens // 2))
        closing_ms = self._latency.prefill_ms(
            sequence.prefill_gear.name, len(closing.closing_ids), start=sequence.length
        )
        step_ms = self._latency.step_ms(sequence.gears[0].name, sequence.length)
        return answer + math.ceil(closing_ms / step_ms)

    def _cause(self, at: controller.Standing, gear: str) -> controller.Need:
        """What speaks for or against a gear: the tokens that bind it and what they need at p95; or
        one token, where not even that fits."""
        one_ms = controller.last_step_ms(at, self._latency, gear)
        if one_ms > at.left_ms:
            return controller.Need(1, one_ms, at.left_ms)
        return controller.tightest(at, self._latency, gear)

    def _pace(self, sequence: Sequence) -> tuple[float, int]:
        """Milliseconds of other batches between two of its tokens, and the rows of its own."""
        others_ms, batch = 0.0, 1
        if len(self._scheduler.running) > 1:
            for gear, group in self._scheduler.decode_groups().items():
                if gear is sequence.gear:
                    batch = len(group)
                else:
                    share = 1.0 if group[0].dues.timed else BACKGROUND_SHARE
                    context = group[0].length
                    others_ms += share * self._latency.step_ms(gear.name, context, len(group))
        return others_ms, batch
