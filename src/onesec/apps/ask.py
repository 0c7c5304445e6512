"""Ask: what an application wants completed, who may complete it, and the plain driver.

An application is a generator of Asks: it yields what it wants to be completed and is sent the
Reply, so the same steps run under any driver; `run` is the plain one. It must not know engines or
what the applications do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, overload

from onesec.core.deadline import Budget, Duration
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
    OneSecError,
)
from onesec.core.fitted import FitReport, Fitting
from onesec.core.request import PolicyName, SamplingParams

Message = Mapping[str, Any]
OnText = Callable[[str], None]
Result = TypeVar("Result")
TEMPLATE_TOKENS = 48  # kept free for what the chat template writes around the messages
_LEAST = 16  # tokens of an answer that is offered where none was planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """The answers that an application expects: `usual` tokens for planning, `most` as the limit.
    What the answers really have is learned by the engine under the application's name."""

    usual: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One completion wanted: messages, the time it may take (None: any), and at most how many
    tokens. `shown`: the reply is part of what the caller reads, as opposed to a step on the way.
    `fit`: leave to shorten the messages where their time is too short (see LLM.chat)."""

    messages: tuple[Message, ...]
    max_tokens: int
    budget_ms: float | None
    app: str
    shown: bool = True
    fit: Fitting = "none"


class Reply(Protocol):
    """A finished completion; `onesec.Output` is one. `fitted` tells what of the messages the model
    was not given, where they were shortened."""

    @property
    def text(self) -> str: ...
    @property
    def ending(self) -> str: ...
    @property
    def fitted(self) -> FitReport | None: ...


class ReplyStream(Protocol):
    """A completion as it comes; `onesec.Stream` is one."""

    def __iter__(self) -> Iterator[str]: ...
    @property
    def output(self) -> Reply: ...
    def close(self) -> None: ...


class Model(Protocol):
    """What an application needs of a model; `onesec.LLM` is one."""

    @property
    def context_length(self) -> int: ...
    def count_tokens(self, text: str) -> int: ...
    def predict_ms(self, prompt_tokens: int, answer_tokens: int) -> float: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        stream: Literal[False] = False,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        app: str = "",
        fit: Fitting = "none",
    ) -> Reply: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        stream: Literal[True],
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        app: str = "",
        fit: Fitting = "none",
    ) -> ReplyStream: ...


Steps = Generator[Ask, Reply, Result]


def run(
    model: Model,
    steps: Steps[Result],
    *,
    gear: str | None = None,
    min_gear: str | None = None,
    policy: PolicyName = "balanced",
    on_text: OnText | None = None,
) -> Result:
    """Complete what the steps ask for, one after the other, until they return. gear, min_gear,
    policy: as in LLM.chat.

    Errors of the model are raised inside the steps, which may live with them. `on_text` is called
    with the text of shown replies as it comes.
    """
    options: dict[str, Any] = {"gear": gear, "min_gear": min_gear, "policy": policy}
    try:
        ask = next(steps)
        while True:
            try:
                reply = _complete(model, ask, options, on_text)
            except OneSecError as error:
                ask = steps.throw(error)
            else:
                ask = steps.send(reply)
    except StopIteration as done:
        result: Result = done.value
        return result


def _complete(model: Model, ask: Ask, options: Mapping[str, Any], on_text: OnText | None) -> Reply:
    budget, params = granted(model, ask), greedy(ask)
    options = dict(options) | ({"fit": ask.fit} if ask.fit != "none" else {})
    try:
        if on_text is None or not ask.shown:
            reply: Reply = model.chat(ask.messages, budget, params, app=ask.app, **options)
            return reply
        stream = model.chat(ask.messages, budget, params, stream=True, app=ask.app, **options)
    except OneSecError as error:
        return _complete(model, without_refused(ask, error), options, on_text)
    try:
        for piece in stream:
            on_text(piece)
        return stream.output
    finally:
        stream.close()


def granted(model: Model, ask: Ask) -> Budget:
    """The time that an Ask has. Raises DeadlineInfeasible where none is left."""
    if ask.budget_ms is None:
        return Budget()
    if ask.budget_ms > 0.0:
        return Budget(total_ms=ask.budget_ms)
    tokens = sum(model.count_tokens(str(message["content"])) for message in ask.messages)
    raise DeadlineInfeasible(
        budget_ms=ask.budget_ms,
        feasible_ms=model.predict_ms(tokens + TEMPLATE_TOKENS, min(ask.max_tokens, _LEAST)),
        why="the time was used up before the model was asked",
    )


def greedy(ask: Ask) -> SamplingParams:
    """How an Ask is sampled, whatever the model's own advice: the same question gets the same
    answer."""
    return SamplingParams(max_tokens=ask.max_tokens)


def without_refused(ask: Ask, error: OneSecError) -> Ask:
    """The Ask to try after the model refused this one: some templates have no system role, then its
    text opens the first turn. Raises the error where that cannot be what is wrong."""
    of_length = isinstance(error, EmptyPrompt | ContextLengthExceeded)
    system = ask.messages[0]["role"] == "system"
    if of_length or not system or not isinstance(error, InvalidRequest):
        raise error
    return replace(ask, messages=without_system(ask.messages))


def without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation that begins with a system message, for a template that has no such role: its
    text opens the first turn.

    >>> without_system([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
    ({'role': 'user', 'content': 'a\\n\\nb'},)
    """
    system, first, *rest = messages
    opened = {**first, "content": f"{system['content']}\n\n{first['content']}"}
    return (opened, *rest)
