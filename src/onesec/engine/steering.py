"""Steering: carries the controller's decisions out on a sequence that has a deadline.

It must not know batches, tokens' text or results: it turns a sequence's state into a Standing, and
a Decision into the sequence's gear, landing and instants.
"""

from __future__ import annotations

from onesec.budget import controller
from onesec.budget.latency import P50, P99, LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Policy

from .scheduler import Scheduler
from .sequence import Sequence
from .stopping import Stop

BACKGROUND_SHARE = 0.25  # how much of the work without a deadline one with a deadline waits for


class Steering:
    """Asks the controller when a sequence's next look is due."""

    def __init__(
        self, scheduler: Scheduler, latency: LatencyModel, length: LengthModel, policy: Policy
    ) -> None:
        self._scheduler = scheduler
        self._latency = latency
        self._length = length
        self._policy = policy

    def hopeless(self, sequence: Sequence, now_ns: int) -> bool:
        """Whether not even its next token can come in time: no work is spent on it."""
        if sequence.end_ns is None:
            return False
        return now_ns + int(self.prefill_ms(sequence) * 1e6) >= sequence.end_ns

    def prefill_ms(self, sequence: Sequence) -> float:
        """What the rest of its prompt takes, in the median."""
        return self._latency.prefill_ms(
            sequence.prefill_gear.name,
            sequence.prefill_left,
            start=sequence.computed,
            quantile=P50,
        )

    def look(self, sequence: Sequence, now_ns: int, host_ms: float) -> Stop | None:
        """The next move of a decoding sequence: its Stop, or None after its state was set.

        `host_ms` is the loop's own time between two steps.
        """
        if sequence.end_ns is None:
            return None
        drawn, name = len(sequence.tokens), sequence.gear.name
        want = self._length.quantile(
            self._policy.target_quantile, done=drawn, key=sequence.length_key
        )
        others_ms, batch = self._pace(sequence)
        standing = controller.Standing(
            gears=sequence.gear_names,
            gear=name,
            context=sequence.length,
            left_ms=(sequence.end_ns - now_ns) / 1e6,
            want_tokens=want,
            limit_tokens=sequence.stop.left,
            zone_tokens=sequence.plan.landing_reserve_tokens,
            since_shift=drawn - sequence.shifted_at,
            batch=batch,
            others_ms=others_ms + host_ms,
            speed=sequence.speed,
            landing=sequence.landing,
        )
        decision = controller.shift(standing, self._latency, self._policy)
        at_ms = sequence.at_ms(now_ns)
        if decision.stop:
            sequence.trace_no_time(at_ms, standing.left_ms, self._token_ms(standing, decision.gear))
            return sequence.stop.out_of_time(may_trim=not sequence.streamed)
        if decision.gear != name:
            tokens, need_ms = self._cause(standing)
            sequence.trace_decode(at_ms)
            sequence.gear = sequence.gear_of(decision.gear)
            sequence.shifted_at = drawn
            sequence.trace.add(
                at_ms,
                "shift",
                token=drawn,
                gear=decision.gear,
                was=name,
                left_ms=round(standing.left_ms, 3),
                want_tokens=tokens,
                need_ms=round(need_ms, 3),
                need_there_ms=round(
                    controller.wanted(standing, self._latency, decision.gear)[1], 3
                ),
                likely_ms=self._likely_ms(sequence, standing, decision.gear),
                to_spare=self._policy.hysteresis,
            )
        if decision.land and not sequence.landing:
            sequence.landing = True
            sequence.trace_decode(at_ms)
            sequence.trace.add(
                at_ms,
                "land",
                token=drawn,
                room_tokens=decision.room_tokens,
                zone_tokens=min(standing.zone_tokens, standing.limit_tokens - 1),
                left_ms=round(standing.left_ms, 3),
            )
            stop = sequence.stop.land()
            if stop is not None:
                return stop
        step_ms = self._latency.decode_ms(
            decision.gear, sequence.length, 1, batch=batch, quantile=P99
        )
        sequence.slack_ms = decision.slack_ms
        sequence.until_ns = sequence.end_ns - int(step_ms * 1e6)
        sequence.check_tokens = drawn + decision.check_tokens
        sequence.check_ns = min(now_ns + int(decision.check_ms * 1e6), sequence.until_ns)
        return None

    def _cause(self, standing: controller.Standing) -> tuple[int, float]:
        """What spoke for another gear: the tokens that are wanted and what they need in this one at
        p95; or one token at p99, where not even that fits."""
        one_ms = self._token_ms(standing, standing.gear)
        if one_ms > standing.left_ms:
            return 1, one_ms
        return controller.wanted(standing, self._latency, standing.gear)

    def _token_ms(self, at: controller.Standing, gear: str) -> float:
        """One token in that gear, at p99."""
        return self._latency.decode_ms(gear, at.context, 1, batch=at.batch, quantile=P99)

    def _likely_ms(self, sequence: Sequence, at: controller.Standing, gear: str) -> float:
        """What a usual rest of the answer needs in that gear, in the median: for the trace."""
        usual = self._length.quantile(0.5, done=len(sequence.tokens), key=sequence.length_key)
        tokens = max(1, min(usual, at.limit_tokens))
        run_ms = self._latency.decode_ms(gear, at.context, tokens, batch=at.batch, quantile=P50)
        return round(run_ms / max(1.0, at.speed) + tokens * at.others_ms, 3)

    def _pace(self, sequence: Sequence) -> tuple[float, int]:
        """Milliseconds of other batches between two of its tokens, and the rows of its own."""
        others_ms, batch = 0.0, 1
        if len(self._scheduler.running) > 1:
            for gear, group in self._scheduler.decode_groups().items():
                if gear is sequence.gear:
                    batch = len(group)
                else:
                    share = BACKGROUND_SHARE if group[0].end_ns is None else 1.0
                    context = group[0].length
                    others_ms += share * self._latency.step_ms(gear.name, context, len(group))
        return others_ms, batch
