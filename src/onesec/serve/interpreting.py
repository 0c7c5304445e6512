"""Interpreting: /v1/apps/translate/live, a socket: text comes as somebody speaks, each sentence's
translation goes back within a deadline of its own.

It must not know sockets' protocol or how sentences are translated.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, replace
from typing import Any

import msgspec

from onesec.apps import Translate
from onesec.apps.base import of_the_whole
from onesec.apps.text import SentenceStream, Span
from onesec.core.errors import DeadlineInfeasible

from .answers import worst_of
from .app_schema import LiveEnd, LiveStart, LiveText
from .door import Door
from .driving import Counting, Driver
from .errors import ApiError, from_error
from .generation import check_model
from .limits import Call
from .sockets import Socket

LIVE = "/v1/apps/translate/live"
LONGEST = 400  # characters of a sentence; longer ones are cut between words
_AT_ONCE = 8  # sentences under way; text is not read while there are as many
_log = logging.getLogger("onesec.serve")


_decoder = msgspec.json.Decoder(LiveStart | LiveText | LiveEnd)


async def live(door: Door, socket: Socket) -> None:
    """Talk over one socket until the client has said its end. Raises ApiError, ClientGone."""
    first = _message(await socket.text())
    start = first if isinstance(first, LiveStart) else LiveStart()
    talk = _Talk(door, socket, start)
    message = await talk.next() if isinstance(first, LiveStart) else first
    try:
        async with asyncio.TaskGroup() as tasks:
            while not isinstance(message, LiveEnd):
                if isinstance(message, LiveStart):
                    raise ApiError("invalid_request", "start is the first message, or none.")
                await talk.begin(tasks, talk.stream.push(message.text))
                message = await talk.next()
            await talk.begin(tasks, talk.stream.flush())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None  # the others were cancelled for it
    finally:
        _log.info("%s live: %d sentences, %d done", socket.call.id, talk.count, talk.done)
    await socket.tell({"type": "end", "sentences": talk.count, "done": talk.done})


class _Talk:
    """One socket's sentences: `count` of them came, `done` were translated."""

    def __init__(self, door: Door, socket: Socket, start: LiveStart) -> None:
        door.check_open()
        check_model(door, start.model)
        self.count = self.done = 0
        self.stream = SentenceStream(longest=LONGEST)
        self._door = door
        self._socket = socket
        self._start = start
        self._free = asyncio.Semaphore(_AT_ONCE)
        budget = door.budget(socket.call, start.deadline_ms)
        options: dict[str, Any] = {"to": start.to, "glossary": start.glossary}
        self._model = Counting(door)
        self._app = Translate(self._model, clock=door.clock, **options)
        self._budget = budget if budget.total_ms is not None else self._app.deadline

    async def next(self) -> LiveStart | LiveText | LiveEnd:
        """The next message. Raises ApiError, ClientGone."""
        return _message(await self._socket.text())

    async def begin(self, tasks: asyncio.TaskGroup, spans: list[Span]) -> None:
        """Have sentences translated; their time runs from now, also while others are under way."""
        now_ns = self._door.clock.now_ns()
        for span in spans:
            await self._free.acquire()
            call = replace(
                self._socket.call,
                id=f"{self._socket.call.id}-{self.count}",
                arrival_ns=now_ns,
                _hear=[],
            )
            tasks.create_task(self._translated(span, call, self.count))
            self.count += 1

    async def _translated(self, span: Span, call: Call, number: int) -> None:
        try:
            told = await self._one(span, call)
            self.done += told["done"]
            await self._socket.tell({"type": "sentence", "number": number, **told})
        finally:
            call.leave()  # what still runs for it is taken back
            self._free.release()

    async def _one(self, span: Span, call: Call) -> dict[str, Any]:
        """A sentence, translated or not. Raises ApiError where no other one can be either."""
        door, budget_ms, timed = self._door, self._budget.total_ms, self._budget.limited
        driver = Driver(door, call, self._model, self._start)
        found: Any = None
        refusal: dict[str, Any] = {}
        try:
            seats = door.seats(call)
            try:
                due = self._budget.deadline(call.arrival_ns)
                found = (await driver.run(self._app.sentence(span, due))).value
            finally:
                seats.leave()
            if isinstance(found, DeadlineInfeasible):
                error = door.granted(from_error(of_the_whole(found, budget_ms or 0.0)))
                refusal = {"code": error.code}
                if error.feasible_ms is not None:
                    refusal["feasible_ms"] = error.feasible_ms
        except ApiError as error:
            if error.code != "queue_full":
                raise
            refusal = {"code": error.code}
        if refusal:
            door.metrics.refused(refusal["code"])
            door.over(call, refusal["code"], timed=timed, budget_ms=budget_ms, refused=True)
            found = {"start": span.start, "end": span.end, "source": span.text, "text": ""}
            found |= {"done": False, "missing_terms": ()}
        else:
            found = asdict(found)
            found.pop("reply")
        elapsed_ms = (door.clock.now_ns() - call.arrival_ns) / 1e6
        met = found["done"] and (budget_ms is None or elapsed_ms <= budget_ms)
        if not refusal:
            tokens = sum(driver.gears.values())
            ending = worst_of(driver.endings)
            door.over(call, ending, timed=timed, budget_ms=budget_ms, met=met, tokens=tokens)
        story = {
            "budget_ms": budget_ms,
            "elapsed_ms": round(elapsed_ms, 3),
            "met": met,
            "endings": driver.endings,
            "gears": driver.gears,
            **refusal,
        }
        return {**found, "onesec": story}


def _message(text: str) -> LiveStart | LiveText | LiveEnd:
    """A message of the client. Raises ApiError."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise ApiError(
            "invalid_request",
            'A message is {"type": "start"}, {"type": "text", "text": ...} or {"type": "end"}.',
        ) from None
