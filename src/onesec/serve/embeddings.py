"""Embeddings: POST /v1/embeddings: the mean of a model's hidden states over a text, of length 1.

It must not know how hidden states are computed. Many inputs are handed to the engine some at a
time; what cannot be in time as a whole is refused before the first.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from onesec.budget.policy import POLICIES
from onesec.core.request import SamplingParams
from onesec.prepare import Prepared

from .answers import Wanted
from .door import Door, Seats
from .errors import ApiError, infeasible
from .generation import check_gears, check_model, check_sizes, json_response, read, told
from .limits import CALL, Call
from .schema import EmbeddingRequest, parse

_AT_ONCE = 16  # inputs that the engine has at a time: others come in between
_PARAMS = SamplingParams(max_tokens=1, pooled=True)

_SPARE = 1.05  # in offers: the engine may cut prompts into smaller chunks than these


async def embeddings(door: Door, request: Request) -> Response:
    """POST /v1/embeddings: a vector of length 1 for each text."""
    call: Call = request.scope[CALL]
    seats = door.seats(call)
    try:
        asked, ignored = parse(call.body, EmbeddingRequest)
        _check(door, asked)
        wanted = Wanted(
            call=call,
            budget=door.budget(call, asked.deadline_ms),
            params=_PARAMS,
            # One gear for all: vectors are compared with those of other requests.
            gear=asked.gear or door.ready.gears[-1],
            arrival_ns=call.arrival_ns,  # given: the way in of later inputs is not the door's own
        )
        budget_ms, timed = wanted.budget.total_ms, wanted.budget.limited
        call.when_gone(lambda: door.over(call, "left", timed=timed, budget_ms=budget_ms))
        given = asked.inputs()
        try:
            check_sizes(door, wanted, given)
            prompts = await door.prepared(wanted, lambda prepare: [read(prepare, p) for p in given])
        except ApiError as error:
            if error.feasible_ms is not None:  # which would be of no use to what never fits
                await _check_longest(door, call, given)
            raise
        door.check_length(prompts)
        _check_time(door, wanted, prompts)
        means: list[bytes] = []
        while len(means) < len(prompts):
            means += await _means(door, wanted, prompts[len(means) :])
        data = await door.in_thread(
            call, lambda: _data(means, asked.encoding_format), short=len(means) == 1
        )
        tokens = sum(len(prompt.tokens) for prompt in prompts)
        elapsed_ms = (door.clock.now_ns() - wanted.begin_ns) / 1e6
        met = None if budget_ms is None else elapsed_ms <= budget_ms
        door.over(call, "natural", timed=timed, budget_ms=budget_ms, met=met)
        body = {
            "object": "list",
            "data": data,
            "model": door.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "onesec": {
                "budget_ms": budget_ms,
                "elapsed_ms": round(elapsed_ms, 3),
                "met": met,
                "gears": {wanted.gear: tokens},
            },
        }
        return json_response(body, told(ignored))
    finally:
        seats.leave()


async def _means(door: Door, wanted: Wanted, prompts: Sequence[Prepared]) -> list[bytes]:
    """The mean hidden states of the first prompts, as many as there are places for: float32, little
    endian. Raises ApiError, ClientGone."""
    more = Seats(door, wanted.call.tenant)  # beside the call's own
    answers = await door.answers(wanted, prompts[: min(_AT_ONCE, 1 + more.room())], more)
    try:
        await answers.whole()
        answers.sent()
    finally:
        answers.close()
    found = [choice.last.hidden for choice in answers.choices if choice.last is not None]
    if not all(found):
        budget_ms = wanted.budget.total_ms
        door.over(wanted.call, "cut", timed=True, budget_ms=budget_ms, met=False)
        raise ApiError("deadline_missed", "The machine was slower than expected.")
    return found


async def _check_longest(door: Door, call: Call, given: Sequence[str | list[int]]) -> None:
    """Refuse inputs whose longest text has more tokens than fit. Raises ApiError."""
    longest = max((text for text in given if isinstance(text, str)), key=len, default="")
    encode = door.wording.tokenizer.encode
    if len(longest.encode()) >= door.ready.context_length:  # else a token for each byte would fit
        tokens = await door.in_thread(call, lambda: encode(longest, add_bos=True))
        door.check_length([Prepared.of_tokens(tokens)])


def _check_time(door: Door, wanted: Wanted, prompts: Sequence[Prepared]) -> None:
    """Refuse what cannot be in time as a whole. Raises ApiError."""
    budget_ms, gear = wanted.budget.total_ms, wanted.gear or ""
    if budget_ms is None or gear not in door.ready.gears:
        return
    spent_ms = (door.clock.now_ns() - wanted.begin_ns) / 1e6
    sizes = [len(prompt.tokens) for prompt in prompts]
    work_ms = sum(door.latency.prefill_ms(gear, n) for n in sizes)

    def outside(spare: float) -> float:
        need_ms = spent_ms + spare * work_ms
        return door.time.outside(POLICIES[wanted.policy].budget_for(need_ms), spent_ms)

    if outside(1.0) > budget_ms:
        why = f"{len(sizes)} inputs of {sum(sizes)} tokens"
        raise infeasible(budget_ms, outside(_SPARE * door.slowness), why)


def _data(means: Sequence[bytes], form: Literal["float", "base64"]) -> list[dict[str, Any]]:
    """OpenAI's objects; vectors have length 1."""
    data = []
    for index, raw in enumerate(means):
        mean = np.frombuffer(raw, dtype="<f4").astype(np.float64)
        length = float(np.linalg.norm(mean))
        vector = (mean / length if length else mean).astype("<f4")
        shown = vector.tolist() if form == "float" else b64encode(vector.tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    return data


def _check(door: Door, asked: EmbeddingRequest) -> None:
    check_model(door, asked.model)
    check_gears(door, gear=asked.gear)
    size = door.ready.hidden_size
    if size is None:
        raise ApiError("invalid_request", "This backend tells no hidden states.")
    if asked.dimensions not in (None, size):
        raise ApiError(
            "invalid_request", f"This model's vectors have {size} dimensions.", param="dimensions"
        )
