"""Door: what all routes share: who may come in, what can be refused early, and the way to answers.

It must not know HTTP bodies or routes. What can be refused before tokenizing is refused there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from onesec.budget.latency import P50, LatencyModel
from onesec.budget.policy import POLICIES
from onesec.core.clock import Clock, MonotonicClock
from onesec.core.cues import Cues
from onesec.core.deadline import Budget
from onesec.core.errors import ContextLengthExceeded, OneSecError
from onesec.core.request import Request
from onesec.machine import without_folders
from onesec.prepare import Preparation, Prepared
from onesec.wording import Wording

from . import wire
from .answers import Answers, Wanted, stalled
from .deadlines import DoorTime, budget_of
from .errors import ApiError, crowded, from_error, infeasible, queue_full
from .limits import Call, ClientGone
from .metrics import Metrics
from .newest import Crowded, Newest
from .recent import Done, Recent
from .runner import Runner
from .shares import Shares

Made = TypeVar("Made")
_THREADS = 2  # that tokenize; the library frees the interpreter lock for long texts
_SHORT_BYTES = 2048  # of a body whose text is sooner read than handed to a thread
_USUAL_BYTES = 3  # of a request's body, a token: for what is offered before it was counted
_ANOTHER_TIME = frozenset({422, 429, 503})  # statuses of refusals for want of time or room
_ANSWER = 8  # tokens of the shortest answer that is worth a plan
_log = logging.getLogger("onesec.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the server grants: milliseconds where a caller names none (None: unlimited), the most
    that it may name, tokens of an answer where it names no limit, requests that may be open,
    whether there is a page at `/`."""

    default_ms: float | None = None
    cap_ms: float = 600_000.0
    max_tokens: int = 1024
    max_open: int = 72
    page: bool = True


class Seats:
    """How many of the open requests one HTTP request is."""

    def __init__(self, door: Door, key: str) -> None:
        self._door = door
        self._key = key
        self._count = 0

    def take(self, count: int = 1) -> None:
        """Take more places. Raises ApiError (queue_full, or the server is not ready)."""
        door = self._door
        _ = door.ready
        if not door.shares.take(self._key, count, now_ns=door.clock.now_ns()):
            raise queue_full(door.held, door.terms.max_open)
        self._count += count
        door.idle.clear()

    def room(self) -> int:
        """How many places may be taken now."""
        return self._door.shares.room(self._key, now_ns=self._door.clock.now_ns())

    def leave(self) -> None:
        """Give them back. Harmless when called again."""
        self._door.shares.leave(self._key, self._count)
        self._count = 0
        if not self._door.held:
            self._door.idle.set()


