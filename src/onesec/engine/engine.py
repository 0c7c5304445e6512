"""Engine: owner of the loop. Requests go in, deltas come out, one turn a `step`.

It must not know transports, prompts' text, or which library computes; it waits for the backend
only, and no longer than until the next answer is due.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from onesec.backend.base import Backend, Batch, BatchResult
from onesec.budget.latency import LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.policy import POLICIES, Policy
from onesec.core.clock import Clock
from onesec.core.errors import DeadlineInfeasible, EngineClosed, InvalidRequest, QueueFull
from onesec.core.request import Request
from onesec.core.response_format import schema_of
from onesec.core.thinking import ThinkingMarks

from .admission import Admission
from .block_manager import BlockManager, BlockTable
from .dues import Dues
from .intake import Intake
from .lessons import Lessons
from .outbox import Outbox
from .overrun import Overrun
from .scheduler import Scheduler, Work
from .sequence import Delta, Force, Sequence, order_of
from .speculation import Draft, Speculation
from .steering import Steering
from .stopping import Decode, Stop, StopCheck
from .structure import Structure, Structures
from .watchdog import Watchdog

_HOST_RATE = 0.05  # of the moving average of the host's own milliseconds a step
_MAX_HOST_MS = 5.0
_LOOK_NS = 50_000_000  # between two looks at what has arrived while a call hangs


class Engine:
    """Runs requests on a backend so that each keeps its deadline.

    >>> engine = Engine(backend, clock, latency=model, **options)  # doctest: +SKIP
    >>> sequence = engine.add_request(Request(id="a", prompt_tokens=(1, 5)))  # doctest: +SKIP
    >>> while engine.has_work:  # doctest: +SKIP
    ...     for delta in engine.step():
    ...         print(delta.tokens, delta.finish_reason)

    decode_text   ids to text, for stop strings and sentence ends; `Tokenizer.decode` is one
    length        what is known of answers' lengths; it is learned further
    policies      what the names of Request.policy stand for
    thinking      the marks of the model's thinking, where it thinks aloud
    structures    compiles response formats; without it they are refused
    context_length  tokens of one sequence at most (None: what backend and cache allow)
    max_waiting   requests that may wait beside those that run; more are refused with QueueFull
    speculate     guess tokens ahead for a lone sequence where that pays; answers are the same
    cache_key     secret of the prefix cache's names (random by default); prefix_cache turns it off
    computing     entered around each call of the backend: meanwhile another thread may add requests
                  and ask for `prompt_room`, and nothing else
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        latency: LatencyModel,
        eos_ids: tuple[int, ...],
        decode_text: Callable[..., str],
        length: LengthModel | None = None,
        policies: Mapping[str, Policy] = POLICIES,
        thinking: ThinkingMarks | None = None,
        structures: Structures | None = None,
        context_length: int | None = None,
        max_waiting: int = 256,
        max_rows: int = 16,
        chunk_tokens: int = 512,
        chunk_ms: float = 100.0,
        max_steps: int = 8,
        turn_ms: float = 4.0,
        prefix_cache: bool = True,
        speculate: bool = True,
        cache_key: bytes | None = None,
        computing: AbstractContextManager[object] | None = None,
    ) -> None:
        for gear in backend.gears:
            latency.cost(gear.name)  # raises where a gear was not measured
        self.backend = backend
        self.latency = latency
        self._lessons = Lessons(length)
        self._thinking = thinking
        self._structures = structures
        self._clock = clock
        self._eos_ids = eos_ids
        self._decode_text = decode_text
        self._policies = policies
        self._max_waiting = max_waiting
        self._computing = computing or nullcontext()
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
            Speculation(backend, self._forward, latency, self._scheduler.reserve)
            if speculate
            else None
        )
        self._steering = Steering(
            self._scheduler,
            latency,
            self._lessons.length,
            thinking,
            self._lessons.answers,
            fenced=backend.leaves_steps,
        )
        self._admission = Admission(
            backend,
            self._blocks,
            self._scheduler,
            latency,
            self._lessons.length,
            context_length,
        )
        self._watchdog = Watchdog(backend, self._blocks, self._scheduler, latency)
        self._overrun = Overrun()
        block_bytes = int(getattr(backend, "kv_block_bytes", 0))
        self._outbox = Outbox(
            self._scheduler,
            self._lessons,
            self._overrun,
            self._admission.foresight,
            block_bytes,
        )
        self._intake = Intake(
            self._scheduler,
            self._blocks,
            latency,
            self.speculation,
            self._outbox,
            begun=self._admission.begun,
            last_look=self._last_look,
        )
        self._number = 0
        self._host_ms = 0.0  # the loop's own time between two steps, and the caller's
        self._turn_steps = 1
        self._turn_end_ns: int | None = None  # of the last turn, while work was left
        self._closed = False

    # -- requests --------------------------------------------------------------------------------

    @property
    def length(self) -> LengthModel:
        """What is known of answers' lengths by now."""
        self._lessons.learn()
        return self._lessons.length

    def prompt_room(self, request: Request, *, spare_ms: float = 0.0) -> int:
        """The most prompt tokens with which the request could be answered well in its time: all of
        its own, where they fit, else the most that a shortened prompt may have. `spare_ms` is kept
        for the shortening. Raises UnknownGear, InvalidRequest.
        """
        self._lessons.learn_before(request)
        now_ns = self._clock.now_ns()
        arrival_ns = request.arrival_ns or now_ns
        policy = self._policies[request.policy]
        return self._admission.prompt_room(
            request,
            policy,
            elapsed_ms=(now_ns - arrival_ns) / 1e6 + spare_ms,
            now_ns=now_ns,
            order=order_of(request, Dues.of(request.budget, policy, arrival_ns), self._number + 1),
            host_ms=self._host_ms,
        )

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
        InvalidRequest (an id in use, a token out of range, a response format that cannot be had),
        QueueFull, DeadlineInfeasible (with a counter-offer), EngineClosed.
        """
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        admission = self._admission
        admission.check(request)
        policy = self._policies[request.policy]
        gears = admission.gears(request, policy)
        if request.id in self._outbox.sequences:
            raise InvalidRequest(f"id {request.id!r} is in use.", hint="Give each request its own.")
        # Those that only wait for the next turn to begin take nobody's place.
        waiting = self._scheduler.waiting + self.running - self._scheduler.max_rows
        if waiting >= self._max_waiting:
            raise QueueFull(waiting=waiting, limit=self._max_waiting)
        self._lessons.learn_before(request)
        came_ns = self._clock.now_ns()
        structure, closing_ns = self._structure_of(request)
        now_ns = self._clock.now_ns()
        arrival_ns = request.arrival_ns or came_ns
        dues = Dues.of(request.budget, policy, arrival_ns)
        kept_ms = self._overrun.kept_ms(request.budget.total_ms, policy)
        if dues.end_ns is not None:
            dues.kept_ns = closing_ns + round(kept_ms * 1e6)
            dues.end_ns -= dues.kept_ns
        self._number += 1
        order = order_of(request, dues, self._number)
        names = admission.names(request)
        self._watchdog.over(now_ns)
        try:
            plan = admission.plan(
                request,
                policy,
                names,
                elapsed_ms=(now_ns - arrival_ns) / 1e6,
                now_ns=now_ns,
                order=order,
                host_ms=self._host_ms,
                stall_ms=self._watchdog.delay_ms(now_ns) + kept_ms + closing_ns / 1e6,
            )
        except DeadlineInfeasible as refusal:
            raise self._overrun.offer(refusal, kept_ms, policy) from None
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
                decode=self._decoder(request),
                marks=self._thinking,
                thinking=self._thinking is not None
                and self._thinking.open_after(request.prompt_tokens),
                structure=structure,
            ),
            tokens=tokens,
            policy=policy,
            gears=gears,
            arrival_ns=arrival_ns,
            dues=dues,
            number=self._number,
            names=names,
            max_blocks=self._blocks.blocks_for(admission.capacity),
            streamed=stream,
        )
        sequence.adopt(plan, now_ns)
        sequence.crossed = self._scheduler.has_work
        admission.look_later(sequence, now_ns)
        self._outbox.sequences[request.id] = sequence
        self._scheduler.add(sequence)
        return sequence

    def _decoder(self, request: Request) -> Decode:
        """Ids of its answer to text, as whoever shows them decodes them."""
        if not request.continues and not request.marked:
            return self._decode_text
        return partial(self._decode_text, skip_special=not request.marked, begun=request.continues)

    def prepare(self, request: Request) -> None:
        """Compile what an answer must be, which may take long the first time; beside the loop: it
        touches nothing that a step uses. Raises InvalidRequest."""
        if request.params.response_format is not None and self._structures is not None:
            self._structures.open(schema_of(request.params.response_format))

    def _structure_of(self, request: Request) -> tuple[Structure | None, int]:
        """What the answer must be, and the nanoseconds that are kept free for closing it."""
        if request.params.response_format is None:
            return None, 0
        if self._structures is None:
            raise InvalidRequest("This engine knows no vocabulary, which response_format needs.")
        structure = self._structures.open(schema_of(request.params.response_format))
        start_ns = self._clock.now_ns()
        # Nothing is written yet: the longest closing there is. Reading what will be written takes a
        # thousandth of the steps that write it, which the margin holds.
        structure.close("")
        return structure, 2 * (self._clock.now_ns() - start_ns)

    def abort(self, request_id: str) -> bool:
        """Forget a request at once and free what it holds; False if it is not in flight."""
        return self._outbox.forget(request_id)

    @contextmanager
    def lend(self) -> Iterator[list[int]]:
        """The cache blocks that no request holds, for work beside the loop; nothing may be added or
        stepped until they are back. Raises EngineClosed."""
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        self._watchdog.over(None)  # a call that goes on behind would be taken for one of the work's
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
        for request_id in list(self._outbox.sequences):
            self.abort(request_id)
        self.backend.close()

    def _on_start(self, sequence: Sequence) -> None:
        self._admission.plan_again(sequence, self._clock.now_ns(), self._host_ms)

    # -- the loop --------------------------------------------------------------------------------

    def step(self) -> list[Delta]:
        """One turn: steer, schedule, compute. Returns what each sequence gained; raises
        EngineClosed. An error of one sequence ends that one (finish_reason "error"). When a call
        hangs, the turn ends at the next deadline; later turns wait for the call, deadline by
        deadline."""
        if self._closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        self._turn_steps = 1
        if not self._settle():
            return self._outbox.take()
        start_ns = self._clock.now_ns()
        self._watch(start_ns)
        compute_ms = 0.0
        for work in self._scheduler.schedule(start_ns):
            compute_ms += self._run(work)
            if self._watchdog.overdue is not None:
                self._turn_end_ns = None
                return self._outbox.take()
        end_ns = self._clock.now_ns()
        if compute_ms > 0.0:
            since_ns = self._turn_end_ns or start_ns
            host_ms = ((end_ns - since_ns) / 1e6 - compute_ms) / self._turn_steps
            host_ms = min(_MAX_HOST_MS, max(0.0, host_ms))
            self._host_ms += _HOST_RATE * (host_ms - self._host_ms)
        self._turn_end_ns = end_ns if self._scheduler.has_work else None
        return self._outbox.take()

    def _watch(self, now_ns: int) -> None:
        """End what is out of time, and let the controller look where it is due."""
        scheduler, steering = self._scheduler, self._steering
        while (waiting := scheduler.most_urgent_waiting()) and steering.hopeless(waiting, now_ns):
            self._give_up(waiting, now_ns)
        for late in scheduler.overdue(now_ns):
            self._give_up(late, now_ns)
        for sequence in list(scheduler.running):
            if sequence.state != "decoding":
                if sequence.dues.steered and steering.hopeless(sequence, now_ns):
                    self._give_up(sequence, now_ns)
            elif sequence.owed is not None or steering.due(sequence, now_ns):
                try:
                    move = sequence.owed or steering.look(sequence, now_ns, self._host_ms)
                    sequence.owed = None
                    if isinstance(move, Force):
                        move = self._intake.force(sequence, move.tokens)
                except Exception as error:
                    self._outbox.fail(sequence, error, now_ns)
                else:
                    if move is not None:
                        self._outbox.finish(sequence, move, now_ns)

    def _settle(self) -> bool:
        """Wait for an overdue call, at most until an answer is due; whether none is left."""
        watchdog = self._watchdog
        if watchdog.overdue is None:
            return True
        until_ns = now_ns = self._clock.now_ns()
        if self.has_work:
            # Not for long at a time: what arrives meanwhile may be due before all others.
            until_ns += _LOOK_NS
            fence_ns = watchdog.fence_ns()
            until_ns = until_ns if fence_ns is None else min(until_ns, fence_ns)
        with self._computing:
            over = watchdog.over(until_ns)
        now_ns = self._clock.now_ns()
        if not over:
            self._end_due(now_ns)
            return False
        call, result = watchdog.take()
        if isinstance(result, Exception):
            # Of several the guilty one shows when they run again: nothing was drawn.
            going = [each for each in call.work.sequences if not each.finished]
            if len(going) == 1:
                self._outbox.fail(going[0], result, now_ns)
        elif call.wanted and result.step_ms:
            self._take(call.work, call.draft, result, now_ns)
        return True

    def _end_due(self, now_ns: int) -> None:
        """Hand over, as they are, the answers that cannot wait for the overdue call."""
        call = self._watchdog.overdue
        for sequence in self._scheduler.unfinished():
            if call is not None and sequence.end_ns is not None and now_ns >= sequence.end_ns:
                sequence.trace_decode(sequence.at_ms(now_ns))
                sequence.trace.add(
                    sequence.at_ms(now_ns),
                    "stall",
                    token=len(sequence.tokens) + 1,
                    ms=round((now_ns - call.since_ns) / 1e6, 3),
                    expected_ms=round(call.expected_ms, 3),
                )
                self._outbox.out_of_time(sequence, now_ns)

    def _run(self, work: Work) -> float:
        """Compute one batch and hand its results out; returns the milliseconds it took."""
        work.batch.watch_ns = self._watchdog.fence_ns()
        start_ns = self._clock.now_ns()
        try:
            draft = self._draft(work)
            _mask(work)
            late = draft is not None and draft.overdue
            result = BatchResult([], [], 0.0, 0) if late else self._forward(work.batch)
            if not late and len(result.rows) != len(work.sequences):
                raise RuntimeError(f"{len(result.rows)} results for {len(work.sequences)} rows")
        except Exception as error:
            self._isolate(work, error)
            return 0.0
        now_ns = self._clock.now_ns()
        if not (late or result.overdue):
            return self._take(work, draft, result, now_ns)
        done_ms = math.fsum(result.step_ms) + (draft.ms if draft is not None else 0.0)
        since_ns = start_ns + round(done_ms * 1e6)
        self._watchdog.leave(work, draft, since_ns, wanted=not late)
        if result.step_ms:
            self._take(work, draft, result, now_ns)
        self._end_due(now_ns)
        return 0.0

    def _forward(self, batch: Batch) -> BatchResult:
        with self._computing:
            return self.backend.forward(batch)

    def _take(self, work: Work, draft: Draft | None, result: BatchResult, now_ns: int) -> float:
        """Hand out what a call computed; returns the milliseconds that it took."""
        self._turn_steps = max(self._turn_steps, len(result.step_ms))
        return self._intake.take(work, draft, result, now_ns)

    def _last_look(self, sequence: Sequence, now_ns: int) -> Stop | None:
        """Whether an answer is over that may have no time for another step."""
        if self._watchdog.overdue is not None:
            return None
        move = self._steering.look(sequence, now_ns, self._host_ms)
        if isinstance(move, Force):
            sequence.owed = move  # it stands behind what was drawn: at the next turn
            return None
        return move

    def _draft(self, work: Work) -> Draft | None:
        """Let the next tokens of a sequence be guessed that has the machine to itself. Rows that
        decode together use the arithmetic that a check would."""
        alone = not work.prefill and len(self._scheduler.running) == 1
        if self.speculation is None or not alone or self._scheduler.waiting:
            return None
        if work.sequences[0].stop.structured:  # a mask holds for one token
            return None
        return self.speculation.prepare(work.sequences[0], work.batch, self._clock.now_ns())

    def _isolate(self, work: Work, error: Exception) -> None:
        """A batch failed: run its rows one by one, so that only the guilty ones end."""
        if len(work.sequences) == 1:
            self._outbox.fail(work.sequences[0], error, self._clock.now_ns())
            return
        batch = work.batch
        for sequence, row in zip(work.sequences, batch.rows, strict=True):
            if self._watchdog.overdue is None:  # else its turn comes again
                alone = Batch(batch.gear, [row], 1, batch.until_ns, batch.exact)
                self._run(Work(alone, [sequence], work.prefill))

    def _give_up(self, sequence: Sequence, now_ns: int) -> None:
        """End what waits for a prompt's work that no longer fits."""
        assert sequence.end_ns is not None
        left_ms, need_ms = (sequence.end_ns - now_ns) / 1e6, self._steering.prefill_ms(sequence)
        sequence.trace_no_time(sequence.at_ms(now_ns), left_ms, need_ms)
        if sequence.trace.ttft_ms is None:
            self._admission.begun(sequence, now_ns)
        self._outbox.out_of_time(sequence, now_ns)


def _mask(work: Work) -> None:
    """Tell the samplers of structured answers which tokens may come next."""
    for sequence in work.sequences:
        sampler = sequence.row.sampler
        mask = None if sampler is None else sequence.stop.mask()
        if sampler is not None and mask is not None:
            sampler.allow(mask)
