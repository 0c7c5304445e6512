"""Engine: owner of the loop. Requests go in, deltas come out, one turn a `step`.

It must not know transports, prompts' text, or which library computes; it never waits or sleeps.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from onesec.backend.base import Backend, Batch, BatchResult, RowResult
from onesec.budget.latency import P50, LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Policy
from onesec.core.clock import Clock
from onesec.core.errors import EngineClosed, InvalidRequest, QueueFull
from onesec.core.gear import Gear
from onesec.core.request import Request

from .admission import Admission
from .block_manager import BlockManager, BlockTable
from .scheduler import Scheduler, Work
from .sequence import Delta, Sequence
from .speculation import Draft, Speculation
from .steering import Steering
from .stopping import DecodeText, Stop, StopCheck

_HOST_RATE = 0.05  # of the moving average of the host's own milliseconds a step
_MAX_HOST_MS = 5.0
_NEVER_NS = 1 << 62  # sorts what has no deadline behind all that has


class Engine:
    """Runs requests on a backend so that each keeps its deadline.

    >>> engine = Engine(backend, clock, latency=model, **options)  # doctest: +SKIP
    >>> sequence = engine.add_request(Request(id="a", prompt_tokens=(1, 5)))  # doctest: +SKIP
    >>> while engine.has_work:  # doctest: +SKIP
    ...     for delta in engine.step():
    ...         print(delta.tokens, delta.finish_reason)

    decode_text   ids to text, for stop strings and sentence ends; special tokens give nothing
    length        what is known of answers' lengths; it is learned further
    max_waiting   requests that may wait; more are refused with QueueFull
    speculate     guess tokens ahead for a lone sequence where that pays; answers are the same
    cache_key     secret of the prefix cache's names (random by default); prefix_cache turns it off
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        latency: LatencyModel,
        eos_ids: tuple[int, ...],
        decode_text: DecodeText,
        length: LengthModel | None = None,
        policy: Policy | None = None,
        max_waiting: int = 256,
        max_rows: int = 16,
        chunk_tokens: int = 512,
        chunk_ms: float = 100.0,
        max_steps: int = 8,
        turn_ms: float = 4.0,
        prefix_cache: bool = True,
        speculate: bool = True,
        cache_key: bytes | None = None,
    ) -> None:
        for gear in backend.gears:
            latency.cost(gear.name)  # raises where a gear was not measured
        self.backend = backend
        self.latency = latency
        self.length = length or LengthModel()
        self._clock = clock
        self._eos_ids = eos_ids
        self._decode_text = decode_text
        self._policy = policy = policy or Policy()
        self._max_waiting = max_waiting
        self._blocks = BlockManager(
            backend.num_blocks,
            backend.block_size,
            key=cache_key or secrets.token_bytes(32),
            caching=prefix_cache,
        )
        self._scheduler = Scheduler(
            self._blocks,
            latency,
            max_rows=max_rows,
            chunk_tokens=chunk_tokens,
            chunk_ms=chunk_ms,
            max_steps=max_steps,
            turn_ms=turn_ms,
            on_start=self._on_start,
        )
        self.speculation = (
            Speculation(backend, latency, self._scheduler.reserve) if speculate else None
        )
        self._steering = Steering(self._scheduler, latency, self.length, policy)
        self._admission = Admission(
            backend, self._blocks, self._scheduler, latency, self.length, policy
        )
        self._block_bytes = int(getattr(backend, "kv_block_bytes", 0))
        self._sequences: dict[str, Sequence] = {}
        self._deltas: list[Delta] = []
        self._number = 0
        self._host_ms = 0.0  # the loop's own time between two steps, and the caller's
        self._turn_steps = 1
        self._turn_end_ns: int | None = None  # of the last turn, while work was left
        self._closed = False

    # -- requests --------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""
        return self._scheduler.has_work

    @property
    def waiting(self) -> int:
        """Requests that were accepted and have not started."""
        return self._scheduler.waiting

    @property
    def running(self) -> int:
        """Requests that hold cache blocks."""
        return len(self._scheduler.running)

    @property
    def kv_used_share(self) -> float:
        """Share of the cache's blocks in use."""
        return self._blocks.used_blocks / self._blocks.num_blocks

    def add_request(self, request: Request, *, stream: bool = False) -> Sequence:
        """Accept a request, or refuse it before any work.

        `arrival_ns` 0 means now. A streamed answer is never trimmed after the fact: it only stops
        at a good end, if one comes in time. Raises EmptyPrompt, ContextLengthExceeded, UnknownGear,
        InvalidRequest (an id in use, a token out of range), QueueFull, DeadlineInfeasible (with a
        counter-offer), EngineClosed.
        """
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        admission = self._admission
        admission.check(request)
        gears = admission.gears(request)
        if request.id in self._sequences:
            raise InvalidRequest(f"id {request.id!r} is in use.", hint="Give each request its own.")
        if self._scheduler.waiting >= self._max_waiting:
            raise QueueFull(waiting=self._scheduler.waiting, limit=self._max_waiting)
        now_ns = self._clock.now_ns()
        arrival_ns = request.arrival_ns or now_ns
        end_ns = None
        budget_ms = request.budget.total_ms
        if budget_ms is not None:
            end_ns = arrival_ns + round((budget_ms - self._policy.margin_ms(budget_ms)) * 1e6)
        self._number += 1
        order = (_NEVER_NS if end_ns is None else end_ns, self._number)
        names = admission.names(request)
        plan = admission.plan(
            request,
            names,
            elapsed_ms=(now_ns - arrival_ns) / 1e6,
            order=order,
            host_ms=self._host_ms,
        )
        sampler = self.backend.sampler(request.params, eos_ids=self._eos_ids)
        sampler.observe(request.prompt_tokens)
        tokens: list[int] = []
        sequence = Sequence(
            request,
            sampler=sampler,
            stop=StopCheck(
                request.params,
                eos_ids=self._eos_ids,
                limit=admission.limit(request),
                tokens=tokens,
                decode=self._decode_text,
            ),
            tokens=tokens,
            gears=gears,
            arrival_ns=arrival_ns,
            end_ns=end_ns,
            order=order,
            names=names,
            max_blocks=self._blocks.blocks_for(admission.capacity),
            streamed=stream,
        )
        sequence.adopt(plan, now_ns)
        admission.look_later(sequence, now_ns)
        self._sequences[request.id] = sequence
        self._scheduler.add(sequence)
        return sequence

    def abort(self, request_id: str) -> bool:
        """Forget a request at once and free what it holds; False if it is not in flight."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return False
        self._scheduler.remove(sequence)
        return True

    @contextmanager
    def lend(self) -> Iterator[list[int]]:
        """The cache blocks that no request holds, for work beside the loop; nothing may be added or
        stepped until they are back. Raises EngineClosed."""
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        table = BlockTable()
        self._blocks.append(table, self._blocks.free_blocks * self._blocks.block_size)
        try:
            yield table.blocks
        finally:
            self._blocks.free(table)

    def close(self) -> None:
        """Drop all requests and close the backend; closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        for request_id in list(self._sequences):
            self.abort(request_id)
        self.backend.close()

    def _on_start(self, sequence: Sequence) -> None:
        self._admission.plan_again(sequence, self._clock.now_ns(), self._host_ms)

    # -- the loop --------------------------------------------------------------------------------

    def step(self) -> list[Delta]:
        """One turn: steer, schedule, compute. Returns what each sequence gained; raises
        EngineClosed. An error of one sequence ends that one (finish_reason "error")."""
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        self._deltas = []
        self._turn_steps = 1
        start_ns = self._clock.now_ns()
        self._watch(start_ns)
        compute_ms = 0.0
        for work in self._scheduler.schedule(start_ns):
            compute_ms += self._run(work)
        end_ns = self._clock.now_ns()
        if compute_ms > 0.0:
            since_ns = self._turn_end_ns or start_ns
            host_ms = ((end_ns - since_ns) / 1e6 - compute_ms) / self._turn_steps
            host_ms = min(_MAX_HOST_MS, max(0.0, host_ms))
            self._host_ms += _HOST_RATE * (host_ms - self._host_ms)
        self._turn_end_ns = end_ns if self._scheduler.has_work else None
        return self._deltas

    def _watch(self, now_ns: int) -> None:
        """End what is out of time, and let the controller look where it is due."""
        scheduler, steering = self._scheduler, self._steering
        while (waiting := scheduler.most_urgent_waiting()) and steering.hopeless(waiting, now_ns):
            self._out_of_time(waiting, now_ns)
        for sequence in list(scheduler.running):
            if sequence.end_ns is None:
                continue
            if sequence.state != "decoding":
                if steering.hopeless(sequence, now_ns):
                    self._out_of_time(sequence, now_ns)
            elif len(sequence.tokens) >= sequence.check_tokens or now_ns >= sequence.check_ns:
                try:
                    stop = steering.look(sequence, now_ns, self._host_ms)
                except Exception as error:
                    self._fail(sequence, error, now_ns)
                else:
                    if stop is not None:
                        self._finish(sequence, stop, now_ns)

    def _run(self, work: Work) -> float:
        """Compute one batch and hand its results out; returns the milliseconds it took."""
        try:
            draft = self._draft(work)
            result = self.backend.forward(work.batch)
            if len(result.rows) != len(work.sequences):
                raise RuntimeError(f"{len(result.rows)} results for {len(work.sequences)} rows")
        except Exception as error:
            self._isolate(work, error)
            return 0.0
        now_ns = self._clock.now_ns()
        gear, sequences = work.batch.gear, work.sequences
        step_ms, total_ms = result.step_ms, math.fsum(result.step_ms)
        self._turn_steps = max(self._turn_steps, len(result.step_ms))
        if work.prefill:
            first = work.batch.rows[0]
            tokens = sum(len(row.tokens) for row in work.batch.rows)
            expected_ms = self.latency.prefill_ms(
                gear.name, tokens, start=first.start, quantile=P50
            )
            if not work.batch.exact:
                self.latency.observe_prefill(gear.name, tokens, total_ms, start=first.start)
        elif draft is not None:
            expected_ms = self._took_draft(sequences[0], draft, result)
            total_ms += draft.ms
            drawn = len(result.rows[0].tokens)
            step_ms = [total_ms / drawn] * drawn
        else:
            context, rows = sum(row.start for row in work.batch.rows), len(sequences)
            expected_ms = self.latency.decode_ms(
                gear.name, context // rows, len(step_ms), batch=rows, quantile=P50
            )
            self.latency.observe_decode(gear.name, context, len(sequences), step_ms)
        cpu_ms, bytes_read = result.cpu_ms / len(sequences), result.bytes_read // len(sequences)
        for sequence, row in zip(sequences, result.rows, strict=True):
            trace = sequence.trace
            trace.cpu_ms += cpu_ms
            trace.bytes_read += bytes_read
            try:
                if work.prefill:
                    self._took_chunk(sequence, row, (total_ms, expected_ms), now_ns)
                else:
                    drawn = len(sequence.tokens)
                    sequence.segment.add_steps(step_ms, expected_ms, len(row.tokens), drawn)
                    if row.tokens:
                        self._took_tokens(sequence, row, sequence.gear, now_ns)
            except Exception as error:
                self._fail(sequence, error, now_ns)
        return total_ms

    def _draft(self, work: Work) -> Draft | None:
        """Let the next tokens of a sequence be guessed that has the machine to itself. Rows that
        decode together use the arithmetic that a check would."""
        alone = not work.prefill and len(self._scheduler.running) == 1
        if self.speculation is None or not alone or self._scheduler.waiting:
            return None
        return self.speculation.prepare(work.sequences[0], work.batch, self._clock.now_ns())

    def _took_draft(self, sequence: Sequence, draft: Draft, result: BatchResult) -> float:
        """Learn from a checked draft and tell the trace of it; returns the expected time."""
        assert self.speculation is not None
        expected_ms = self.speculation.expected_ms(sequence, draft)
        sequence.row.drafted = False
        drawn, trace = len(result.rows[0].tokens), sequence.trace
        self.speculation.observe(sequence, draft, drawn, math.fsum(result.step_ms))
        trace.drafted_tokens += len(draft.tokens)
        trace.accepted_tokens += drawn - 1
        if draft.made is not None:
            trace.cpu_ms += draft.made.cpu_ms
            trace.bytes_read += draft.made.bytes_read
        return expected_ms

    def _isolate(self, work: Work, error: Exception) -> None:
        """A batch failed: run its rows one by one, so that only the guilty ones end."""
        if len(work.sequences) == 1:
            self._fail(work.sequences[0], error, self._clock.now_ns())
            return
        batch = work.batch
        for sequence, row in zip(work.sequences, batch.rows, strict=True):
            alone = Batch(batch.gear, [row], 1, batch.until_ns, batch.exact)
            self._run(Work(alone, [sequence], work.prefill))

    def _took_chunk(
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
        computed = min(sequence.computed, sequence.prompt_length)
        self._blocks.publish(sequence.table, sequence.names, sequence.prefill_gear.name, computed)
        if sequence.prefill_left > 0:
            return
        sequence.trace_prefill(sequence.at_ms(now_ns))
        sequence.state = "decoding"
        chunk.sampler = sequence.sampler
        chunk.prompt_logprobs, chunk.next_token = False, None
        sequence.check_tokens = len(sequence.tokens)
        if sequence.end_ns is None:
            sequence.check_tokens = 1 << 60
        if row.tokens:
            self._took_tokens(sequence, row, sequence.prefill_gear, now_ns)

    def _took_tokens(self, sequence: Sequence, row: RowResult, gear: Gear, now_ns: int) -> None:
        """Append drawn tokens, see whether the answer is over, and hand them out."""
        drawn = row.tokens
        trace = sequence.trace
        if trace.ttft_ms is None:
            trace.ttft_ms = sequence.at_ms(now_ns)
        known = len(sequence.tokens)
        stop = None
        for token in drawn:
            stop = sequence.stop.add(token)
            sequence.append(token)
            if stop is not None:
                break
        sequence.computed = sequence.length - 1
        count = len(sequence.tokens) - known
        if count:
            trace.gears[gear.name] = trace.gears.get(gear.name, 0) + count
        if count != len(drawn):
            for values in (row.tokens, row.logprobs, row.entropies, row.top):
                del values[count:]
        sequence.logprobs += row.logprobs
        sequence.entropies += row.entropies
        if row.top:
            sequence.top += row.top
        if stop is None and sequence.until_ns is not None and now_ns >= sequence.until_ns:
            # Perhaps its last step: then its end is told now, not after others had their turn.
            stop = self._steering.look(sequence, now_ns, self._host_ms)
        if stop is not None:
            self._finish(sequence, stop, now_ns, row)
        else:
            safe_chars = sequence.stop.safe_chars
            self._deltas.append(
                Delta(sequence.id, drawn, row.logprobs, row.entropies, row.top, safe_chars)
            )

    # -- endings ---------------------------------------------------------------------------------

    def _out_of_time(self, sequence: Sequence, now_ns: int) -> None:
        assert sequence.end_ns is not None
        left_ms, need_ms = (sequence.end_ns - now_ns) / 1e6, self._steering.prefill_ms(sequence)
        sequence.trace_no_time(sequence.at_ms(now_ns), left_ms, need_ms)
        try:
            stop = sequence.stop.out_of_time(may_trim=not sequence.streamed)
        except Exception as error:
            self._fail(sequence, error, now_ns)
        else:
            self._finish(sequence, stop, now_ns)

    def _fail(self, sequence: Sequence, error: Exception, now_ns: int) -> None:
        if sequence.finished:
            return
        sequence.error = error
        self._finish(sequence, Stop("error", None, "cut"), now_ns)

    def _finish(
        self, sequence: Sequence, stop: Stop, now_ns: int, row: RowResult | None = None
    ) -> None:
        """Free what the sequence holds, close its trace and hand out its last delta."""
        self._scheduler.remove(sequence)
        self._sequences.pop(sequence.id, None)
        sequence.close(stop, now_ns, self._block_bytes)
        if stop.finish_reason != "error":
            self.length.observe(
                len(sequence.tokens),
                ended=stop.ending == "natural",
                key=sequence.length_key,
            )
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
            )
        )