class Door:
    """What all routes share. `wording` is there once the model is known to be."""

    def __init__(
        self,
        runner: Runner,
        *,
        model: str,
        terms: Terms,
        clock: Clock | None = None,
    ) -> None:
        self.runner = runner
        self.model = without_folders(model)
        self.names = (self.model, model)  # that a request may have for it
        self.created = int(time.time())
        self.terms = terms
        self.clock = clock or MonotonicClock()
        self.time = DoorTime()
        self.metrics = Metrics(self.model)
        self.recent = Recent(self.clock.now_ns())
        self.draining = False
        self.shares = Shares(terms.max_open)
        self.newest = Newest(self.clock)
        self.idle = asyncio.Event()
        self.idle.set()
        self._wording: Wording | None = None
        self._longest = 0  # tokens of what the engine has read, the longest of all
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="onesec-text")
        watch = self.metrics.watch
        watch("requests_running", lambda: runner.load.running)
        watch("requests_waiting", lambda: runner.load.waiting)
        watch("requests_open", lambda: self.held)
        watch("queue_tokens", lambda: runner.queued_tokens)
        watch("kv_cache_usage", lambda: runner.load.kv_used_share)
        watch("ready", lambda: float(runner.state == "ready" and not self.draining))

    @property
    def held(self) -> int:
        """Requests that were let in and are not over."""
        return self.shares.held

    @property
    def wording(self) -> Wording:
        """The model's tokenizer and template. Raises ApiError while it loads."""
        if self._wording is None:
            raise ApiError("loading", "The model is being loaded.")
        return self._wording

    @wording.setter
    def wording(self, wording: Wording) -> None:
        self._wording = wording

    @property
    def ready(self) -> wire.Ready:
        """What the engine said of itself. Raises ApiError where it cannot be asked."""
        if self.runner.state == "gone":
            raise ApiError("engine_closed", "The engine process ended.")
        if self.runner.ready is None or self._wording is None:
            raise ApiError("loading", "The model is being loaded.")
        return self.runner.ready

    def check_open(self) -> None:
        """Raises ApiError where no new request is taken. Those that were taken go on."""
        if self.draining:
            raise ApiError("draining", "The server is going down.", hint="Ask another one.")
        _ = self.ready

    @property
    def latency(self) -> LatencyModel:
        """What the engine knew of this machine when it was ready. Raises ApiError."""
        _ = self.ready
        return self.runner.latency

    @property
    def slowness(self) -> float:
        """How many times as long as `latency` says the engine's work takes now, at least once. For
        offers alone: who is refused teaches the engine nothing, and would be refused for ever."""
        return max(1.0, self.runner.load.slowness)

    def seats(self, call: Call, *, timed: bool = True) -> Seats:
        """A place for a request, before anything is spent on it; `timed`: it may have a deadline.
        Raises ApiError."""
        self.check_open()
        seats = Seats(self, call.tenant)
        try:
            seats.take()
        except ApiError as error:
            error.timed = timed
            if timed:
                error.patience_ms = self.budget(call).total_ms
            raise
        return seats

    def budget(
        self,
        call: Call,
        deadline_ms: float | None = None,
        ttft_ms: float | None = None,
        tpot_ms: float | None = None,
    ) -> Budget:
        """The budget of a request. Raises ApiError."""
        if call.headers.get("x-stainless-retry-count", "0") != "0":
            self.metrics.retried()
        return budget_of(
            deadline_ms,
            ttft_ms,
            call.headers,
            tpot_ms=tpot_ms,
            default_ms=self.terms.default_ms,
            cap_ms=self.terms.cap_ms,
        )

    def check_time(self, wanted: Wanted) -> None:
        """Refuse, from the prompts' sizes alone, what cannot be in time: where not even that can be
        read which no cache holds, or the time of what may be shortened is over. Raises ApiError."""
        call, budget, params = wanted.call, wanted.budget, wanted.params
        if budget.total_ms is None or wanted.best_effort:
            return
        latency, gears, context = self.latency, self.ready.gears, self.ready.context_length
        asked = wanted.gear or wanted.min_gear
        gear = asked if asked in gears else gears[0]  # others are refused as unknown
        spent_ms = (self.clock.now_ns() - wanted.begin_ns) / 1e6
        sizes = [size for size in wanted.sizes if size < context]  # others are refused as too long
        cached = 0
        if not params.pooled:
            sizes = sorted(sizes)[-1:]  # whose beginning the other prompts may share
            cached = 0 if params.prompt_logprobs else self._longest
        least_ms = 0.0
        if wanted.fit == "none":
            least_ms = sum(latency.prefill_ms(gear, size - cached, quantile=P50) for size in sizes)
        if spent_ms + least_ms < budget.total_ms:
            return
        more = max(1.0, len(call.body) / _USUAL_BYTES / max(1, sum(sizes)))  # than at least
        usual = [min(round(more * size), context) for size in sizes or [1]]
        need_ms = sum(latency.prefill_ms(gear, tokens) for tokens in usual)
        if not params.pooled:
            need_ms += latency.decode_ms(gear, max(usual), _ANSWER)
        need_ms = POLICIES[wanted.policy].budget_for(spent_ms + self.slowness * need_ms)
        offer = max(self.time.outside(need_ms, spent_ms), math.floor(budget.total_ms) + 1.0)
        raise infeasible(budget.total_ms, offer, f"a body of {len(call.body)} bytes")

    def has_read(self, tokens: int) -> None:
        """The engine took a prompt of so many tokens, or has written it on to that length: no more
        than that of another prompt can be cached."""
        self._longest = max(self._longest, tokens)

    async def in_thread(
        self, call: Call, work: Callable[[], Made], *, short: bool | None = None
    ) -> Made:
        """Run what reads text in a thread, unless the client has left by then, or it is `short` (by
        default: what came with a short body). Raises ApiError."""

        def run() -> Made:
            if call.gone:
                raise ClientGone
            return work()

        try:
            if len(call.body) <= _SHORT_BYTES if short is None else short:
                return run()
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except OneSecError as error:
            raise from_error(error) from None

    async def prepared(
        self, wanted: Wanted, make: Callable[[Preparation], Made], *, app: str = ""
    ) -> Made:
        """What `make` prepares of prompts, made to fit the time where that is wanted. Raises
        ApiError, ClientGone."""
        try:
            if await self.newest.turn(wanted.budget.total_ms):
                self.check_time(wanted)  # it has less of it by now
        except Crowded as crowd:
            raise crowded(crowd.waiting).under(wanted.budget) from None
        loop, budget = asyncio.get_running_loop(), self.time.inside(wanted.budget)

        async def ask(request: Request, spare_ms: float) -> int:
            flow = self.runner.flow()
            try:
                async with asyncio.timeout(wanted.patience_s(self.clock.now_ns())):
                    return await flow.room(request, spare_ms)
            except TimeoutError:
                raise stalled().under(wanted.budget) from None
            finally:
                flow.close()

        def room(tokens: Sequence[int], cues: Cues, spare_ms: float) -> int:
            self.check_time(wanted)  # this thread may have been waited for, and text takes its time
            request = wanted.request(Prepared(tuple(tokens), cues), budget)
            return asyncio.run_coroutine_threadsafe(ask(request, spare_ms), loop).result()

        preparation = Preparation(
            self.wording,
            self.clock,
            context_length=self.ready.context_length,
            fitting=wanted.fit,
            deadline=budget.deadline(wanted.begin_ns),
            room=room,
            app=app,
        )
        # Who waits for the engine must not keep this thread from hearing it.
        short = None if wanted.fit == "none" else False

        def work() -> Made:
            self.check_time(wanted)
            return make(preparation)

        try:
            return await self.in_thread(wanted.call, work, short=short)
        except ClientGone:
            self.left(wanted)
            raise

    async def answers(self, wanted: Wanted, prompts: Sequence[Prepared], seats: Seats) -> Answers:
        """Have prompts answered: returns once all are planned. Who gets them closes them, and with
        them the seats, of which one was taken. Raises ApiError, ClientGone."""
        count, most = len(prompts) * wanted.count, self.terms.max_open
        if count > most:
            raise ApiError(
                "invalid_request", f"{count} answers at once: this server has {most} places."
            )
        self.check_length(prompts)  # each is handed on once for each of its answers
        flow = self.runner.flow()
        answers = Answers(self, wanted, flow, seats)

        def left() -> None:
            flow.close()
            flow.put(ClientGone())

        wanted.call.when_gone(left)
        try:
            seats.take(count - 1)
            answers.ask(prompts)
            await answers.accepted()
        except BaseException as error:
            answers.close()
            if isinstance(error, ApiError):
                error.under(wanted.budget)
            raise
        return answers

    def check_length(self, prompts: Sequence[Prepared]) -> None:
        """Refuse prompts of which one does not fit the context. Raises ApiError."""
        longest, context = max(len(prompt.tokens) for prompt in prompts), self.ready.context_length
        if longest >= context:
            too_long = ContextLengthExceeded(prompt_tokens=longest, context_length=context)
            raise from_error(too_long)

    def whole(self, error: ApiError, budget: Budget, entered_ms: float) -> ApiError:
        """A refusal of the engine, which was given less than the budget, in a caller's numbers."""
        if error.feasible_ms is None or error.budget_ms is None:
            return error
        if error.which == "tpot":  # which the door takes nothing of
            return error
        asked = (budget.ttft_ms if error.which == "ttft" else budget.total_ms) or 0.0
        offer = self.time.outside(error.feasible_ms, entered_ms)
        return infeasible(asked, max(offer, math.floor(asked) + 1.0), which=error.which)

    def granted(self, error: ApiError) -> ApiError:
        """A refusal, without its offer where a caller would not be granted that."""
        need_ms, most_ms = error.feasible_ms, self.terms.cap_ms
        if need_ms is None or error.which != "total" or need_ms <= most_ms:
            return error
        words = f"This needs {need_ms:g} ms; this server grants {most_ms:g} ms at most."
        return ApiError(error.code, words, hint="Ask for less.", budget_ms=error.budget_ms)

    def over(self, call: Call, ending: str, *, timed: bool, **more: Any) -> None:
        """Remember that an HTTP request is over, unless that was told, and count what became of its
        deadline; `timed`: it has one, as far as is known; `more` as in Done."""
        if call.over:
            return
        call.over = True
        now_ns = self.clock.now_ns()
        elapsed_ms = (now_ns - call.arrival_ns) / 1e6
        done = Done(path=call.path, elapsed_ms=elapsed_ms, ending=ending, **more)
        self.recent.add(done, now_ns)
        if not done.refused and ending != "left":
            self.metrics.whole(elapsed_ms)
        if timed:
            self.metrics.over(ending, met=done.met)

    def left(self, wanted: Wanted, tokens: int = 0) -> None:
        """Count, and remember, that a client left after so many tokens of its answers."""
        self.metrics.cancelled(tokens)
        if not wanted.arrival_ns:
            budget_ms, timed = wanted.budget.total_ms, wanted.budget.limited
            self.over(wanted.call, "left", timed=timed, budget_ms=budget_ms, tokens=tokens)
        _log.info("%s left after %d tokens", wanted.call.id, tokens)

    def refused(self, call: Call, error: ApiError) -> None:
        """Count a refusal, and remember it where a later or slower request would be taken."""
        self.metrics.refused(error.code)
        _log.info("%s refused: %s", call.id, error.code)
        if error.status in _ANOTHER_TIME:
            budget_ms = error.budget_ms or error.patience_ms
            self.over(call, error.code, timed=error.timed, budget_ms=budget_ms, refused=True)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
