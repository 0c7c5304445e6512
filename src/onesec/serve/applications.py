"""Applications: POST /v1/apps/...: the four applications, driven over the shared engine.

An application is a generator of Asks; each Ask becomes a request of its own, so that many
applications run at once. It must not know what an application does between two Asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from onesec.apps import Answer, App, Ask, Entry, Model, Steps, Summarize, Support, Translate
from onesec.apps.ask import granted, greedy, without_refused
from onesec.apps.base import of_the_whole
from onesec.apps.support import Turn
from onesec.core.deadline import Deadline
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, OneSecError
from onesec.core.request import PolicyName
from onesec.prepare import Preparation, Prepared

from .answers import Wanted
from .door import Door, Seats
from .errors import ApiError, from_error
from .generation import check_model, json_response
from .limits import CALL, Call
from .schema import parse

Asked = TypeVar("Asked", bound="Common")
Made = TypeVar("Made")
Starting = Callable[[Model, Any, dict[str, Any]], tuple[App, Callable[[Deadline], Steps[Any]]]]
_MOST_ENTRIES = 1000  # that come with a request; more belong into a store


class Common(msgspec.Struct, kw_only=True):
    """What every application takes."""

    model: str | None = None
    deadline_ms: float | None = None
    gear: str | None = None
    min_gear: str | None = None
    policy: PolicyName = "balanced"


class Note(msgspec.Struct):
    """A piece of knowledge."""

    text: str
    title: str = ""
    id: str = ""


class Past(msgspec.Struct):
    """An earlier turn."""

    question: str
    answer: str


class SupportRequest(Common, kw_only=True):
    question: str
    knowledge: list[Note] = []
    records: list[str | dict[str, Any]] = []
    turns: list[Past] = []


class TranslateRequest(Common, kw_only=True):
    text: str
    to: Literal["en", "zh"] | None = None
    glossary: dict[str, str] = {}


class AnswerRequest(Common, kw_only=True):
    question: str
    text: str


class SummarizeRequest(Common, kw_only=True):
    text: str
    length: str = "one sentence"


@dataclass(frozen=True, slots=True)
class Said:
    """A finished completion, as applications know it."""

    text: str
    ending: str


@dataclass(frozen=True, slots=True)
class _Done:
    """What an application returned."""

    value: Any


class _Counting:
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


class _Driver:
    """Completes what an application asks for, one Ask after the other."""

    def __init__(self, door: Door, call: Call, model: _Counting, asked: Common) -> None:
        self._door = door
        self._call = call
        self._model = model
        self._asked = asked
        self.endings: list[str] = []
        self.gears: Counter[str] = Counter()

    async def run(self, steps: Steps[Any]) -> Any:
        """The application's result. Raises ApiError, ClientGone."""
        reply: Said | OneSecError | None = None
        try:
            while True:
                outcome = await self._door.in_thread(self._call, partial(_advance, steps, reply))
                if isinstance(outcome, _Done):
                    return outcome.value
                try:
                    reply = await self._complete(outcome)
                except OneSecError as error:
                    reply = error
        finally:
            steps.close()

    async def _complete(self, ask: Ask) -> Said:
        """One completion. Raises what an application may live with as OneSecError."""
        door, call, asked = self._door, self._call, self._asked
        begin_ns = door.clock.now_ns()
        budget = await door.in_thread(call, lambda: _kept(lambda: granted(self._model, ask)))
        wanted = Wanted(
            call=call,
            budget=_raised(budget),
            params=greedy(ask),
            gear=asked.gear,
            min_gear=asked.min_gear,
            policy=asked.policy,
            fit=ask.fit,
            arrival_ns=begin_ns,
        )
        read = await door.prepared(wanted, lambda p: _kept(lambda: _read(ask, p)), app=ask.app)
        prompt = _raised(read)
        try:
            answers = await door.answers(wanted, [prompt], Seats(door, call.tenant))
        except ApiError as error:
            if error.code == "context_length_exceeded":
                raise ContextLengthExceeded(
                    prompt_tokens=len(prompt.tokens), context_length=self._model.context_length
                ) from None
            if error.feasible_ms is None:
                raise
            raise DeadlineInfeasible(
                budget_ms=wanted.budget.total_ms or 0.0, feasible_ms=error.feasible_ms
            ) from None
        try:
            await answers.whole()
            answers.sent()
        finally:
            answers.close()
        [choice] = answers.choices
        assert choice.last is not None
        assert choice.last.trace is not None
        self.endings.append(choice.last.ending)
        self.gears.update(choice.last.trace.gears)
        return Said(choice.text.text, choice.last.ending)


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


def _advance(steps: Steps[Any], reply: Said | OneSecError | None) -> Ask | _Done:
    """One step of an application, to its next Ask or its end."""
    try:
        if reply is None:
            return next(steps)
        if isinstance(reply, OneSecError):
            return steps.throw(reply)
        return steps.send(reply)
    except StopIteration as done:
        return _Done(done.value)
    except DeadlineInfeasible as refusal:
        return _Done(refusal)


def _support(model: Model, asked: SupportRequest, options: dict[str, Any]) -> Any:
    if len(asked.knowledge) > _MOST_ENTRIES:
        raise ApiError(
            "invalid_request",
            f"{len(asked.knowledge)} entries of knowledge; at most {_MOST_ENTRIES} are taken.",
            param="knowledge",
        )
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
    """POST /v1/apps/{name}: the application's result, and what became of its budget."""
    call: Call = request.scope[CALL]
    kind, begin = APPS[name]
    seats = door.seats(call)
    try:
        asked, _ = parse(call.body, kind)
        check_model(door, asked.model)
        budget = door.budget(call, asked.deadline_ms)
        model = _Counting(door)
        app, start = begin(model, asked, {"clock": door.clock})
        if budget.total_ms is None:
            budget = app.deadline
        driver = _Driver(door, call, model, asked)
        result = await driver.run(start(budget.deadline(call.arrival_ns)))
        if isinstance(result, DeadlineInfeasible):
            assert budget.total_ms is not None
            raise from_error(of_the_whole(result, budget.total_ms))
    finally:
        seats.leave()
    body = asdict(result)
    body.pop("reply", None)
    elapsed_ms = (door.clock.now_ns() - call.arrival_ns) / 1e6
    body["onesec"] = {
        "budget_ms": budget.total_ms,
        "elapsed_ms": round(elapsed_ms, 3),
        "met": None if budget.total_ms is None else elapsed_ms <= budget.total_ms,
        "endings": driver.endings,
        "gears": driver.gears,
    }
    return json_response(body)
