"""Steering: carries the controller's decisions out on a sequence that has a deadline.

It must not know batches, tokens' text or results: it turns a sequence's state into a Standing, and
a Decision into the sequence's gear, landing and instants.
"""

from __future__ import annotations

import math

from onesec.budget import controller
from onesec.budget.latency import P50, LatencyModel
from onesec.budget.length import LengthModel
from onesec.core.thinking import ThinkingMarks

from .scheduler import Scheduler, Soon
from .sequence import Force, Sequence
from .stopping import Stop

BACKGROUND_SHARE = 0.25  # how much of the background's work one with a deadline waits for


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
        left_ms = (sequence.end_ns - now_ns) / 1e6
        # Asked each turn: what others will have read is looked at only where it could matter.
        return self._prefill_ms(sequence, {}) >= left_ms and self.prefill_ms(sequence) >= left_ms

    def prefill_ms(self, sequence: Sequence) -> float:
        """What it takes until it can decode, in the median."""
        return self._prefill_ms(sequence, self._scheduler.soon())

    def _prefill_ms(self, sequence: Sequence, soon: Soon) -> float:
        left, computed = self._scheduler.to_read(sequence, soon)
        return self._latency.prefill_ms(
            sequence.prefill_gear.name, left, start=computed, quantile=P50
        )

    def due(self, sequence: Sequence, now_ns: int) -> bool:
        """Whether a decoding sequence is to be looked at before its next step."""
        if self._kept_tokens(sequence) >= sequence.stop.left:
            return True
        late = len(sequence.tokens) >= sequence.check_tokens or now_ns >= sequence.check_ns
        return sequence.dues.steered and late

    def look(self, sequence: Sequence, now_ns: int, host_ms: float) -> Stop | Force | None:
        """The next move of a decoding sequence: its Stop, tokens to be put in, or None after its
        state was set.

        `host_ms` is the loop's own time between two steps.
        """
        dues, end_ns = sequence.dues, sequence.end_ns
        if not dues.steered:
            return self._out_of_tokens(sequence, now_ns)
        drawn, name = len(sequence.tokens), sequence.gear.name
        policy, cues = sequence.policy, sequence.request.cues
        due_ns = dues.next_ns(drawn)
        beside_ms, batch = self._pace(sequence)
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
            others_ms=beside_ms + host_ms,
            speed=sequence.speed,
            landing=sequence.landing,
            tpot_ms=sequence.request.budget.tpot_ms or math.inf,
            due_ms=math.inf if due_ns is None else (due_ns - now_ns) / 1e6,
            crowding=self._scheduler.crowding(sequence.request),
            fenced=self._fenced,
        )
        decision = controller.shift(standing, self._latency, policy)
        at_ms = sequence.at_ms(now_ns)
        if decision.stop:
            need_ms = controller.last_step_ms(standing, self._latency, decision.gear)
            sequence.trace_no_time(at_ms, standing.left_ms, need_ms)
            return sequence.stop.out_of_time(may_trim=not sequence.streamed)
        if decision.gear != name:
            sequence.trace_decode(at_ms)
            self._trace_shift(sequence, standing, decision.gear, at_ms)
            sequence.gear = sequence.gear_of(decision.gear)
            sequence.shifted_at = drawn
        if decision.land and closing is not None:
            bare = sequence.stop.structured  # whose answer begins at once
            force = Force(closing.bare_closing_ids if bare else closing.closing_ids)
            _trace_end(sequence, "close_thinking", standing, decision, at_ms, len(force.tokens))
            return force
        if (short := self._out_of_tokens(sequence, now_ns)) is not None:
            return short
        if decision.land and not sequence.landing:
            sequence.landing = True
            _trace_end(sequence, "land", standing, decision, at_ms)
            stop = sequence.stop.land(
                decision.room_tokens,
                may_trim=not sequence.streamed,
                patient=standing.crowding == 0.0,
            )
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

    def _out_of_tokens(self, sequence: Sequence, now_ns: int) -> Force | None:
        """What ends a thinking that would take the tokens of an answer that must have a form."""
        left, kept = sequence.stop.left, self._kept_tokens(sequence)
        if self._marks is None or kept < left:
            return None
        force = Force(self._marks.bare_closing_ids)
        at_ms = sequence.at_ms(now_ns)
        sequence.trace_decode(at_ms)
        sequence.trace.add(
            at_ms,
            "close_thinking",
            token=len(sequence.tokens),
            tokens=len(force.tokens),
            room_tokens=left,
            zone_tokens=kept,
        )
        return force

    def _kept_tokens(self, sequence: Sequence) -> int:
        """Of the tokens that it may have, those that are kept while the model thinks of an answer
        that must have a form: a usual one (half of all at most) and what ends the thinking."""
        stop, policy = sequence.stop, sequence.policy
        if self._marks is None or not (stop.structured and stop.thinking):
            return -1
        usual = self._answer_length.quantile(policy.target_quantile, cues=sequence.request.cues)
        half = (len(sequence.tokens) + stop.left) // 2
        answer = max(policy.min_answer_tokens, min(usual, half))
        return len(self._marks.bare_closing_ids) + answer

    def _zone_tokens(self, sequence: Sequence, closing: ThinkingMarks | None) -> int:
        """Tokens that must still fit when the end begins: the landing zone; while the model thinks
        (`closing`), before it a usual answer (half of the plan's room at most) and what closing
        costs."""
        plan, policy = sequence.plan, sequence.policy
        zone = plan.landing_reserve_tokens
        if closing is None:
            return zone
        usual = self._answer_length.quantile(policy.target_quantile, cues=sequence.request.cues)
        answer = zone + max(policy.min_answer_tokens, min(usual, plan.max_tokens // 2))
        closing_ms = self._latency.prefill_ms(
            sequence.prefill_gear.name, len(closing.closing_ids), start=sequence.length
        )
        step_ms = self._latency.step_ms(sequence.gears[0].name, sequence.length)
        return answer + math.ceil(closing_ms / step_ms)

    def _trace_shift(
        self, sequence: Sequence, at: controller.Standing, gear: str, at_ms: float
    ) -> None:
        """Tell the trace what called for that gear, and what it needs at p95 in the old one and in
        the new one: the tokens that fit no longer, or one, where not even that fits; for a better
        gear, those that bind it most. What is kept for others is told beside what is left."""
        spare, latency = sequence.policy.hysteresis, self._latency
        better = at.gears.index(gear) > at.gears.index(at.gear)
        own = controller.with_own_time(at, latency)
        old = controller.tightest(own, latency, at.gear)
        new = controller.tightest(own, latency, gear, 1.0 + spare if better else 1.0)
        cause = new if better else old
        need_ms, there_ms = cause.left_ms - old.slack_ms, cause.left_ms - new.slack_ms
        for_others_ms = at.left_ms - own.left_ms if cause.left_ms == own.left_ms < math.inf else 0.0
        if not better and old.slack_ms >= 0.0:
            need_ms, there_ms = (
                controller.last_step_ms(at, latency, each) for each in (at.gear, gear)
            )
            cause, for_others_ms = controller.Need(1, need_ms, at.left_ms), 0.0
        sequence.trace.add(
            at_ms,
            "shift",
            token=len(sequence.tokens),
            gear=gear,
            was=at.gear,
            left_ms=round(cause.left_ms + for_others_ms, 3),
            for_others_ms=round(for_others_ms, 3),
            want_tokens=cause.tokens,
            need_ms=round(need_ms, 3),
            need_there_ms=round(there_ms, 3),
            to_spare=spare,
            likely_ms=round(self._likely_ms(sequence, at, gear), 3),
            by_ms=round(controller.wanted(at, latency, gear).need_ms, 3),
        )

    def _likely_ms(self, sequence: Sequence, at: controller.Standing, gear: str) -> float:
        """What a usual rest of the answer needs in that gear, in the median: for the trace."""
        cues = sequence.request.cues
        usual = self._length.quantile(0.5, done=len(sequence.tokens), cues=cues)
        tokens = max(1, min(usual, at.want_tokens, at.limit_tokens))
        run_ms = self._latency.decode_ms(gear, at.context, tokens, batch=at.batch, quantile=P50)
        return run_ms / max(1.0, at.speed) + tokens * at.others_ms

    def _pace(self, sequence: Sequence) -> tuple[float, int]:
        """Milliseconds of other batches between two of its tokens, and the rows of its own."""
        others_ms, batch = 0.0, 1
        if len(self._scheduler.running) > 1:
            for gear, group in self._scheduler.decode_groups().items():
                if gear is sequence.gear:
                    batch = len(group)
                else:
                    before = group[0].awaited or sequence.request.background
                    share = 1.0 if before else BACKGROUND_SHARE
                    context = group[0].length
                    others_ms += share * self._latency.step_ms(gear.name, context, len(group))
        return others_ms, batch


def _trace_end(
    sequence: Sequence,
    kind: str,
    at: controller.Standing,
    decision: controller.Decision,
    at_ms: float,
    given: int = 0,
) -> None:
    """Tell the trace that the end begins, or that of the thinking, how little room there is, and
    how many tokens are put in for it."""
    sequence.trace_decode(at_ms)
    sequence.trace.add(
        at_ms,
        kind,
        token=len(sequence.tokens),
        tokens=given,
        room_tokens=decision.room_tokens,
        zone_tokens=min(at.zone_tokens, at.limit_tokens - 1),
        left_ms=round(at.left_ms, 3),
    )
