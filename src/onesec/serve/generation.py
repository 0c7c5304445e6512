"""Generation: POST /v1/chat/completions and /v1/completions, streamed or whole.

It must not know sockets; limits were applied before, errors become answers after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from onesec.core.errors import ContextLengthExceeded, UnknownGear
from onesec.model.tokenizer import BYTES_PER_TOKEN, too_long
from onesec.prepare import Preparation, Prepared
from onesec.prompt.template import MAX_PARTS

from .answers import Answers, Choice, Wanted
from .door import Door
from .errors import ApiError
from .limits import CALL, Call
from .offered import Offered
from .replies import Form
from .schema import ChatRequest, CompletionRequest, Sampled, parse
from .stream import EventStream, events

_TEMPLATE_KEYS = frozenset({"enable_thinking"})
_COMPLETION_TOKENS = 16  # OpenAI's own default for /v1/completions
_READ = frozenset(  # of a message, by templates
    ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
)
_UNREAD = frozenset({"refusal", "annotations", "audio", "function_call"})  # of SDKs' messages
_MOST_NAMED = 16
_REFUSED = "is not supported by this server."


def json_response(value: Any, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """A value as JSON."""
    body = msgspec.json.encode(value)
    return Response(body, status, headers, media_type="application/json")


class Whole(Response):
    """An answer that is sent at once; it closes the answers."""

    def __init__(self, body: Any, headers: dict[str, str], answers: Answers) -> None:
        super().__init__(msgspec.json.encode(body), 200, headers, media_type="application/json")
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
            self._answers.sent()
        finally:
            self._answers.close()


async def chat(door: Door, request: Request) -> Response:
    """POST /v1/chat/completions: the next message of a conversation."""
    call: Call = request.scope[CALL]
    seats = door.seats(call)
    try:
        asked, ignored = parse(call.body, ChatRequest)
        _check_chat(door, asked)
        logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
        limit = asked.max_completion_tokens or asked.max_tokens or door.terms.max_tokens
        wanted = wanted_of(door, call, asked, limit, logprobs=logprobs)
        offered = Offered.of(door.wording.tokenizer, asked)
        if offered is not None:
            wanted.tools = offered.reader
            wanted.params = offered.params(wanted.params)
        messages = spoken(asked.messages)
        check_sizes(door, wanted, [written(messages)])
        goes_on = asked.continue_final_message
        options = {
            "add_generation_prompt": asked.add_generation_prompt and not goes_on,
            "continue_final_message": goes_on,
            "tools": None if offered is None else asked.tools,
            **(asked.chat_template_kwargs or {}),
        }

        def make(prepare: Preparation) -> Prepared:
            prepared = prepare.messages(messages, **options)
            return prepared if offered is None else offered.opened(prepared)

        prompt = await door.prepared(wanted, make)
        answers = await door.answers(wanted, [prompt], seats)
    except BaseException:
        seats.leave()
        raise
    return await _answer(door, asked, answers, (*ignored, *unread(asked.messages)), chat=True)


async def complete(door: Door, request: Request) -> Response:
    """POST /v1/completions: how texts or token ids go on."""
    call: Call = request.scope[CALL]
    seats = door.seats(call)
    try:
        asked, ignored = parse(call.body, CompletionRequest)
        check_model(door, asked.model)
        if asked.suffix:
            raise ApiError("invalid_request", f"suffix {_REFUSED}", param="suffix")
        if asked.echo and asked.stream:
            raise ApiError("invalid_request", f"echo in a stream {_REFUSED}", param="echo")
        limit = asked.max_tokens or _COMPLETION_TOKENS
        wanted = wanted_of(door, call, asked, limit, logprobs=asked.logprobs)
        if asked.echo and asked.logprobs is not None:
            # Who scores a text asks for one token more than it has, and leaves that one out: there
            # is one, also where the model would end.
            ends = wanted.params.ignore_eos or limit == 1
            wanted.params = replace(wanted.params, prompt_logprobs=True, ignore_eos=ends)
        given = asked.prompts()
        check_sizes(door, wanted, given)
        prompts = await door.prepared(wanted, lambda prepare: [read(prepare, p) for p in given])
        answers = await door.answers(wanted, prompts, seats)
    except BaseException:
        seats.leave()
        raise
    return await _answer(door, asked, answers, ignored, chat=False, echo=bool(asked.echo))


def read(preparation: Preparation, prompt: str | list[int]) -> Prepared:
    """A plain prompt. One of token ids is never shortened."""
    return preparation.text(prompt) if isinstance(prompt, str) else Prepared.of_tokens(prompt)


def sizes_of(prompts: Sequence[str | list[int]]) -> tuple[int, ...]:
    """How many tokens prompts have at least, before they are read."""
    return tuple(
        math.ceil(len(prompt.encode()) / BYTES_PER_TOKEN)
        if isinstance(prompt, str)
        else len(prompt)
        for prompt in prompts
    )


def check_sizes(door: Door, wanted: Wanted, prompts: Sequence[str | list[int]]) -> None:
    """Refuse what cannot fit the context, or the time, from the prompts' sizes alone. Raises
    ApiError, ContextLengthExceeded."""
    wanted.sizes = sizes_of(prompts)
    context = door.ready.context_length
    for prompt, size in zip(prompts, wanted.sizes, strict=True):
        if isinstance(prompt, list) and size >= context:
            raise ContextLengthExceeded(prompt_tokens=size, context_length=context)
        if isinstance(prompt, str) and size > context and wanted.fit == "none":
            raise too_long(len(prompt.encode()), context)
    door.check_time(wanted)


def written(messages: Sequence[dict[str, Any]]) -> str:
    """What of messages is sure to stand in the prompt; of an assistant's, thoughts may not."""
    texts = []
    for message in messages:
        content = message.get("content")
        if message.get("role") != "assistant":
            parts = content[:MAX_PARTS] if isinstance(content, list) else [{"text": content}]
            texts += [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def spoken(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as templates know them: without what clients add and no template reads."""
    return [
        {
            key: "system" if (key, value) == ("role", "developer") else value
            for key, value in message.items()
            if value is not None and key in _READ
        }
        for message in messages
    ]


def unread(messages: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """What clients add to messages, to be named as ignored; but for what every SDK does."""
    names = {key for message in messages for key, value in message.items() if value is not None}
    return tuple(sorted(names - _READ - _UNREAD))


async def _answer(
    door: Door,
    asked: Sampled,
    answers: Answers,
    ignored: tuple[str, ...],
    *,
    chat: bool,
    echo: bool = False,
) -> Response:
    form = Form(
        answers, door.wording.tokenizer, door.model, chat=chat, confidence=door.runner.confidence
    )
    headers = told(ignored)
    if asked.stream:
        return EventStream(events(form, asked.stream_options), headers, close=answers.close)
    try:
        await answers.whole()
        make = _message if chat else _text
        body = form.whole([make(form, choice, echo) for choice in answers.choices])
        return Whole(body, headers, answers)
    except BaseException:
        answers.close()
        raise


def _message(form: Form, choice: Choice, _: bool) -> dict[str, Any]:
    assert choice.last is not None
    logprobs = None
    if form.answers.wanted.params.logprobs is not None:
        logprobs = form.chat_logprobs(choice.tokens, choice.logprobs, choice.top)
    return {
        "index": choice.index,
        "message": form.message(choice),
        "logprobs": logprobs,
        "finish_reason": choice.finish_reason,
    }


def _text(form: Form, choice: Choice, echo: bool) -> dict[str, Any]:
    assert choice.last is not None
    text, logprobs = choice.text.text, None
    tokens: list[int] = list(choice.tokens)
    values: list[float | None] = list(choice.logprobs)
    top = list(choice.top)
    if echo:
        text = form.decode(choice.prompt_tokens) + text
        tokens = [*choice.prompt_tokens, *tokens]
        known: list[float | None] = list(choice.last.prompt_logprobs)
        known += [None] * (len(choice.prompt_tokens) - 1 - len(known))  # time ended the reading
        # Of a prompt's tokens only their own probability is known, not who came first.
        read = zip(choice.prompt_tokens[1:], known, strict=True)
        own = [[] if value is None else [(token, value)] for token, value in read]
        values, top = [None, *known, *values], [[], *own, *(top or [[] for _ in choice.tokens])]
    if form.answers.wanted.params.logprobs is not None:
        logprobs = form.text_logprobs(tokens, values, top)
    return {
        "index": choice.index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": choice.last.finish_reason,
    }


def wanted_of(
    door: Door, call: Call, asked: Sampled, limit: int, *, logprobs: int | None
) -> Wanted:
    """What a request asks of the engine. Raises ApiError, InvalidRequest."""
    defaults = door.ready.default_params
    params = asked.params(defaults, max_tokens=limit, logprobs=logprobs)
    # The engine would, and not say which field it is.
    params.check_tokens(door.ready.vocab_size)
    check_gears(door, gear=asked.gear, min_gear=asked.min_gear)
    return Wanted(
        call=call,
        budget=door.budget(call, asked.deadline_ms, asked.ttft_ms, asked.tpot_ms),
        params=params,
        gear=asked.gear,
        min_gear=asked.min_gear,
        policy=asked.policy,
        best_effort=asked.best_effort,
        background=asked.yields,
        fit=asked.fit,
        stream=bool(asked.stream),
        count=asked.n or 1,
    )


def _check_chat(door: Door, asked: ChatRequest) -> None:
    check_model(door, asked.model)
    unknown = (asked.chat_template_kwargs or {}).keys() - _TEMPLATE_KEYS
    if unknown:
        raise ApiError(
            "invalid_request",
            f"chat_template_kwargs may have {', '.join(sorted(_TEMPLATE_KEYS))}.",
            param="chat_template_kwargs",
        )


def check_model(door: Door, model: str | None) -> None:
    """Raises ApiError where a request names another model."""
    if model is not None and model not in door.names:
        raise ApiError("model_not_found", f"This server has the model {door.model}.", param="model")


def check_gears(door: Door, **named: str | None) -> None:
    """Raises UnknownGear where a field names a gear that the model does not have."""
    known = tuple(door.ready.gears)
    for param, gear in named.items():
        if gear is not None and gear not in known:
            raise UnknownGear(gear, known, param=param)


def told(ignored: Sequence[str]) -> dict[str, str]:
    """A header that names the fields that were ignored, where they are names."""
    names = [name for name in ignored if name.isascii() and name.isidentifier()][:_MOST_NAMED]
    return {"x-onesec-ignored": ", ".join(name[:64] for name in names)} if names else {}
