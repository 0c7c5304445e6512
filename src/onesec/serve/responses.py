"""Responses: POST /v1/responses, the stateless part: text in, text out, whole or as events.

It must not know how answers come about. Nothing is stored: what refers to an earlier response is
refused.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .answers import Answers
from .door import Door
from .errors import ApiError
from .generation import Whole, check_model, check_sizes, spoken, told, wanted_of, written
from .limits import CALL, Call, ClientGone
from .replies import Form
from .schema import Count, Messages, Sampled, parse
from .stream import EventStream, growing


class ResponsesRequest(Sampled, kw_only=True):
    """The body. `input`: a text, or messages; parts of other kinds than text are refused."""

    input: str | Messages
    instructions: str | None = None
    max_output_tokens: Count | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    tools: list[dict[str, Any]] | None = None
    text: dict[str, Any] | None = None

    def messages(self) -> list[dict[str, Any]]:
        """The same as messages of a chat. Raises ApiError."""
        found: list[dict[str, Any]] = []
        if self.instructions:
            found.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        for item in self.input:
            if item.get("type", "message") != "message":
                raise _refused("input", "items other than messages")
            content = item.get("content")
            if isinstance(content, list):
                content = [_text_part(part) for part in content]
            found.append({"role": item.get("role"), "content": content})
        return found


async def responses(door: Door, request: Request) -> Response:
    """POST /v1/responses: text in, text out; nothing is stored."""
    call: Call = request.scope[CALL]
    seats = door.seats(call)
    try:
        asked, ignored = parse(call.body, ResponsesRequest)
        if asked.stream_options is not None:  # it is for the other routes' streams
            ignored = (*ignored, "stream_options")
        _check(door, asked)
        asked.response_format = (asked.text or {}).get("format") or asked.response_format
        limit = asked.max_output_tokens or asked.max_tokens or door.terms.max_tokens
        wanted = wanted_of(door, call, asked, limit, logprobs=None)
        messages = spoken(asked.messages())
        check_sizes(door, wanted, [written(messages)])
        prompt = await door.prepared(wanted, lambda prepare: prepare.messages(messages))
        answers = await door.answers(wanted, [prompt], seats)
    except BaseException:
        seats.leave()
        raise
    form = Form(answers, door.wording.tokenizer, door.model, chat=True)
    reply = _Reply(form, asked)
    if asked.stream:
        return EventStream(_events(reply, answers), told(ignored), close=answers.close)
    try:
        await answers.whole()
        body = reply.whole(answers.choices[0].text.text)
        return Whole(body, told(ignored), answers)
    except BaseException:
        answers.close()
        raise


class _Reply:
    """One response's objects."""

    def __init__(self, form: Form, asked: ResponsesRequest) -> None:
        self._form = form
        self._asked = asked
        self._created = int(time.time())
        call = form.answers.wanted.call
        self._id, self.item_id = f"resp-{call.id}", f"msg-{call.id}"

    def begun(self) -> dict[str, Any]:
        """The response before any text."""
        asked = self._asked
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": self._form.answers.wanted.params.max_tokens,
            "model": self._form.model,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "temperature": asked.temperature,
            "tool_choice": "none",
            "tools": [],
            "top_p": asked.top_p,
            "truncation": "disabled",
            "store": False,
            "usage": None,
        }

    def item(self, text: str | None, status: str) -> dict[str, Any]:
        """The message of the answer; without content while `text` is None."""
        content = [] if text is None else [part(text)]
        return {
            "id": self.item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def whole(self, text: str) -> dict[str, Any]:
        """The response once it is over. What was cut is incomplete."""
        [choice] = self._form.answers.choices
        cut = choice.finish_reason == "length"
        status = "incomplete" if cut else "completed"
        usage = self._form.usage()
        return {
            **self.begun(),
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self.item(text, status)],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": usage["prompt_tokens_details"],
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
            "onesec": self._form.extension(choice),
        }


def part(text: str) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


async def _events(reply: _Reply, answers: Answers) -> AsyncIterator[bytes]:
    """The events of a response, in their order. Raises ClientGone."""
    number = -1

    def event(kind: str, **values: Any) -> bytes:
        nonlocal number
        number += 1
        data = msgspec.json.encode({"type": kind, "sequence_number": number, **values})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    at = {"item_id": reply.item_id, "output_index": 0, "content_index": 0}
    text = ""
    yield event("response.created", response=reply.begun())
    yield event("response.in_progress", response=reply.begun())
    opened = reply.item(None, "in_progress")
    yield event("response.output_item.added", output_index=0, item=opened)
    yield event("response.content_part.added", **at, part=part(""))
    try:
        async for ping, grown in growing(answers):
            if grown is None:
                yield ping
            elif piece := grown[0].take():
                text += piece
                yield event("response.output_text.delta", **at, delta=piece, logprobs=[])
    except ClientGone:
        raise
    except Exception as caught:
        error = answers.failed(caught)
        yield event("error", message=error.message, code=error.code, param=error.param)
        return
    whole = reply.whole(text)
    yield event("response.output_text.done", **at, text=text, logprobs=[])
    yield event("response.content_part.done", **at, part=part(text))
    yield event("response.output_item.done", output_index=0, item=whole["output"][0])
    yield event(f"response.{whole['status']}", response=whole)
    answers.sent()


def _check(door: Door, asked: ResponsesRequest) -> None:
    check_model(door, asked.model)
    for name in ("previous_response_id", "conversation", "background", "tools"):
        if getattr(asked, name):
            raise _refused(name, name)
    if asked.n not in (None, 1):
        raise _refused("n", "more than one answer")
    form = (asked.text or {}).get("format")
    if form is not None and not isinstance(form, dict):
        raise _refused("text", "a format that is no object")


def _text_part(given: Any) -> dict[str, Any]:
    kinds = ("input_text", "output_text", "text")
    if isinstance(given, dict) and given.get("type") in kinds:
        return {"type": "text", "text": given.get("text")}
    raise _refused("input", "parts other than text")


def _refused(param: str, what: str) -> ApiError:
    return ApiError("invalid_request", f"{what}: not supported by this server.", param=param)
