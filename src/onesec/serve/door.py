"""Door: from a parsed request to answers that grow: admission, tokens, the engine, text.

It must not know HTTP bodies or routes. What can be refused before tokenizing is refused there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from onesec.budget.latency import P50
from onesec.core.clock import Clock, MonotonicClock
from onesec.core.deadline import Budget
from onesec.core.errors import OneSecError
from onesec.core.request import Request, SamplingParams
from onesec.model.tokenizer import BYTES_PER_TOKEN
from onesec.output import GrowingText
from onesec.wording import Wording

from . import wire
from .deadlines import Lag, budget_of
from .errors import ApiError, from_error, infeasible, queue_full
from .limits import Call, ClientGone
from .metrics import Metrics
from .runner import Flow, Runner

Made = TypeVar("Made")
_THREADS = 2  # that tokenize; the library frees the interpreter lock for long texts
_USUAL_BYTES = 3  # of a request's body, a token: for what is offered before it was counted
_ANSWER = 8  # tokens of the shortest answer that is worth a plan
_log = logging.getLogger("onesec.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the server grants: milliseconds where a caller names none (None: unlimited), the most
    that it may name, tokens of an answer where it names no limit, requests that may be open."""

    default_ms: float | None = None
    cap_ms: float = 600_000.0
    max_tokens: int = 1024
    max_open: int = 72


@dataclass(slots=True)
class Choice:
    """One answer as it grows. `prompt_logprobs` once it is over."""

    index: int
    prompt_tokens: Sequence[int]
    text: GrowingText
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[list[tuple[int, float]]] = field(default_factory=list)
    last: wire.Gained | None = None

    def add(self, gained: wire.Gained) -> None:
        """Take in what one turn gave."""
        over = gained.finish_reason is not None
        self.text.add(gained.tokens, gained.text_chars, last=over)
        self.tokens += gained.tokens
        self.logprobs += gained.logprobs
        self.top += gained.top
        if over:
            self.last = gained


@dataclass(slots=True, kw_only=True)
class Wanted:
    """What one HTTP request asks of the engine: `count` answers to each prompt."""

    call: Call
    budget: Budget
    params: SamplingParams
    gear: str | None = None
    min_gear: str | None = None
    stream: bool = False
    count: int = 1
    app: str = ""


