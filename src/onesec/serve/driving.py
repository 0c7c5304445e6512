"""Driving: an application's Asks, each completed as a request of its own over the shared engine.

Many applications run at once. It must not know what an application does between two Asks, or HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

from onesec.apps import Ask, Steps
from onesec.apps.ask import granted, greedy, without_refused
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, OneSecError
from onesec.core.fitted import FitReport
from onesec.prepare import Preparation, Prepared

from .answers import Answers, Wanted
from .app_schema import Common
from .door import Door, Seats
from .errors import ApiError
from .limits import Call
from .spans import Spans, planned
from .stream import growing

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a completion that the caller reads, as it comes, and the number of that completion;
    without text: nothing came for long, and work goes on. `onesec`: its plan, or its tokens, where
    the caller wants to be told."""

    part: int
    text: str
    onesec: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What an application returned, or DeadlineInfeasible."""

    value: Any


@dataclass(frozen=True, slots=True)
class Said:
    """A finished completion, as applications know it."""

    text: str
    ending: str
    fitted: FitReport | None


class Counting:
    """The Model that applications count and plan with. They never chat through it."""

    def __init__(self, door: Door) -> None:
        self.context_length = door.ready.context_length
        self._tokenizer = door.wording.tokenizer
        self._latency = door.latency
        self._gear = door.ready.gears[0]

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text))

    def predict_ms(self, prompt_tokens: int, answer_tokens: int) -> float:
        prefill_ms = self._latency.prefill_ms(self._gear, prompt_tokens)
        return prefill_ms + self._latency.decode_ms(self._gear, prompt_tokens, answer_tokens - 1)

    def chat(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("an application is driven step by step here")


class Driver:
    """Completes what an application asks for, one Ask after the other."""

    def __init__(self, door: Door, call: Call, model: Counting, asked: Common) -> None:
        self._door = door
        self._call = call
        self._model = model
        self._asked = asked
        self.endings: list[str] = []
        self.gears: Counter[str] = Counter()
        self.told = bool(asked.stream_options and asked.stream_options.include_onesec)
        self.stories: list[dict[str, Any]] = []  # of the completions: when, and their events

    async def run(self, steps: Steps[Any]) -> Done:
        """The application's result. Raises ApiError, ClientGone."""
        async with aclosing(self.parts(steps, stream=False)) as parts:
            async for part in parts:
                if isinstance(part, Done):
                    return part
        raise AssertionError("an application ends")

    async def parts(
        self, steps: Steps[Any], *, stream: bool = True
    ) -> AsyncGenerator[Piece | Done]:
        """What the caller reads as it comes, and the result at last. Raises ApiError, ClientGone.
        Who does not read to the end closes it."""
        reply: Said | OneSecError | None = None
        try:
            while True:
                outcome = await self._door.in_thread(self._call, partial(_advance, steps, reply))
                if isinstance(outcome, Done):
                    yield outcome
                    return
                try:
                    async with aclosing(self._complete(outcome, stream)) as coming:
                        async for found in coming:
                            if isinstance(found, Said):
                                reply = found
                            else:
                                yield found
                except OneSecError as error:
                    reply = error
        finally:
            steps.close()

    async def _complete(self, ask: Ask, stream: bool) -> AsyncGenerator[Piece | Said]:
        """One completion: its text as it comes, where it is shown, and what it was. Raises what an
        application may live with as OneSecError."""
        answers = await self._begun(ask, stream=stream and ask.shown)
        [choice] = answers.choices
        try:
            begin_ms = (answers.wanted.begin_ns - self._call.arrival_ns) / 1e6
            if stream:
                part, spans = len(self.endings), Spans(choice, self._door.runner.confidence)
                if self.told:
                    yield Piece(part, "", planned(choice, begin_ms))
                async for _, grown in growing(answers):
                    piece = choice.take() if grown is not None and ask.shown else ""
                    if piece or grown is None:
                        tokens = {"tokens": spans.cut(piece)} if self.told and piece else None
                        yield Piece(part, piece, tokens)
            else:
                await answers.whole()
            answers.sent()
        finally:
            answers.close()
        assert choice.last is not None
        assert choice.last.trace is not None
        trace = choice.last.trace
        self.gears.update(trace.gears)
        self.stories.append({"begin_ms": round(begin_ms, 3), "events": trace.events})
        yield Said(choice.text.text, choice.last.ending, choice.fitted)
        self.endings.append(choice.last.ending)

    async def _begun(self, ask: Ask, *, stream: bool) -> Answers:
        door, call, asked = self._door, self._call, self._asked
        begin_ns = door.clock.now_ns()
        budget = await door.in_thread(call, lambda: _kept(lambda: granted(self._model, ask)))
        wanted = Wanted(
            call=call,
            budget=_raised(budget),
            params=replace(greedy(ask), logprobs=0) if asked.logprobs else greedy(ask),
            gear=asked.gear,
            min_gear=asked.min_gear,
            policy=asked.policy,
            fit=ask.fit,
            stream=stream,
            arrival_ns=begin_ns,
        )
        tokens = 0
        try:
            read = await door.prepared(wanted, lambda p: _kept(lambda: _read(ask, p)), app=ask.app)
            prompt = _raised(read)
            tokens = len(prompt.tokens)
            return await door.answers(wanted, [prompt], Seats(door, call.tenant))
        except ApiError as error:
            if tokens and error.code == "context_length_exceeded":
                raise ContextLengthExceeded(
                    prompt_tokens=tokens, context_length=self._model.context_length
                ) from None
            if error.feasible_ms is None:
                raise
            raise DeadlineInfeasible(
                budget_ms=wanted.budget.total_ms or 0.0, feasible_ms=error.feasible_ms
            ) from None


def _read(ask: Ask, preparation: Preparation) -> Prepared:
    """An Ask's prompt. Raises OneSecError."""
    try:
        return preparation.messages(ask.messages)
    except OneSecError as error:
        bare = without_refused(ask, error)
        return preparation.messages(bare.messages)


def _kept(work: Callable[[], Made]) -> Made | OneSecError:
    """What comes of it, errors that an application may live with among it."""
    try:
        return work()
    except OneSecError as error:
        return error


def _raised(found: Made | OneSecError) -> Made:
    if isinstance(found, OneSecError):
        raise found
    return found


def _advance(steps: Steps[Any], reply: Said | OneSecError | None) -> Ask | Done:
    """One step of an application, to its next Ask or its end."""
    try:
        if reply is None:
            return next(steps)
        if isinstance(reply, OneSecError):
            return steps.throw(reply)
        return steps.send(reply)
    except StopIteration as done:
        return Done(done.value)
    except DeadlineInfeasible as refusal:
        return Done(refusal)
