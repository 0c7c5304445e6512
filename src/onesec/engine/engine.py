"""Engine: owner of the loop. Requests go in, deltas come out, one turn a `step`.

It must not know transports, prompts' text, or which library computes; it never waits or sleeps.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping

import numpy as np

from onesec.backend.base import Backend, BatchResult, RowResult
from onesec.budget import controller, planner
from onesec.budget.latency import P50, P99, LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan, Policy
from onesec.core.clock import Clock
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    EngineClosed,
    InvalidRequest,
    QueueFull,
    UnknownGear,
)
from onesec.core.gear import Gear
from onesec.core.request import Request

from .block_manager import BlockManager
from .scheduler import Scheduler, Work
from .sequence import Delta, Segment, Sequence
from .stopping import DecodeText, Stop, StopCheck

_HOST_RATE = 0.05  # of the moving average of the host's own milliseconds a turn
_MAX_HOST_MS = 5.0
_BACKGROUND_SHARE = 0.25  # how much of work without a deadline one with a deadline must wait for
_REPLAN_SHARE = 0.05  # of the time left that may pass in the queue before the plan is made anew


class Engine:
    """Runs requests on a backend so that each keeps its deadline.

    >>> engine = Engine(backend, clock, latency=model, eos_ids=(2,), decode_text=tokenizer.decode)
    ... # doctest: +SKIP
    >>> engine.add_request(Request(id="a", prompt_tokens=(1, 5)))  # doctest: +SKIP
    >>> while engine.has_work:  # doctest: +SKIP
    ...     for delta in engine.step(): print(delta.tokens)

    decode_text   ids to text, for stop strings and sentence ends; special tokens give nothing
    length        what is known of answers' lengths; it is learned further
    max_waiting   requests that may wait; more are refused with QueueFull
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
        max_steps: int = 8,
        turn_ms: float = 4.0,
        prefix_cache: bool = True,
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
        self._policy = policy or Policy()
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
            max_steps=max_steps,
            turn_ms=turn_ms,
            on_start=self._replan,
        )
        self._capacity = min(backend.context_length, backend.num_blocks * backend.block_size)
        self._block_bytes = int(getattr(backend, "kv_block_bytes", 0))
        self._sequences: dict[str, Sequence] = {}
        self._deltas: list[Delta] = []
        self._number = 0
        self._host_ms = 0.0
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

        `arrival_ns` 0 means now. A streamed answer is never trimmed after the fact: it only stops at
        a good end, if one comes in time. Raises EmptyPrompt, ContextLengthExceeded, UnknownGear,
        InvalidRequest (an id in use), QueueFull, DeadlineInfeasible (with a counter-offer),
        EngineClosed.
        """
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        prompt_tokens = len(request.prompt_tokens)
        if prompt_tokens == 0:
            raise EmptyPrompt("The prompt has no token.", hint="Send at least one.")
        if prompt_tokens >= self._capacity:
            raise ContextLengthExceeded(
                prompt_tokens=prompt_tokens, context_length=self._capacity
            )
        vocab_size = self.backend.vocab_size
        low, high = min(request.prompt_tokens), max(request.prompt_tokens)
        if low < 0 or high >= vocab_size:
            raise InvalidRequest(
                f"prompt token {low if low < 0 else high} is not in [0, {vocab_size})."
            )
        if request.id in self._sequences:
            raise InvalidRequest(f"id {request.id!r} is in use.", hint="Give each request its own.")
        gears = self._allowed_gears(request)
        if self._scheduler.waiting >= self._max_waiting:
            raise QueueFull(waiting=self._scheduler.waiting, limit=self._max_waiting)
        now_ns = self._clock.now_ns()
        arrival_ns = request.arrival_ns or now_ns
        budget = request.budget
        deadline = budget.deadline(arrival_ns)
        end_ns = None
        if deadline.total_ns is not None and budget.total_ms is not None:
            end_ns = deadline.total_ns - round(self._policy.margin_ms(budget.total_ms) * 1e6)
        params = request.params
        room = self._capacity - prompt_tokens
        limit = room if params.max_tokens is None else min(room, params.max_tokens)
        names = []
        if not params.prompt_logprobs:
            salt = str(request.metadata.get("cache_salt", "")).encode()
            prompt = np.array(request.prompt_tokens, dtype=np.int32)
            names = self._blocks.names(prompt, salt)
        self._number += 1
        order = (1 << 62 if end_ns is None else end_ns, self._number)
        ask = self._ask(request, gears, limit, names, order, (now_ns - arrival_ns) / 1e6)
        plan = planner.plan(ask, self.latency, self.length, self._policy)
        sampler = self.backend.sampler(params, eos_ids=self._eos_ids)
        sampler.observe(request.prompt_tokens)
        sequence = Sequence(
            request,
            sampler=sampler,
            stop_of=lambda tokens: StopCheck(
                params,
                eos_ids=self._eos_ids,
                limit=limit,
                tokens=tokens,
                decode=self._decode_text,
            ),
            plan=plan,
            gears=gears,
            deadline=deadline,
            arrival_ns=arrival_ns,
            end_ns=end_ns,
            order=order,
            names=names,
            max_blocks=self._blocks.blocks_for(self._capacity),
            streamed=stream,
        )
        if end_ns is not None:
            sequence.check_ns = now_ns + int(_REPLAN_SHARE * (end_ns - now_ns))
        self._note_plan(sequence, now_ns)
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

    def close(self) -> None:
        """Drop all requests and close the backend; closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        for request_id in list(self._sequences):
            self.abort(request_id)
        self.backend.close()

    # -- the loop --------------------------------------------------------------------------------

    def step(self) -> list[Delta]:
        """One turn: steer, schedule, compute. Returns what each sequence gained; raises
        EngineClosed. An error of one sequence ends that one (finish_reason "error")."""
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        self._deltas = []
        start_ns = self._clock.now_ns()
        self._watch(start_ns)
        compute_ms = 0.0
        for work in self._scheduler.schedule():
            compute_ms += self._run(work)
        end_ns = self._clock.now_ns()
        if compute_ms > 0.0:
            since_ns = self._turn_end_ns or start_ns
            host_ms = min(_MAX_HOST_MS, max(0.0, (end_ns - since_ns) / 1e6 - compute_ms))
            self._host_ms += _HOST_RATE * (host_ms - self._host_ms)
        self._turn_end_ns = end_ns if self._scheduler.has_work else None
        return self._deltas

    def _watch(self, now_ns: int) -> None:
        """End what is out of time, and let the controller look where it is due."""
        scheduler = self._scheduler
        while (waiting := scheduler.most_urgent_waiting()) and self._hopeless(waiting, now_ns):
            self._out_of_time(waiting, now_ns)
        for sequence in list(scheduler.running):
            if sequence.end_ns is None:
                continue
            if sequence.state == "decoding":
                if len(sequence.tokens) >= sequence.check_tokens or now_ns >= sequence.check_ns:
                    self._steer(sequence, now_ns)
            elif self._hopeless(sequence, now_ns):
                self._out_of_time(sequence, now_ns)

    def _hopeless(self, sequence: Sequence, now_ns: int) -> bool:
        """Whether not even its first token can come in time: no work is spent on it."""
        if sequence.end_ns is None:
            return False
        tokens = sequence.prefill_left
        need_ms = self.latency.prefill_ms(
            sequence.prefill_gear.name, tokens, start=sequence.computed, quantile=P50
        )
        return now_ns + int(need_ms * 1e6) >= sequence.end_ns

    def _steer(self, sequence: Sequence, now_ns: int) -> None:
        """Ask the controller for the next move, and make it."""
        if sequence.end_ns is None:
            return
        policy, drawn, name = self._policy, len(sequence.tokens), sequence.gear.name
        want = self.length.quantile(policy.target_quantile, done=drawn, key=sequence.length_key)
        others_ms, batch = self._pace(sequence)
        standing = controller.Standing(
            gears=tuple(gear.name for gear in sequence.gears),
            gear=name,
            context=sequence.length,
            left_ms=(sequence.end_ns - now_ns) / 1e6,
            want_tokens=want,
            limit_tokens=sequence.stop.left,
            zone_tokens=sequence.plan.landing_reserve_tokens,
            since_shift=drawn - sequence.shifted_at,
            batch=batch,
            others_ms=others_ms,
            landing=sequence.landing,
        )
        decision = controller.shift(standing, self.latency, policy)
        if decision.stop:
            self._out_of_time(sequence, now_ns)
            return
        at_ms = sequence.at_ms(now_ns)
        if decision.gear != name:
            sequence.flush_segment(at_ms)
            sequence.gear = next(gear for gear in sequence.gears if gear.name == decision.gear)
            sequence.shifted_at = drawn
            sequence.trace.add(
                at_ms, "shift", token=drawn, gear=decision.gear, was=name,
                left_ms=round(standing.left_ms, 3), want_tokens=want,
            )  # fmt: skip
        if decision.land and not sequence.landing:
            sequence.landing = True
            sequence.trace.add(at_ms, "land", token=drawn, room_tokens=decision.room_tokens)
            stop = sequence.stop.land()
            if stop is not None:
                self._finish(sequence, stop, now_ns)
                return
        sequence.slack_ms = decision.slack_ms
        sequence.check_tokens = drawn + decision.check_tokens
        step_ms = self.latency.decode_ms(
            decision.gear, sequence.length, 1, batch=batch, quantile=P99
        )
        sequence.until_ns = sequence.end_ns - int(step_ms * 1e6)
        sequence.check_ns = min(now_ns + int(decision.check_ms * 1e6), sequence.until_ns)

    def _pace(self, sequence: Sequence) -> tuple[float, int]:
        """Milliseconds for others between two tokens of a sequence, and the rows of its batch."""
        others_ms, batch = self._host_ms, 1
        running = self._scheduler.running
        if len(running) > 1:
            for gear, group in self._scheduler.decode_groups().items():
                if gear is sequence.gear:
                    batch = len(group)
                else:
                    share = _BACKGROUND_SHARE if group[0].end_ns is None else 1.0
                    others_ms += share * self.latency.step_ms(
                        gear.name, group[0].length, len(group)
                    )
        return others_ms, batch

    def _run(self, work: Work) -> float:
        """Compute one batch and hand its results out; returns the milliseconds it took."""
        try:
            result = self.backend.forward(work.batch)
        except Exception as error:
            self._isolate(work, error)
            return 0.0
        now_ns = self._clock.now_ns()
        gear, sequences = work.batch.gear, work.sequences
        total_ms = math.fsum(result.step_ms)
        if work.prefill:
            first = work.batch.rows[0]
            tokens = sum(len(row.tokens) for row in work.batch.rows)
            if not work.batch.exact:
                self.latency.observe_prefill(gear.name, tokens, total_ms, start=first.start)
        else:
            context = sum(row.start for row in work.batch.rows)
            self.latency.observe_decode(gear.name, context, len(sequences), result.step_ms)
        cpu_ms, bytes_read = result.cpu_ms / len(sequences), result.bytes_read // len(sequences)
        for sequence, row in zip(sequences, result.rows, strict=True):
            trace = sequence.trace
            trace.cpu_ms += cpu_ms
            trace.bytes_read += bytes_read
            try:
                if work.prefill:
                    self._took_chunk(sequence, row, work, total_ms, now_ns)
                else:
                    self._took_steps(sequence, row, total_ms, now_ns)
            except Exception as error:
                self._fail(sequence, error, now_ns)
        return total_ms

    def _isolate(self, work: Work, error: Exception) -> None:
        """A batch failed: run its rows one by one, so that only the guilty ones end."""
        if len(work.sequences) == 1:
            self._fail(work.sequences[0], error, self._clock.now_ns())
            return
        batch = work.batch
        for sequence, row in zip(work.sequences, batch.rows, strict=True):
            alone = type(batch)(batch.gear, [row], 1, batch.until_ns, batch.exact)
            self._run(Work(alone, [sequence], work.prefill))

    def _took_chunk(
        self, sequence: Sequence, row: RowResult, work: Work, ms: float, now_ns: int
    ) -> None:
        chunk = sequence.row
        count, start = len(chunk.tokens), chunk.start
        sequence.computed = start + count
        sequence.segment.prefill_tokens += count
        sequence.segment.prefill_ms += ms
        if row.prompt_logprobs:
            known = len(sequence.prompt_logprobs)
            sequence.prompt_logprobs.extend(row.prompt_logprobs[known - start :])
        computed = min(sequence.computed, sequence.prompt_length)
        self._blocks.publish(
            sequence.table, sequence.names, sequence.prefill_gear.name, computed
        )
        if sequence.prefill_left > 0:
            return
        sequence.flush_prefill(sequence.at_ms(now_ns))
        sequence.state = "decoding"
        chunk.sampler = sequence.sampler
        chunk.prompt_logprobs, chunk.next_token = False, None
        sequence.check_tokens = len(sequence.tokens)
        if sequence.end_ns is None:
            sequence.check_tokens = 1 << 60
        if row.tokens:
            self._took_tokens(sequence, row, sequence.prefill_gear, now_ns)

    def _took_steps(self, sequence: Sequence, row: RowResult, ms: float, now_ns: int) -> None:
        segment = sequence.segment
        segment.calls += 1
        segment.ms += ms
        segment.tokens += len(row.tokens)
        if row.tokens:
            self._took_tokens(sequence, row, sequence.gear, now_ns)

    def _took_tokens(self, sequence: Sequence, row: RowResult, gear: Gear, now_ns: int) -> None:
        """Append drawn tokens, see whether the answer is over, and hand them out."""
        drawn = row.tokens
        trace = sequence.trace
        trace.gears[gear.name] = trace.gears.get(gear.name, 0) + len(drawn)
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
        if count != len(drawn):
            for values in (row.tokens, row.logprobs, row.entropies, row.top):
                del values[count:]
        sequence.logprobs += row.logprobs
        sequence.entropies += row.entropies
        if row.top:
            sequence.top += row.top
        if stop is not None:
            self._finish(sequence, stop, now_ns, row)
        else:
            safe_chars = sequence.stop.safe_chars
            self._deltas.append(
                Delta(sequence.id, drawn, row.logprobs, row.entropies, row.top, safe_chars)
            )

    # -- endings ---------------------------------------------------------------------------------

    def _out_of_time(self, sequence: Sequence, now_ns: int) -> None:
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
                sequence.id, row.tokens, row.logprobs, row.entropies, row.top, stop.text_chars,
                stop.finish_reason, stop.stop_reason, stop.ending, sequence.trace, sequence.error,
            )  # fmt: skip
        )

    # -- plans -----------------------------------------------------------------------------------

    def _allowed_gears(self, request: Request) -> tuple[Gear, ...]:
        """Gears that the request may use, cheapest first."""
        gears = self.backend.gears
        names = tuple(gear.name for gear in gears)
        for asked in (request.gear, request.min_gear):
            if asked is not None and asked not in names:
                raise UnknownGear(asked, names)
        first = names.index(request.min_gear) if request.min_gear is not None else 0
        if request.gear is None:
            return gears[first:]
        index = names.index(request.gear)
        if index < first:
            raise InvalidRequest(
                f"gear {request.gear!r} is below min_gear {request.min_gear!r}.",
                hint="Leave one of them out.",
            )
        return (gears[index],)

    def _ask(
        self,
        request: Request,
        gears: tuple[Gear, ...],
        limit: int,
        names: list[bytes],
        order: tuple[int, int],
        elapsed_ms: float,
    ) -> Ask:
        """The request and the load that it meets, in the planner's words."""
        timed = request.budget.total_ms is not None or request.budget.ttft_ms is not None
        wait_ms, batch, others_ms = self._load(order) if timed else (0.0, 1, 0.0)
        cached: Mapping[str, int] = {}
        if names:
            size = self._blocks.block_size
            cached = {g.name: size * self._blocks.match(names, g.name) for g in gears}
        return Ask(
            prompt_tokens=len(request.prompt_tokens),
            limit_tokens=limit,
            gears=tuple(gear.name for gear in gears),
            min_tokens=request.params.min_tokens,
            budget_ms=request.budget.total_ms,
            ttft_ms=request.budget.ttft_ms,
            cached_tokens=cached,
            elapsed_ms=elapsed_ms,
            wait_ms=wait_ms,
            batch=batch,
            others_ms=others_ms,
            chunk_tokens=self._scheduler.chunk_tokens,
            key=str(request.metadata.get("app", "")),
        )

    def _load(self, order: tuple[int, int]) -> tuple[float, int, float]:
        """What a request of that urgency meets: the wait until its prompt can start, the rows of
        its batch, and the work for others between two of its tokens."""
        wait_ms, rows = 0.0, 1
        for sequence in self._scheduler.unfinished():
            rows += 1
            if sequence.state != "decoding" and sequence.order < order:
                wait_ms += self.latency.prefill_ms(
                    sequence.prefill_gear.name, sequence.prefill_left, start=sequence.computed
                )
        steps_ms = [
            self.latency.step_ms(gear.name, group[0].length, len(group))
            * (_BACKGROUND_SHARE if group[0].end_ns is None else 1.0)
            for gear, group in self._scheduler.decode_groups().items()
        ]
        # It will share the steps of one group, the dearest at worst.
        others_ms = self._host_ms + math.fsum(steps_ms) - max(steps_ms, default=0.0)
        return wait_ms, min(rows, self._scheduler.max_rows), others_ms

    def _replan(self, sequence: Sequence) -> None:
        """Plan anew what waited long: the time left is less than the first plan knew."""
        now_ns = self._clock.now_ns()
        if sequence.end_ns is None or sequence.tokens or now_ns < sequence.check_ns:
            return
        sequence.check_ns = now_ns + int(_REPLAN_SHARE * max(0, sequence.end_ns - now_ns))
        ask = self._ask(
            sequence.request,
            sequence.gears,
            sequence.stop.left,
            sequence.names,
            (0, 0),
            sequence.at_ms(now_ns),
        )
        try:
            plan = planner.plan(ask, self.latency, self.length, self._policy)
        except DeadlineInfeasible:
            cheapest, old = sequence.gears[0].name, sequence.plan
            plan = Plan(
                gear=cheapest,
                prefill_gear=cheapest,
                max_tokens=old.max_tokens,
                landing_reserve_tokens=old.landing_reserve_tokens,
                predicted_ms=old.predicted_ms,
                feasible_ms=old.feasible_ms,
            )
        sequence.adopt(plan)
        self._note_plan(sequence, now_ns)

    def _note_plan(self, sequence: Sequence, now_ns: int) -> None:
        plan, trace = sequence.plan, sequence.trace
        if trace.predicted_ms is None:
            trace.predicted_ms = plan.predicted_ms
        trace.add(
            sequence.at_ms(now_ns), "plan", gear=plan.gear, prefill_gear=plan.prefill_gear,
            max_tokens=plan.max_tokens, predicted_ms=round(plan.predicted_ms, 3),
            feasible_ms=plan.feasible_ms,
        )  # fmt: skip