class Seats:
    """How many of the open requests one HTTP request is."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._count = 0

    def take(self, count: int = 1) -> None:
        """Take more places. Raises ApiError (queue_full, or the server is not ready)."""
        door = self._door
        _ = door.ready
        if door.held + count > door.terms.max_open:
            raise queue_full(door.held, door.terms.max_open)
        door.held += count
        self._count += count
        door.idle.clear()

    def leave(self) -> None:
        """Give them back. Harmless when called again."""
        self._door.held -= self._count
        self._count = 0
        if not self._door.held:
            self._door.idle.set()


class Answers:
    """All answers to one HTTP request, while they grow and after."""

    def __init__(self, door: Door, wanted: Wanted, flow: Flow, seats: Seats) -> None:
        self.wanted = wanted
        self._seats = seats
        self.choices: list[Choice] = []
        self._by_id: dict[str, Choice] = {}
        self._door = door
        self._flow = flow
        self._told = False

    def ask(self, prompts: Sequence[Sequence[int]]) -> None:
        """Hand all of it to the engine. Raises ApiError."""
        wanted, door = self.wanted, self._door
        for prompt in prompts:
            for number in range(wanted.count):
                index = len(self.choices)
                choice = Choice(index, prompt, GrowingText(door.wording.tokenizer.stream()))
                self.choices.append(choice)
                request_id = secrets.token_hex(16)  # never a client's: two may choose the same
                self._by_id[request_id] = choice
                self._flow.submit(
                    Request(
                        id=request_id,
                        prompt_tokens=tuple(prompt),
                        params=_seeded(wanted.params, number),
                        budget=door.lag.inside(wanted.budget),
                        arrival_ns=wanted.call.arrival_ns,
                        gear=wanted.gear,
                        min_gear=wanted.min_gear,
                        metadata={"app": wanted.app, "cache_salt": wanted.call.tenant},
                    ),
                    stream=wanted.stream,
                )

    async def accepted(self) -> None:
        """Wait until all are planned. Raises ApiError, with an offer for the whole way."""
        try:
            await self._flow.accepted()
        except ApiError as error:
            raise self._door.whole(error, self.wanted.budget) from None

    async def grow(self) -> tuple[Choice, wire.Gained]:
        """The next gain of any of them. Raises ApiError, ClientGone."""
        gained = await self._flow.gained()
        choice = self._by_id[gained.id]
        choice.add(gained)
        return choice, gained

    async def whole(self) -> None:
        """Wait for all of all answers. Raises ApiError, ClientGone."""
        while any(choice.last is None for choice in self.choices):
            await self.grow()

    def elapsed_ms(self) -> float:
        """Since the first byte of the request."""
        return (self._door.clock.now_ns() - self.wanted.call.arrival_ns) / 1e6

    def sent(self) -> None:
        """The last byte is out: learn from it, count it, log a line of it."""
        self._told = True
        elapsed_ms = self.elapsed_ms()
        for choice in self.choices:
            assert choice.last is not None
            assert choice.last.trace is not None
            trace = choice.last.trace
            met = met_by(choice, self.wanted.budget, elapsed_ms)
            self._door.metrics.answered(
                trace, budget=self.wanted.budget, elapsed_ms=elapsed_ms, met=met
            )
            _log.info(
                "%s %d prompt=%d answer=%d elapsed_ms=%.1f budget_ms=%s met=%s gears=%s ending=%s",
                self.wanted.call.id,
                choice.index,
                trace.prompt_tokens,
                trace.answer_tokens,
                elapsed_ms,
                self.wanted.budget.total_ms,
                met,
                "+".join(f"{gear}:{count}" for gear, count in trace.gears.items()) or "-",
                trace.ending,
            )
        engine_ms = max(c.last.trace.elapsed_ms for c in self.choices if c.last and c.last.trace)
        self._door.lag.observe(elapsed_ms - engine_ms)

    def close(self) -> None:
        """Take back what still runs, and leave."""
        self._flow.close()
        self._seats.leave()
        if not self._told and self.wanted.call.gone:
            self._told = True
            tokens = sum(len(choice.tokens) for choice in self.choices)
            self._door.metrics.cancelled(tokens)
            _log.info("%s left after %d tokens", self.wanted.call.id, tokens)


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
        self.model = model
        self.created = int(time.time())
        self.terms = terms
        self.clock = clock or MonotonicClock()
        self.lag = Lag()
        self.metrics = Metrics(model)
        self.draining = False
        self.held = 0  # requests that were let in and are not over
        self.idle = asyncio.Event()
        self.idle.set()
        self._wording: Wording | None = None
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="onesec-text")
        watch = self.metrics.watch
        watch("requests_running", lambda: runner.load.running)
        watch("requests_waiting", lambda: runner.load.waiting)
        watch("requests_open", lambda: self.held)
        watch("kv_cache_usage", lambda: runner.load.kv_used_share)

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
        if self.draining:
            raise ApiError("draining", "The server is going down.", hint="Ask another one.")
        if self.runner.state == "gone":
            raise ApiError("engine_closed", "The engine process ended.")
        if self.runner.ready is None or self._wording is None:
            raise ApiError("loading", "The model is being loaded.")
        return self.runner.ready

    def seats(self) -> Seats:
        """A place for a request, before anything is spent on it. Raises ApiError."""
        seats = Seats(self)
        seats.take()
        return seats

    def budget(self, call: Call, deadline_ms: float | None, ttft_ms: float | None) -> Budget:
        """The budget of a request. Raises ApiError."""
        if call.headers.get("x-stainless-retry-count", "0") != "0":
            self.metrics.retried()
        return budget_of(
            deadline_ms,
            ttft_ms,
            call.headers,
            default_ms=self.terms.default_ms,
            cap_ms=self.terms.cap_ms,
        )

    def check_time(self, call: Call, budget: Budget) -> None:
        """Refuse, from the body's size alone, what cannot be in time. Raises ApiError."""
        latency = self.runner.latency
        if budget.total_ms is None or latency is None:
            return
        gear, size = self.ready.gears[0], len(call.body)
        spent_ms = (self.clock.now_ns() - call.arrival_ns) / 1e6
        least_ms = latency.prefill_ms(gear, size // BYTES_PER_TOKEN, quantile=P50)
        if spent_ms + least_ms < budget.total_ms:
            return
        tokens = min(size // _USUAL_BYTES, self.ready.context_length)
        need_ms = latency.prefill_ms(gear, tokens) + latency.decode_ms(gear, tokens, _ANSWER)
        raise infeasible(budget.total_ms, self.lag.outside(need_ms), f"a body of {size} bytes")

    async def in_thread(self, call: Call, work: Callable[[], Made]) -> Made:
        """Run what reads text in a thread, unless the client has left by then. Raises ApiError."""

        def run() -> Made:
            if call.gone:
                raise ClientGone
            return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except OneSecError as error:
            raise from_error(error) from None

    async def answers(
        self, wanted: Wanted, prompts: Sequence[Sequence[int]], seats: Seats
    ) -> Answers:
        """Have prompts answered: returns once all are planned. Who gets them closes them, and with
        them the seats. Raises ApiError, ClientGone."""
        flow = self.runner.flow()
        answers = Answers(self, wanted, flow, seats)

        def left() -> None:
            flow.close()
            flow.put(ClientGone())

        wanted.call.when_gone(left)
        try:
            seats.take(len(prompts) * wanted.count - 1)
            answers.ask(prompts)
            await answers.accepted()
        except BaseException:
            answers.close()
            raise
        return answers

    def whole(self, error: ApiError, budget: Budget) -> ApiError:
        """A refusal of the engine, which was given less than the budget, in a caller's numbers."""
        if error.feasible_ms is None or error.budget_ms is None:
            return error
        asked = budget.total_ms if budget.total_ms is not None else budget.ttft_ms
        if budget.ttft_ms is not None and error.budget_ms <= budget.ttft_ms:
            asked = budget.ttft_ms
        offer = max(self.lag.outside(error.feasible_ms), (asked or 0.0) + 1.0)
        return infeasible(asked or 0.0, offer)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def met_by(choice: Choice, budget: Budget, elapsed_ms: float) -> bool | None:
    """Whether an answer kept its budget, if everything was sent by `elapsed_ms`."""
    assert choice.last is not None
    assert choice.last.trace is not None
    trace = choice.last.trace
    if budget.total_ms is None and budget.ttft_ms is None:
        return None
    some = bool(choice.tokens) or trace.ending == "natural"
    in_time = budget.total_ms is None or elapsed_ms <= budget.total_ms
    first = budget.ttft_ms is None or (
        trace.ttft_ms is not None and trace.ttft_ms <= budget.ttft_ms
    )
    return some and in_time and first


def _seeded(params: SamplingParams, number: int) -> SamplingParams:
    """The values of the choice of that number: each draws differently, and repeatably."""
    if params.seed is None or number == 0:
        return params
    return replace(params, seed=(params.seed + number) % 2**63)
