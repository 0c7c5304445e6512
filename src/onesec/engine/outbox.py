"""Outbox: the sequences in flight, what each of them gains in a turn, and their ends.

It must not know batches, gears or budgets: it is told what was gained and why an answer is over.
"""

from __future__ import annotations

from onesec.backend.base import RowResult
from onesec.budget.foresight import Foresight

from .lessons import Lessons
from .overrun import Overrun
from .scheduler import Scheduler
from .sequence import Delta, Sequence
from .stopping import Stop


class Outbox:
    """Collects a turn's deltas; whatever ends leaves the scheduler here and frees what it holds.

    `block_bytes` are those of a cache block, for the traces.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        lessons: Lessons,
        overrun: Overrun,
        foresight: Foresight,
        block_bytes: int,
    ) -> None:
        self._scheduler = scheduler
        self._lessons = lessons
        self._overrun = overrun
        self._foresight = foresight
        self._block_bytes = block_bytes
        self._deltas: list[Delta] = []
        self.sequences: dict[str, Sequence] = {}  # in flight, by their requests' ids

    def take(self) -> list[Delta]:
        """What was gained since the last call."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def add(self, delta: Delta) -> None:
        """Tokens that a sequence has gained."""
        self._deltas.append(delta)

    def forget(self, request_id: str) -> bool:
        """Drop a sequence without a word; False if it is not in flight."""
        sequence = self.sequences.pop(request_id, None)
        if sequence is None:
            return False
        self._scheduler.remove(sequence)
        return True

    def finish(
        self,
        sequence: Sequence,
        stop: Stop,
        now_ns: int,
        row: RowResult | None = None,
        gear: str = "",
    ) -> None:
        """Free what the sequence holds, close its trace and hand out its last delta."""
        self._scheduler.remove(sequence)
        self.sequences.pop(sequence.id, None)
        sequence.close(stop, now_ns, self._block_bytes)
        # One that never began tells nothing, and would make what is known fade.
        begun = bool(sequence.tokens) or stop.ending == "natural"
        if begun and stop.finish_reason != "error" and not sequence.request.params.pooled:
            self._lessons.note(
                len(sequence.tokens),
                sequence.stop.answer_tokens,
                ended=stop.ending == "natural",
                cues=sequence.request.cues,
            )
        if begun and stop.ending == "natural" and sequence.end_ns is not None:
            told_ms = sequence.trace.predicted_ms
            assert told_ms is not None  # since its plan was adopted
            self._foresight.observe(told_ms, sequence.at_ms(now_ns))
        if stop.stop_reason == "deadline" and stop.ending != "natural":  # else a stop string
            self._overrun.observe(sequence, now_ns)
        row = row or RowResult()
        self._deltas.append(
            Delta(
                sequence.id,
                row.tokens,
                row.logprobs,
                row.entropies,
                row.top,
                stop.text_chars,
                stop.finish_reason,
                stop.stop_reason,
                stop.ending,
                sequence.trace,
                sequence.error,
                tuple(sequence.prompt_logprobs),
                stop.closing,
                sequence.hidden,
                gear,
            )
        )

    def fail(self, sequence: Sequence, error: Exception, now_ns: int) -> None:
        """End a sequence with an error, unless it is over."""
        if sequence.finished:
            return
        sequence.error = error
        self.finish(sequence, Stop("error", None, "cut"), now_ns)

    def out_of_time(self, sequence: Sequence, now_ns: int) -> None:
        """End a sequence here, as well as its text allows."""
        try:
            stop = sequence.stop.out_of_time(may_trim=not sequence.streamed)
        except Exception as error:
            self.fail(sequence, error, now_ns)
        else:
            self.finish(sequence, stop, now_ns)
