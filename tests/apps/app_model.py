"""A model for the applications: replies come from a function, time from a fake clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, InvalidRequest
from onesec.core.fitted import FitReport

CHARS_PER_TOKEN = 2


@dataclass(frozen=True)
class FakeReply:
    text: str
    ending: str = "natural"
    fitted: FitReport | None = None


class FakeStream:
    def __init__(self, reply: FakeReply) -> None:
        self.output = reply
        self.closed = False

    def __iter__(self) -> Iterator[str]:
        yield from self.output.text.split(" ")

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeModel:
    """A prompt token takes `prompt_ms`, a reply 1 ms a character. What has no time for a
    single one is refused, a longer one is cut."""

    reply: Callable[[str], str] = lambda prompt: "Yes."
    context_length: int = 1024
    prompt_ms: float = 0.1
    pessimism: float = 1.0  # times the truth is what it predicts
    has_system: bool = True
    clock: FakeClock = field(default_factory=lambda: FakeClock(1_000_000))
    seen: list[list[Mapping[str, Any]]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    budgets_ms: list[float | None] = field(default_factory=list)
    fitted: FitReport | None = None

    def count_tokens(self, text: str) -> int:
        return math.ceil(len(text) / CHARS_PER_TOKEN)

    def predict_ms(self, prompt_tokens: int, answer_tokens: int) -> float:
        return self.pessimism * (self.prompt_ms * prompt_tokens + answer_tokens)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        deadline: Any = None,
        params: Any = None,
        *,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        if messages[0]["role"] == "system" and not self.has_system:
            raise InvalidRequest("The chat template refuses these messages: no system role")
        prompt = "\n".join(str(message["content"]) for message in messages)
        tokens = self.count_tokens(prompt)
        if tokens >= self.context_length:
            raise ContextLengthExceeded(prompt_tokens=tokens, context_length=self.context_length)
        budget = Budget.of(deadline)
        least_ms = self.prompt_ms * tokens + 1
        if budget.total_ms is not None and budget.total_ms < least_ms:
            raise DeadlineInfeasible(budget_ms=budget.total_ms, feasible_ms=least_ms)
        text, ending = self.reply(prompt), "natural"
        if budget.total_ms is not None and budget.total_ms < self.prompt_ms * tokens + len(text):
            text, ending = text[: int(budget.total_ms - self.prompt_ms * tokens)], "cut"
        self.seen.append(list(messages))
        self.options.append({**options, "params": params})
        self.budgets_ms.append(budget.total_ms)
        self.clock.advance_ms(self.prompt_ms * tokens + len(text))
        reply = FakeReply(text, ending, self.fitted)
        return FakeStream(reply) if stream else reply

    @property
    def prompts(self) -> list[str]:
        """The last message of every call."""
        return [str(messages[-1]["content"]) for messages in self.seen]
