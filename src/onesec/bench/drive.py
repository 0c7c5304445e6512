"""Drive: questions through an engine, one user after the other or many at their own times.

It must not know where the clock's time comes from: `advance` moves it to the next arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from onesec.core.clock import Clock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible, QueueFull
from onesec.core.request import Request
from onesec.core.trace import Trace
from onesec.engine.engine import Engine
from onesec.output import Answer, Pieces

from .questions import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, the milliseconds it may take (None: as long as it takes), and when it comes.

    told   whether the engine is told of the budget; else only the client knows of it, and gives up
           when it is over
    """

    question: Question
    budget_ms: float | None
    arrival_ns: int = 0
    gear: str | None = None
    told: bool = True
    best_effort: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a question.

    elapsed_ms    from its arrival; None where it was refused
    refusal       the error's code, empty where it was accepted; refusal_ms: what saying so took
    offered_ms    the smallest budget that a refusal offered
    predicted_ms  the plan's p95 of its end
    step_errors   of each stretch of steps between two lines of the trace: how far what they took
                  lies from the latency model's median, as a share of it
    token_ms      instants since arrival at which each token was there, where they were asked for
    value         of the reply: 0 where it was refused, late or cut
    """

    question: Question
    budget_ms: float | None
    reply: str = ""
    tokens: int = 0
    elapsed_ms: float | None = None
    ending: str = ""
    gears: dict[str, int] | None = None
    shifts: int = 0
    refusal: str = ""
    refusal_ms: float = 0.0
    offered_ms: float | None = None
    predicted_ms: float | None = None
    ttft_ms: float | None = None
    step_errors: tuple[float, ...] = ()
    value: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether an answer was begun."""
        return not self.refusal

    @property
    def met(self) -> bool:
        """Whether an answer came within its budget: at least a token of it, or its end."""
        if self.elapsed_ms is None or not (self.tokens or self.ending == "natural"):
            return False
        return self.budget_ms is None or self.elapsed_ms <= self.budget_ms

    @property
    def complete(self) -> bool:
        """Whether it came to an end of its own, or was brought to one."""
        return self.ending in ("natural", "landed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRun:
    """An answer in one gear to its own end: the instant of each token since the question came, the
    end itself, and what the whole reply is worth. `natural`: it ended before its limit."""

    question: Question
    gear: str
    reply: str
    token_ms: tuple[float, ...]
    elapsed_ms: float
    natural: bool
    value: float


class Words(Protocol):
    """What turns tokens into text; a Tokenizer is one."""

    def decode(self, ids: Sequence[int]) -> str: ...
    def stream(self) -> Pieces: ...


class Driver:
    """Asks an engine; `advance` moves the clock by milliseconds, or waits so long."""

    def __init__(
        self, engine: Engine, clock: Clock, words: Words, advance: Callable[[float], None]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._words = words
        self._advance = advance
        self._number = 0
        self._answers: dict[str, tuple[Asked, Answer]] = {}

    def ask(self, asked: Asked) -> Outcome:
        """One question to an idle engine, from now to its end."""
        refused = self._begin(asked, self._clock.now_ns())
        if refused is not None:
            return refused
        while True:
            for outcome in self._turn():
                return outcome

    def full(self, question: Question, gear: str) -> FullRun:
        """An answer in one gear for as long as it takes, each token's instant noted."""
        asked = Asked(question=question, budget_ms=None, gear=gear)
        begin_ns = self._clock.now_ns()
        refused = self._begin(asked, begin_ns)
        assert refused is None, "without a budget nothing is refused"
        instants: list[float] = []
        outcomes: list[Outcome] = []
        while not outcomes:
            outcomes = list(self._turn())
            now_ms = (self._clock.now_ns() - begin_ns) / 1e6
            if not outcomes:
                [(_, answer)] = self._answers.values()
                instants += [now_ms] * (answer.count - len(instants))
        [outcome] = outcomes
        instants += [now_ms] * (outcome.tokens - len(instants))
        return FullRun(
            question=question,
            gear=gear,
            reply=outcome.reply,
            token_ms=tuple(instants),
            elapsed_ms=now_ms,
            natural=outcome.ending == "natural",
            value=outcome.value,
        )

    def at_their_times(self, arrivals: Sequence[Asked]) -> list[Outcome]:
        """Questions that come at their instants, whatever is under way; rising `arrival_ns`."""
        found: list[Outcome] = []
        waiting = iter(arrivals)
        following = next(waiting, None)
        while following is not None or self._answers:
            now_ns = self._clock.now_ns()
            while following is not None and following.arrival_ns <= now_ns:
                refused = self._begin(following, following.arrival_ns)
                if refused is not None:
                    found.append(refused)
                following = next(waiting, None)
            found += self._given_up()
            if self._answers:
                found += self._turn()
            elif following is not None:
                self._advance((following.arrival_ns - self._clock.now_ns()) / 1e6)
        return found

    def _begin(self, asked: Asked, arrival_ns: int) -> Outcome | None:
        """Hand a question to the engine; its Outcome where it is refused."""
        self._number += 1
        question = asked.question
        request = Request(
            id=f"q{self._number}",
            prompt_tokens=question.prompt_tokens,
            params=question.params,
            budget=Budget(total_ms=asked.budget_ms if asked.told else None),
            arrival_ns=arrival_ns,
            gear=asked.gear,
            best_effort=asked.best_effort,
            cues=question.cues,
        )
        before_ns = self._clock.now_ns()
        try:
            self._engine.add_request(request)
        except (DeadlineInfeasible, QueueFull) as error:
            return Outcome(
                question=question,
                budget_ms=asked.budget_ms,
                refusal=error.code,
                refusal_ms=(self._clock.now_ns() - before_ns) / 1e6,
                offered_ms=getattr(error, "feasible_ms", None),
            )
        self._answers[request.id] = (asked, Answer(request, self._words.stream()))
        return None

    def _given_up(self) -> list[Outcome]:
        """Outcomes of those whose clients have left, of which the engine is told only now."""
        now_ns = self._clock.now_ns()
        gone = []
        for name, (asked, answer) in list(self._answers.items()):
            if asked.told or asked.budget_ms is None:
                continue
            waited_ms = (now_ns - asked.arrival_ns) / 1e6
            if waited_ms > asked.budget_ms:
                self._engine.abort(name)
                del self._answers[name]
                gone.append(
                    Outcome(
                        question=asked.question,
                        budget_ms=asked.budget_ms,
                        tokens=answer.count,
                        elapsed_ms=waited_ms,
                        ending="cut",
                    )
                )
        return gone

    def _turn(self) -> Iterable[Outcome]:
        """One turn of the engine; the answers that ended in it."""
        ended = []
        for delta in self._engine.step():
            asked, answer = self._answers[delta.sequence_id]
            answer.add(delta)
            if delta.finished:
                del self._answers[delta.sequence_id]
                # Timed from outside, behind the last byte.
                elapsed_ms = (self._clock.now_ns() - answer.arrival_ns) / 1e6
                ended.append(_outcome(asked, answer, elapsed_ms))
        return ended


def _outcome(asked: Asked, answer: Answer, elapsed_ms: float) -> Outcome:
    output = answer.output()
    trace = output.trace
    late = asked.budget_ms is not None and elapsed_ms > asked.budget_ms
    complete = output.ending in ("natural", "landed")
    return Outcome(
        question=asked.question,
        budget_ms=asked.budget_ms,
        reply=output.text,
        tokens=len(output.tokens),
        elapsed_ms=elapsed_ms,
        ending=output.ending,
        gears=dict(trace.gears),
        shifts=sum(event.kind == "shift" for event in trace.events),
        predicted_ms=trace.predicted_ms,
        ttft_ms=trace.ttft_ms,
        step_errors=step_errors(trace),
        value=asked.question.worth(output.text, True) if complete and not late else 0.0,
    )


def step_errors(trace: Trace) -> tuple[float, ...]:
    """The errors of the latency model in a trace's stretches of decode steps (see Outcome)."""
    pairs = [
        (event.detail["ms"], event.detail["expected_ms"])
        for event in trace.events
        if event.kind == "decode"
    ]
    return tuple(
        abs(ms / expected_ms - 1.0)
        for ms, expected_ms in pairs
        if isinstance(ms, float) and isinstance(expected_ms, float) and expected_ms > 0.0
    )
