"""Answers: all that one HTTP request wants of the engine, while it grows and after.

It must not know HTTP bodies or routes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from onesec.core.deadline import Budget
from onesec.core.fitted import FitReport, Fitting
from onesec.core.request import PolicyName, Request, SamplingParams
from onesec.output import GrowingText
from onesec.prepare import Prepared

from . import wire
from .deadlines import GRACE_MS
from .errors import ApiError, worded
from .forcing import ForcedText
from .limits import Call
from .tools import ToolText

if TYPE_CHECKING:
    from .door import Door, Seats
    from .runner import Flow

_log = logging.getLogger("onesec.serve")


@dataclass(slots=True)
class Choice:
    """One answer as it grows. `prompt_logprobs` once it is over."""

    index: int
    prompt_tokens: Sequence[int]
    text: GrowingText
    fitted: FitReport | None = None  # what was taken from the prompt, if anything was
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[list[tuple[int, float]]] = field(default_factory=list)
    gears: list[str] = field(default_factory=list)
    at_ms: list[float] = field(default_factory=list)  # when each token came, since the first byte
    plan: wire.Accepted | None = None
    last: wire.Gained | None = None
    tools: ToolText | ForcedText | None = None

    @property
    def finish_reason(self) -> str:
        """OpenAI's word for the end."""
        assert self.last is not None
        called = self.tools is not None and self.tools.calls
        return "tool_calls" if called else self.last.finish_reason or "stop"

    def take(self) -> str:
        """Text that may be shown and was not taken yet."""
        piece = self.text.take()
        if self.tools is None:
            return piece
        piece = self.tools.push(piece)
        return piece if self.last is None else piece + self.tools.end()

    def add(self, gained: wire.Gained, at_ms: float) -> None:
        """Take in what one turn gave, and when."""
        over = gained.finish_reason is not None
        self.text.add(gained.tokens, gained.text_chars, closing=gained.closing)
        self.tokens += gained.tokens
        self.logprobs += gained.logprobs
        self.top += gained.top
        self.gears += [gained.gear] * len(gained.tokens)
        self.at_ms += [at_ms] * len(gained.tokens)
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
    policy: PolicyName = "balanced"
    best_effort: bool = False
    background: bool = False
    fit: Fitting = "none"
    stream: bool = False
    count: int = 1
    tools: Callable[[], ToolText | ForcedText] | None = None  # that read an answer's calls
    sizes: tuple[int, ...] = ()  # tokens that each prompt has at least, known before it is read
    arrival_ns: int = 0  # from when the budget runs; 0: the request's first byte

    @property
    def begin_ns(self) -> int:
        """The instant from which the budget runs."""
        return self.arrival_ns or self.call.arrival_ns

    def request(self, prepared: Prepared, budget: Budget, number: int = 0) -> Request:
        """The answer of that number to a prompt, with what the engine may use of the budget."""
        return Request(
            id=secrets.token_hex(16),  # never a client's: two may choose the same
            prompt_tokens=prepared.tokens,
            params=_seeded(self.params, number),
            budget=budget,
            arrival_ns=self.begin_ns,
            gear=self.gear,
            min_gear=self.min_gear,
            cues=prepared.cues,
            fitted=prepared.report,
            continues=prepared.continues,
            marked=self.tools is not None,
            policy=self.policy,
            best_effort=self.best_effort,
            background=self.background,
            metadata={"cache_salt": self.call.tenant},
        )

    def patience_s(self, now_ns: int) -> float | None:
        """How long the engine is waited for: it ends every request by its deadline, if it lives."""
        if self.budget.total_ms is None:
            return None
        elapsed_ms = (now_ns - self.begin_ns) / 1e6
        return max(0.0, self.budget.total_ms + GRACE_MS - elapsed_ms) / 1e3


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
        self._entered_ms = 0.0

    def ask(self, prompts: Sequence[Prepared]) -> None:
        """Hand all of it to the engine. Raises ApiError."""
        wanted, door = self.wanted, self._door
        budget = door.time.inside(wanted.budget)
        self._entered_ms = self.elapsed_ms()
        if not wanted.arrival_ns:
            door.time.entry.observe(self._entered_ms)
        for prompt in prompts:
            for number in range(wanted.count):
                index = len(self.choices)
                # Calls of tools stand between tokens that are not shown otherwise.
                text = door.wording.tokenizer.stream(
                    skip_special=wanted.tools is None, begun=prompt.continues
                )
                choice = Choice(index, prompt.tokens, GrowingText(text), prompt.report)
                if wanted.tools is not None:
                    choice.tools = wanted.tools()
                self.choices.append(choice)
                request = wanted.request(prompt, budget, number)
                self._by_id[request.id] = choice
                self._flow.submit(request, stream=wanted.stream)

    async def accepted(self) -> None:
        """Wait until all are planned. Raises ApiError, with an offer for the whole way."""
        try:
            async with asyncio.timeout(self._patience_s()):
                await self._flow.accepted()
            for request_id, choice in self._by_id.items():
                choice.plan = self._flow.plans.get(request_id)
                self._door.has_read(len(choice.prompt_tokens))
        except TimeoutError:
            raise stalled() from None
        except ApiError as error:
            raise self._door.whole(error, self.wanted.budget, self._entered_ms) from None

    async def grow(self) -> tuple[Choice, wire.Gained]:
        """The next gain of any of them. Raises ApiError, ClientGone."""
        try:
            async with asyncio.timeout(self._patience_s()):
                gained = await self._flow.gained()
        except TimeoutError:
            raise stalled() from None
        choice = self._by_id[gained.id]
        choice.add(gained, (self._door.clock.now_ns() - self.wanted.call.arrival_ns) / 1e6)
        self._door.has_read(len(choice.prompt_tokens) + len(choice.tokens))
        return choice, gained

    async def whole(self) -> None:
        """Wait for all of all answers. Raises ApiError, ClientGone."""
        while any(choice.last is None for choice in self.choices):
            await self.grow()

    def _patience_s(self) -> float | None:
        return self.wanted.patience_s(self._door.clock.now_ns())

    def elapsed_ms(self) -> float:
        """Since the budget runs."""
        return (self._door.clock.now_ns() - self.wanted.begin_ns) / 1e6

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
        if not self.wanted.call.held_up:  # that time is not the door's
            self._door.time.exit.observe(max(0.0, elapsed_ms - engine_ms))
        self._remember(elapsed_ms)

    def _remember(self, elapsed_ms: float) -> None:
        """Tell the door of the whole HTTP request, unless these are only a part of it."""
        wanted, choices = self.wanted, self.choices
        if wanted.arrival_ns:
            return
        kept = [met_by(choice, wanted.budget, elapsed_ms) for choice in choices]
        self._door.over(
            wanted.call,
            worst_of([choice.last.ending for choice in choices if choice.last is not None]),
            timed=wanted.budget.limited,
            budget_ms=wanted.budget.total_ms,
            met=None if None in kept else all(kept),
            tokens=sum(len(choice.tokens) for choice in choices),
        )

    def failed(self, caught: Exception) -> ApiError:
        """It ended with an error after it had begun: counted, and remembered, as a refusal is."""
        self._told = True
        error = worded(caught, self.wanted.call.id)
        self._door.refused(self.wanted.call, error)
        return error

    def close(self) -> None:
        """Take back what still runs, and leave."""
        self._flow.close()
        self._seats.leave()
        if not self._told and self.wanted.call.gone:
            self._told = True
            tokens = sum(len(choice.tokens) for choice in self.choices)
            self._door.left(self.wanted, tokens)


