"""Turns: the engine process's loop: messages in, a turn of the engine, what it gave out.

It must not know models or text. It never polls: one thread waits for the socket, the other one for
work.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from threading import Event, Thread, get_ident

from onesec.backend.cpu import CpuBackend
from onesec.core.clock import Clock
from onesec.core.collector import QuietCollector
from onesec.core.errors import DeadlineInfeasible, EngineClosed, InvalidRequest, QueueFull
from onesec.core.request import Request, SamplingParams
from onesec.core.slices import run_soon
from onesec.engine.engine import Engine
from onesec.engine.lengths import LengthStore
from onesec.engine.sequence import Delta

from . import wire
from .floor import Floor
from .yielding import Yielding, process_clock, spent_ns

_SPOKEN = (InvalidRequest, DeadlineInfeasible, QueueFull, EngineClosed)  # their words are for users
_PROBE = "probe"  # an id that the door never gives
_PROBE_PROMPT = 16
_PROBE_STEPS = 16
_PROBE_AFTER_S = 1.0  # who was refused may ask again first, as was offered, and meets nobody


class Turns:
    """Until the door is gone: take messages, run a turn, send what it gave. `lengths`: where those
    of answers are kept, while there is nothing to do; `quiet` is held while a budget runs.

    A thread of its own hears the door, and answers whoever asks whether there is time while the
    engine computes: a refusal does not wait for a turn. What runs is taken back between two turns.
    """

    def __init__(
        self,
        end: wire.EngineEnd,
        engine: Engine,
        clock: Clock,
        floor: Floor,
        lengths: LengthStore | None,
        quiet: QuietCollector | None,
        *,
        probe_after_s: float = _PROBE_AFTER_S,
    ) -> None:
        self._end = end
        self._engine = engine
        self._clock = clock
        self._floor = floor
        self._lengths = lengths
        self._quiet = quiet
        self._probe_after_s = probe_after_s
        self._refused_ns: int | None = None  # since when it has refused, and computed nothing
        self._probed = 0  # tokens of a probe that runs
        self._yielding: Yielding | None = None
        self._cpu_clocks = [process_clock(os.getppid())]  # of who answers: the door is the parent
        self._news = Event()  # something was said, or the door is gone
        self._left: deque[str] = deque()  # ids that nobody waits for any more
        self._over = False
        self._failed: Exception | None = None

    def run(self) -> None:
        """Serve. Raises ConnectionError where the door goes while it is told something."""
        engine, floor = self._engine, self._floor
        Thread(target=self._hear, name="onesec-door", daemon=True).start()
        if isinstance(engine.backend, CpuBackend):
            backend = engine.backend
            self._yielding = Yielding(
                backend.use_threads, backend.num_threads, self._answering_ns, self._clock
            )
        with floor:
            while not self._over:
                self._news.clear()
                while self._left:
                    self._forget(self._left.popleft())
                if engine.has_work:
                    self._turn()
                elif not self._over:
                    self._rest()
        if self._failed is not None:
            raise self._failed

    def _rest(self) -> None:
        """Wait for work; where all that came was refused, no longer than until a probe is due."""
        left_s = None
        if self._refused_ns is not None:
            left_s = self._probe_after_s - (self._clock.now_ns() - self._refused_ns) / 1e9
            if left_s <= 0.0:
                self._refused_ns = None
                _probe(self._engine)
                return
        with self._floor.lent:
            self._news.wait(left_s)

    def _answering_ns(self) -> int:
        """CPU time of the door, and of the thread that plans."""
        return spent_ns(*self._cpu_clocks)

    def _hear(self) -> None:
        """Take what the door says until it is gone."""
        run_soon()
        self._cpu_clocks.append(time.pthread_getcpuclockid(get_ident()))
        try:
            while (messages := self._end.receive()) is not None:
                for message in messages:
                    if isinstance(message, wire.Abort):
                        self._left.append(message.id)
                    elif not isinstance(message, wire.Start):
                        self._answer(message)
                self._news.set()
        except Exception as error:
            self._failed = error
        finally:
            self._over = True
            self._news.set()

    def _answer(self, message: wire.Submit | wire.Measure) -> None:
        """Take one request, or refuse it."""
        if isinstance(message, wire.Submit):
            with suppress(Exception):  # it is told when the request is taken
                self._engine.prepare(message.request)
        with self._floor.guest:
            answer = self._obey(message)
            self._end.send([answer])  # before anything that it gains
            if self._engine.has_work:
                self._refused_ns = None
            elif self._refused_ns is None and _for_want_of_time(answer):
                self._refused_ns = self._clock.now_ns()

    def _turn(self) -> None:
        if self._yielding is not None:
            self._yielding.look()
        deltas = self._engine.step()
        self._probed += sum(len(d.tokens) for d in deltas if d.sequence_id == _PROBE)
        if self._probed >= _PROBE_STEPS:  # enough; an answer that is taken back teaches no length
            self._engine.abort(_PROBE)
            self._probed = 0
        gains = [_gained(delta) for delta in deltas if delta.sequence_id != _PROBE]
        self._end.send([*gains, self._load()])
        for delta in deltas:  # after it was told: nobody waits for what is learned
            if delta.finished:
                self._ended(delta.sequence_id)

    def _obey(self, message: wire.Submit | wire.Measure) -> wire.ToDoor:
        engine, request = self._engine, message.request
        try:
            if isinstance(message, wire.Measure):
                tokens = engine.prompt_room(request, spare_ms=message.spare_ms)
                return wire.Measured(request.id, tokens)
            plan = engine.add_request(request, stream=message.stream).plan
        except Exception as error:  # one request's trouble is that request's alone
            return wire.Refused(request.id, fault_of(error))
        if self._quiet is not None and request.budget.limited:
            self._quiet.hold(request.id)
        return wire.Accepted(request.id, plan.likely_ms, plan.predicted_ms)

    def _forget(self, request_id: str) -> None:
        self._engine.abort(request_id)
        self._ended(request_id)
        self._end.send([self._load()])

    def _ended(self, request_id: str) -> None:
        if self._quiet is not None:
            self._quiet.release(request_id)
        if self._lengths is not None and not self._engine.has_work:
            self._lengths.idle(lambda: self._engine.length, self._clock.now_ns())

    def _load(self) -> wire.Load:
        engine, slowness = self._engine, self._engine.latency.slowness
        return wire.Load(engine.waiting, engine.running, engine.kv_used_share, slowness)


def _for_want_of_time(answer: wire.ToDoor) -> bool:
    return isinstance(answer, wire.Refused) and answer.fault.code == DeadlineInfeasible.code


def _probe(engine: Engine) -> None:
    """An idle engine that refuses learns nothing of the machine, which may have been slow for a
    moment only: it answers a little something by itself."""
    count = min(_PROBE_PROMPT, engine.backend.context_length // 2)
    tokens = tuple(i % engine.backend.vocab_size for i in range(count))
    params = SamplingParams(max_tokens=2 * _PROBE_STEPS, ignore_eos=True)
    gear = engine.backend.gears[0].name
    engine.add_request(Request(id=_PROBE, prompt_tokens=tokens, params=params, gear=gear))


def fault_of(error: BaseException) -> wire.Fault:
    """An error as values. Only errors about a caller's own request keep their words: others could
    tell of paths and addresses. Of those stderr is told the place."""
    if not isinstance(error, _SPOKEN):
        place = "".join(traceback.format_tb(error.__traceback__))
        print(f"a request failed: {type(error).__name__}\n{place}", file=sys.stderr, flush=True)
        return wire.Fault(code="internal_error", message="The server failed at this request.")
    numbers: dict[str, float | None] = {
        name: value
        for name, value in vars(error).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    fault = wire.Fault(code=error.code, message=error.message, hint=error.hint, numbers=numbers)
    if isinstance(error, DeadlineInfeasible):
        fault.which = error.which
    return fault


def _gained(delta: Delta) -> wire.Gained:
    return wire.Gained(
        id=delta.sequence_id,
        tokens=delta.tokens,
        logprobs=delta.logprobs,
        top=delta.top,
        text_chars=delta.text_chars,
        finish_reason=delta.finish_reason,
        stop_reason=delta.stop_reason,
        ending=delta.ending or "",
        trace=delta.trace,
        fault=None if delta.error is None else fault_of(delta.error),
        prompt_logprobs=delta.prompt_logprobs,
        closing=delta.closing,
        hidden=b"" if delta.hidden is None else delta.hidden.astype("<f4").tobytes(),
        gear=delta.gear,
    )
