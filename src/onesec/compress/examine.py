"""Examine: a model's replies to a suite's questions, judged one by one.

Greedy, through the model's chat template. Without a deadline several questions are under way at
once: a greedy reply does not depend on what else is computed with it. With one they are asked one
after the other, and a reply that is late, cut off or refused is worth nothing. It must not know
files, terminals, or how replies are computed: the model is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, overload

from onesec.apps.ask import Message, without_system
from onesec.apps.judge import Item, is_right
from onesec.apps.metrics import sentence_chrf
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
    OneSecError,
)
from onesec.core.request import SamplingParams

Asked = TypeVar("Asked")
# Tokens of a reply at most: twice and more of what the longest right ones take.
MAX_TOKENS = {"answer": 64, "answer_none": 64, "talk": 96, "support": 128, "translate": 128}
OTHER_MAX_TOKENS = 192
AT_ONCE = 8  # questions under way where no time is kept


class Reply(Protocol):
    """A finished answer; `onesec.Output` is one."""

    @property
    def text(self) -> str: ...
    @property
    def ending(self) -> str: ...
    @property
    def elapsed_ms(self) -> float: ...
    @property
    def met(self) -> bool | None: ...


class Coming(Protocol):
    """An answer that is under way; `onesec.Stream` is one."""

    @property
    def output(self) -> Reply: ...
    def close(self) -> None: ...


class Model(Protocol):
    """What is examined; `onesec.LLM` is one."""

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Any = None,
        params: SamplingParams | None = None,
        *,
        stream: Literal[False] = False,
        gear: str | None = None,
        app: str = "",
    ) -> Reply: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Any = None,
        params: SamplingParams | None = None,
        *,
        stream: Literal[True],
        gear: str | None = None,
        app: str = "",
    ) -> Coming: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one question.

    value       in [0, 1]: what the reply is worth, 0 where it is late, cut off or refused
    ending      as Output's; empty where there is no reply
    refusal     the error's code where there is none
    elapsed_ms  from the question to the end of the reply; only told where a deadline was kept
    """

    item: Item
    value: float
    reply: str = ""
    ending: str = ""
    refusal: str = ""
    elapsed_ms: float | None = None
    met: bool | None = None

    @property
    def complete(self) -> bool:
        """Whether the reply came to an end of its own, or was brought to one."""
        return self.ending in ("natural", "landed")


def max_tokens(item: Item) -> int:
    """Tokens that a reply to this question may have."""
    return MAX_TOKENS.get(item["skill"], OTHER_MAX_TOKENS)


def worth(item: Item, reply: str, *, ended: bool) -> float:
    """The value of a reply in [0, 1]. Raises InvalidRequest where its metric is not installed."""
    if item["metric"] == "chrf":
        return sentence_chrf(reply, item["answer"])
    return float(is_right(item, reply, ended))


def examine(
    model: Model,
    items: Sequence[Item],
    *,
    gear: str | None = None,
    deadline_ms: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Result]:
    """Results in the order of the items. `gear` None leaves the choice to the model's planner.

    Raises InvalidRequest where the model has no chat template or its template refuses an item,
    UnknownGear, EngineClosed.

    >>> with LLM("onesec-mini") as llm:  # doctest: +SKIP
    ...     right = [result.value for result in examine(llm, items, gear="8")]
    """
    results = (
        _side_by_side(model, items, gear)
        if deadline_ms is None
        else (_in_time(model, item, gear, deadline_ms) for item in items)
    )
    for number, result in enumerate(results, start=1):
        yield result
        if progress is not None:
            progress(number / len(items))


def _in_time(model: Model, item: Item, gear: str | None, deadline_ms: float) -> Result:
    def ask(messages: Sequence[Message]) -> Reply:
        return model.chat(messages, deadline_ms / 1e3, _greedy(item), gear=gear, app=item["skill"])

    try:
        reply = asked(ask, item)
    except (DeadlineInfeasible, ContextLengthExceeded) as error:
        return Result(item=item, value=0.0, refusal=error.code, met=False)
    complete = reply.ending in ("natural", "landed")
    value = worth(item, reply.text, ended=complete) if reply.met and complete else 0.0
    return Result(
        item=item,
        value=value,
        reply=reply.text,
        ending=reply.ending,
        elapsed_ms=reply.elapsed_ms,
        met=reply.met,
    )


def _side_by_side(model: Model, items: Sequence[Item], gear: str | None) -> Iterator[Result]:
    """Results in order, with up to AT_ONCE questions under way."""
    under_way: deque[tuple[Item, Coming | OneSecError]] = deque()
    waiting = iter(items)
    try:
        while True:
            while len(under_way) < AT_ONCE and (item := next(waiting, None)) is not None:
                under_way.append((item, _begun(model, item, gear)))
            if not under_way:
                return
            item, coming = under_way[0]
            if isinstance(coming, OneSecError):
                result = Result(item=item, value=0.0, refusal=coming.code)
            else:
                reply = coming.output
                value = worth(item, reply.text, ended=reply.ending == "natural")
                result = Result(item=item, value=value, reply=reply.text, ending=reply.ending)
            under_way.popleft()
            yield result
    finally:
        for _, coming in under_way:
            if not isinstance(coming, OneSecError):
                coming.close()


def _begun(model: Model, item: Item, gear: str | None) -> Coming | OneSecError:
    """The reply under way; or the error, where the question does not fit the context."""

    def ask(messages: Sequence[Message]) -> Coming:
        return model.chat(messages, None, _greedy(item), stream=True, gear=gear, app=item["skill"])

    try:
        return asked(ask, item)
    except ContextLengthExceeded as error:
        return error


def asked(ask: Callable[[Sequence[Message]], Asked], item: Item) -> Asked:
    """Ask; where a template has no system role, its text opens the first turn."""
    messages: Sequence[Message] = item["messages"]
    try:
        return ask(messages)
    except (EmptyPrompt, ContextLengthExceeded):
        raise
    except InvalidRequest:
        if messages[0]["role"] != "system" or len(messages) < 2:
            raise
    return ask(without_system(messages))


def _greedy(item: Item) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens(item))
