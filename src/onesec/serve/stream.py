"""Stream: growing answers as server-sent events, in OpenAI's order.

Role, text, finish (with the extension object), usage where it was asked for, [DONE]. It must not
know what an event means to a model. Errors on the way are an event, after which the stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import wire
from .answers import Answers, Choice
from .limits import ClientGone
from .replies import Form
from .schema import StreamOptions
from .spans import Spans, planned

PING_SECONDS = 15.0
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    """A value as one event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


async def growing(
    answers: Answers,
) -> AsyncIterator[tuple[bytes, tuple[Choice, wire.Gained] | None]]:
    """What comes of all answers until they are over; where nothing does for long, a line that
    clients skip. Raises ApiError, ClientGone."""
    while any(choice.last is None for choice in answers.choices):
        try:
            async with asyncio.timeout(PING_SECONDS):
                grown = await answers.grow()
        except TimeoutError:
            yield PING, None
        else:
            yield b"", grown


async def events(form: Form, options: StreamOptions | None) -> AsyncIterator[bytes]:
    """The events of all answers, until [DONE]. Raises ClientGone."""
    answers = form.answers
    options = options or StreamOptions()
    with_usage = bool(options.include_usage)
    continuous = bool(options.continuous_usage_stats)
    confidence = form.confidence
    spans = [Spans(choice, confidence) for choice in answers.choices]
    told = bool(options.include_onesec)

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        if continuous:
            more["usage"] = form.usage()
        elif with_usage:
            more.setdefault("usage", None)
        return event(form.chunk(choices, **more))

    if form.chat or told:
        for choice in answers.choices:
            opening = {"role": "assistant", "content": ""} if form.chat else ""
            more = {"onesec": planned(choice)} if told else {}
            yield chunk([_choice(form, choice, opening)], **more)
    try:
        async for ping, grown in growing(answers):
            if grown is None:
                yield ping
                continue
            choice, gained = grown
            piece = choice.take()
            logprobs = form.stream_logprobs(choice, gained)
            if piece or logprobs is not None:
                shown = {"content": piece} if form.chat else piece
                more = {"onesec": {"tokens": spans[choice.index].cut(piece)}} if told else {}
                yield chunk([_choice(form, choice, shown, logprobs=logprobs)], **more)
            for delta in form.call_deltas(choice):
                yield chunk([_choice(form, choice, delta)])
            if gained.finish_reason is not None:
                end = _choice(form, choice, {} if form.chat else "", finish=choice.finish_reason)
                yield chunk([end], onesec=form.extension(choice, events=told))
    except ClientGone:
        raise
    except Exception as caught:
        yield event(answers.failed(caught).body())
        yield DONE
        return
    if with_usage:
        yield event(form.chunk([], usage=form.usage()))
    yield DONE
    answers.sent()


def _choice(
    form: Form,
    choice: Choice,
    shown: Any,
    *,
    logprobs: dict[str, Any] | None = None,
    finish: str | None = None,
) -> dict[str, Any]:
    key = "delta" if form.chat else "text"
    return {"index": choice.index, key: shown, "logprobs": logprobs, "finish_reason": finish}


class EventStream(Response):
    """A response of events; at its end it calls `close`. It ends early only with the client or with
    the server."""

    def __init__(
        self, events: AsyncIterator[bytes], headers: dict[str, str], *, close: Callable[[], None]
    ) -> None:
        self._events = events
        self._close = close
        self.status_code = 200
        self.background = None
        self.init_headers({**_HEADERS, **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._close()
