"""Applications: POST /v1/apps/...: the four applications, whole or as server-sent events.

It must not know how an application's completions come about; see driving.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from onesec.apps import Answer, App, Entry, Model, Steps, Summarize, Support, Translate
from onesec.apps.base import of_the_whole
from onesec.apps.support import Turn
from onesec.core.deadline import Budget, Deadline
from onesec.core.errors import DeadlineInfeasible

from .answers import worst_of
from .app_schema import AnswerRequest, Common, SummarizeRequest, SupportRequest, TranslateRequest
from .door import Door
from .driving import Counting, Done, Driver, Piece
from .errors import ApiError, from_error, worded
from .generation import check_gears, check_model, json_response, told
from .limits import CALL, Call, ClientGone
from .schema import parse
from .stream import DONE, PING, EventStream, event

Starting = Callable[[Model, Any, dict[str, Any]], tuple[App, Callable[[Deadline], Steps[Any]]]]


def _support(model: Model, asked: SupportRequest, options: dict[str, Any]) -> Any:
    entries = [Entry(n.id or str(i), n.text, n.title) for i, n in enumerate(asked.knowledge)]
    desk = Support(model, entries, **options)
    chat = desk.conversation(records=asked.records)
    chat.turns += [Turn(turn.question, turn.answer) for turn in asked.turns]
    return desk, lambda due: chat.steps(asked.question, due)


def _translate(model: Model, asked: TranslateRequest, options: dict[str, Any]) -> Any:
    app = Translate(model, to=asked.to, glossary=asked.glossary, **options)
    return app, lambda due: app.steps(asked.text, due)


def _answer(model: Model, asked: AnswerRequest, options: dict[str, Any]) -> Any:
    app = Answer(model, **options)
    return app, lambda due: app.steps(asked.question, asked.text, due)


def _summarize(model: Model, asked: SummarizeRequest, options: dict[str, Any]) -> Any:
    app = Summarize(model, **options)
    return app, lambda due: app.steps(asked.text, asked.length, due)


APPS: dict[str, tuple[type[Common], Starting]] = {
    "support": (SupportRequest, _support),
    "translate": (TranslateRequest, _translate),
    "answer": (AnswerRequest, _answer),
    "summarize": (SummarizeRequest, _summarize),
}


async def application(name: str, door: Door, request: Request) -> Response:
    """POST /v1/apps/{name}: the application's result, and what became of its budget; streamed: the
    text of its parts as they come, and that as the last event."""
    call: Call = request.scope[CALL]
    kind, begin = APPS[name]
    seats = door.seats(call)
    try:
        asked, ignored = parse(call.body, kind)
        check_model(door, asked.model)
        check_gears(door, gear=asked.gear, min_gear=asked.min_gear)
        budget = door.budget(call, asked.deadline_ms)
        model = Counting(door)
        app, start = begin(model, asked, {"clock": door.clock})
        if budget.total_ms is None:
            budget = app.deadline
        driver = Driver(door, call, model, asked)

        def left() -> None:
            due_ms, tokens = budget.total_ms, sum(driver.gears.values())
            door.over(call, "left", timed=budget.limited, budget_ms=due_ms, tokens=tokens)

        call.when_gone(left)
        steps = start(budget.deadline(call.arrival_ns))
        telling = _Telling(door, call, budget, driver)
        if not asked.stream:
            body = telling.body(await driver.run(steps))
            seats.leave()
            return json_response(body, told(ignored))
        parts = driver.parts(steps)
        # What is refused before anything was written is an answer of its own, not an event.
        opening = await _opening(parts, telling)
    except BaseException:
        seats.leave()
        raise
    return EventStream(_events(opening, parts, telling), told(ignored), close=seats.leave)


class _Telling:
    """What is said of one application, on its way and at its end."""

    def __init__(self, door: Door, call: Call, budget: Budget, driver: Driver) -> None:
        self._door = door
        self._call = call
        self._budget = budget
        self._driver = driver

    def event(self, part: Piece | Done) -> bytes:
        """What came, as an event. Raises ApiError."""
        if isinstance(part, Done):
            return event(self.body(part))
        if not part.text and part.onesec is None:
            return PING
        more = {} if part.onesec is None else {"onesec": part.onesec}
        return event({"part": part.part, "delta": part.text, **more})

    def failed(self, caught: Exception) -> ApiError:
        """It ended with an error after it had begun: counted, and remembered, as a refusal is."""
        error = worded(caught, self._call.id)
        self._door.refused(self._call, error)
        return error

    def body(self, done: Done) -> dict[str, Any]:
        """The result, and what became of the budget. Raises ApiError where there is none."""
        budget_ms, result = self._budget.total_ms, done.value
        if isinstance(result, DeadlineInfeasible):
            assert budget_ms is not None
            raise from_error(of_the_whole(result, budget_ms))
        body = asdict(result)
        body.pop("reply", None)
        elapsed_ms = (self._door.clock.now_ns() - self._call.arrival_ns) / 1e6
        driver, met = self._driver, None if budget_ms is None else elapsed_ms <= budget_ms
        self._door.over(
            self._call,
            worst_of(driver.endings),
            timed=self._budget.limited,
            budget_ms=budget_ms,
            met=met,
            tokens=sum(driver.gears.values()),
        )
        body["onesec"] = {
            "budget_ms": budget_ms,
            "elapsed_ms": round(elapsed_ms, 3),
            "met": met,
            "endings": driver.endings,
            "gears": driver.gears,
            **({"parts": driver.stories} if driver.told else {}),
        }
        return body


async def _opening(parts: AsyncGenerator[Piece | Done], telling: _Telling) -> bytes:
    """The first event. Raises ApiError, ClientGone."""
    try:
        return telling.event(await anext(parts))
    except BaseException:
        await parts.aclose()
        raise


async def _events(
    opening: bytes, parts: AsyncGenerator[Piece | Done], telling: _Telling
) -> AsyncIterator[bytes]:
    """The events of an application, until [DONE]. Raises ClientGone."""
    async with aclosing(parts):
        try:
            yield opening
            async for part in parts:
                yield telling.event(part)
        except ClientGone:
            raise
        except Exception as caught:
            yield event(telling.failed(caught).body())
        yield DONE