def stalled() -> ApiError:
    """The engine did not say what it owed."""
    return ApiError("engine_closed", "The engine does not answer.", hint="Try again shortly.")


def worst_of(endings: Sequence[str]) -> str:
    """The ending that says most against a reply of several answers; "" where there is none.

    >>> worst_of(["natural", "landed"])
    'landed'
    """
    return next((word for word in ("cut", "landed", "natural") if word in endings), "")


def met_by(choice: Choice, budget: Budget, elapsed_ms: float) -> bool | None:
    """Whether an answer kept its budget, if everything was sent by `elapsed_ms`."""
    assert choice.last is not None
    assert choice.last.trace is not None
    trace = choice.last.trace
    if not budget.limited:
        return None
    some = bool(choice.tokens) or trace.ending == "natural"
    in_time = budget.total_ms is None or elapsed_ms <= budget.total_ms
    first = budget.ttft_ms is None or (
        trace.ttft_ms is not None and trace.ttft_ms <= budget.ttft_ms
    )
    rhythm = budget.tpot_ms is None or trace.tpot_ms is None or trace.tpot_ms <= budget.tpot_ms
    return some and in_time and first and rhythm


def _seeded(params: SamplingParams, number: int) -> SamplingParams:
    """The values of the choice of that number: each draws differently, and repeatably."""
    if params.seed is None or number == 0:
        return params
    return replace(params, seed=(params.seed + number) % 2**63)
