"""Intake: what a call computed goes into its sequences, their traces and the latency model.

It must not know how batches are made, or when a call comes back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Seq

from onesec.backend.base import BatchResult, RowResult
from onesec.budget.latency import P50, LatencyModel
from onesec.core.gear import Gear

from .block_manager import BlockManager
from .outbox import Outbox
from .scheduler import Scheduler, Work
from .sequence import Delta, Sequence, TopLogprobs
from .speculation import Draft, Speculation
from .stopping import Stop


class Intake:
    """Takes results in. What ends a sequence is told to the outbox.

    `begun` is told of each first token; `last_look` says whether an answer that may have taken its
    last step is over.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        blocks: BlockManager,
        latency: LatencyModel,
        speculation: Speculation | None,
        outbox: Outbox,
        *,
        begun: Callable[[Sequence, int], None],
        last_look: Callable[[Sequence, int], Stop | None],
    ) -> None:
        self._scheduler = scheduler
        self._blocks = blocks
        self._latency = latency
        self._speculation = speculation
        self._outbox = outbox
        self._begun = begun
        self._last_look = last_look

    def take(self, work: Work, draft: Draft | None, result: BatchResult, now_ns: int) -> float:
        """Hand out what a call computed; returns the milliseconds that it took."""
        gear, sequences = work.batch.gear, work.sequences
        step_ms, total_ms = result.step_ms, math.fsum(result.step_ms)
        if work.prefill:
            first = work.batch.rows[0]
            tokens = sum(len(row.tokens) for row in work.batch.rows)
            expected_ms = self._latency.prefill_ms(
                gear.name, tokens, start=first.start, quantile=P50
            )
            if not work.batch.exact:
                self._latency.observe_prefill(gear.name, tokens, total_ms, start=first.start)
        elif draft is not None:
            if sequences[0].finished:
                return total_ms
            expected_ms = self._take_draft(sequences[0], draft, result)
            total_ms += draft.ms
            drawn = len(result.rows[0].tokens)
            step_ms = [total_ms / drawn] * drawn
        else:
            context, rows = sum(row.start for row in work.batch.rows), len(sequences)
            expected_ms = self._latency.decode_ms(
                gear.name, context // rows, len(step_ms), batch=rows, quantile=P50
            )
            self._latency.observe_decode(gear.name, context, len(sequences), step_ms)
        cpu_ms, bytes_read = result.cpu_ms / len(sequences), result.bytes_read // len(sequences)
        for sequence, row in zip(sequences, result.rows, strict=True):
            if sequence.finished:  # while the call was overdue
                continue
            trace = sequence.trace
            trace.cpu_ms += cpu_ms
            trace.bytes_read += bytes_read
            try:
                if work.prefill:
                    self._take_chunk(sequence, row, (total_ms, expected_ms), now_ns)
                else:
                    drawn = len(sequence.tokens)
                    if draft is None:
                        sequence.take_speed(1.0)
                    sequence.segment.add_steps(step_ms, expected_ms, len(row.tokens), drawn)
                    if row.tokens:
                        self._take_tokens(sequence, row, gear, now_ns)
            except Exception as error:
                self._outbox.fail(sequence, error, now_ns)
        return total_ms

    def _take_draft(self, sequence: Sequence, draft: Draft, result: BatchResult) -> float:
        """Learn from a checked draft and tell the trace of it; returns the expected time."""
        assert self._speculation is not None
        expected_ms = self._speculation.expected_ms(sequence, draft)
        sequence.row.drafted = False
        drawn, trace = result.rows[0].tokens, sequence.trace
        right = self._speculation.observe(sequence, draft, drawn, math.fsum(result.step_ms))
        trace.drafted_tokens += len(draft.tokens)
        trace.accepted_tokens += right
        if draft.made is not None:
            trace.cpu_ms += draft.made.cpu_ms
            trace.bytes_read += draft.made.bytes_read
        return expected_ms

    def _take_chunk(
        self, sequence: Sequence, row: RowResult, ms: tuple[float, float], now_ns: int
    ) -> None:
        """Take in a prompt chunk; `ms`: what it took, and what was expected."""
        chunk = sequence.row
        count, start = len(chunk.tokens), chunk.start
        sequence.computed = start + count
        sequence.segment.prefill_tokens += count
        sequence.segment.prefill_ms += ms[0]
        sequence.segment.prefill_expected_ms += ms[1]
        if row.prompt_logprobs:
            known = len(sequence.prompt_logprobs)
            sequence.prompt_logprobs.extend(row.prompt_logprobs[known - start :])
        if row.hidden:
            sequence.add_hidden(row.hidden, start)
        computed = min(sequence.computed, sequence.prompt_length)
        self._blocks.publish(sequence.table, sequence.names, sequence.prefill_gear.name, computed)
        if sequence.prefill_left > 0:
            return
        if sequence.hidden is not None:
            self._outbox.finish(sequence, Stop("stop", None, "natural"), now_ns)
            return
        sequence.trace_prefill(sequence.at_ms(now_ns))
        sequence.state = "decoding"
        chunk.sampler = sequence.sampler
        chunk.prompt_logprobs, chunk.next_token = False, None
        sequence.check_tokens = len(sequence.tokens)
        if not sequence.dues.steered:
            sequence.check_tokens = 1 << 60
        if row.tokens:
            self._take_tokens(sequence, row, sequence.prefill_gear, now_ns)

    def _take_tokens(self, sequence: Sequence, row: RowResult, gear: Gear, now_ns: int) -> None:
        """Append drawn tokens, see whether the answer is over, and hand them out."""
        drawn = row.tokens
        trace = sequence.trace
        if trace.ttft_ms is None:
            trace.ttft_ms = sequence.at_ms(now_ns)
            self._begun(sequence, now_ns)
            sequence.dues.begin(now_ns)
            self._scheduler.reorder()
        known = len(sequence.tokens)
        stop = self._append(sequence, drawn)
        sequence.computed = sequence.length - 1
        count = len(sequence.tokens) - known
        if count:
            trace.gears[gear.name] = trace.gears.get(gear.name, 0) + count
            sequence.last_ns = now_ns
        if count != len(drawn):
            for values in (row.tokens, row.logprobs, row.entropies, row.top):
                del values[count:]
        sequence.logprobs += row.logprobs
        sequence.entropies += row.entropies
        if row.top:
            sequence.top += row.top
        if stop is None and sequence.until_ns is not None and now_ns >= sequence.until_ns:
            # Then its end is told now, not after others had their turn.
            stop = self._last_look(sequence, now_ns)
        if stop is not None:
            self._outbox.finish(sequence, stop, now_ns, row, gear.name)
        else:
            shown = sequence.stop.show()
            self._outbox.add(
                Delta(
                    sequence.id, drawn, row.logprobs, row.entropies, row.top, shown, gear=gear.name
                )
            )

    def _append(self, sequence: Sequence, tokens: Seq[int]) -> Stop | None:
        """Take tokens into the answer, up to the one that ends it."""
        for token in tokens:
            stop = sequence.stop.add(token)
            sequence.append(token)
            if stop is not None:
                return stop
        return None

    def force(self, sequence: Sequence, tokens: tuple[int, ...]) -> Stop | None:
        """Put tokens into an answer as if they had been drawn; the model goes on after them. They
        are given out with nothing told of their probability: logprob and entropy 0."""
        known = len(sequence.tokens)
        stop = self._append(sequence, tokens)
        given = sequence.tokens[known:]
        sequence.sampler.force(given)
        asked = sequence.request.params.logprobs is not None
        told = [0.0] * len(given) if asked else []
        top: list[TopLogprobs] = [[] for _ in given] if sequence.request.params.logprobs else []
        sequence.logprobs += told
        sequence.entropies += told
        sequence.top += top
        shown = sequence.stop.show()
        self._outbox.add(Delta(sequence.id, given, told, list(told), top, shown))
        if stop is None:
            self._scheduler.catch_up(sequence)
        return stop
