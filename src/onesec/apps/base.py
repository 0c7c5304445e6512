"""App: what the four applications share: their time, and the room for texts in a prompt.

It must not know engines, tokenizers or clocks of its own: the model that is passed in brings its
counts and its times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

from onesec.core.clock import Clock, MonotonicClock
from onesec.core.deadline import Budget, Deadline, Duration
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
)
from onesec.core.fitted import Fitting
from onesec.core.request import PolicyName

from .ask import TEMPLATE_TOKENS, Ask, Length, Message, Model, OnText, Result, Steps, run
from .text import is_blank

CHARS_PER_TOKEN = 16  # no tokenizer makes fewer tokens of a text than this on the long run
_PROMPT_SHARE = 0.7  # of the context: few conversations that models learn from are longer


class App:
    """An application on a model. Without a deadline of its own a call gets `deadline`, and without
    that the application's `DEADLINE`; `Budget()` is unlimited, a Deadline is handed down. Of a
    Budget, `total_ms` counts.

    gear, min_gear, policy  as in LLM.chat
    """

    NAME: ClassVar[str]
    DEADLINE: ClassVar[str] = "1s"
    LENGTH: ClassVar[Length]
    AFTER_MS: ClassVar[float] = 1.0  # kept of the time for what follows the last reply

    def __init__(
        self,
        model: Model,
        *,
        deadline: Duration = None,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        clock: Clock | None = None,
    ) -> None:
        self.model = model
        self.deadline = Budget.of(self.DEADLINE if deadline is None else deadline)
        self.gear = gear
        self.min_gear = min_gear
        self.policy = policy
        self.clock = clock or MonotonicClock()

    def due(self, deadline: Duration = None) -> Deadline:
        """The instant by which a call that begins now has to be done."""
        return self._budget(deadline).deadline(self.clock.now_ns())

    def _budget(self, deadline: Duration) -> Budget:
        return self.deadline if deadline is None else Budget.of(deadline, self.clock.now_ns())

    def left_ms(self, deadline: Deadline) -> float:
        """Milliseconds left of a deadline; inf where there is none."""
        return deadline.left_ms(self.clock.now_ns())

    def asking(
        self,
        messages: Sequence[Message],
        deadline: Deadline,
        *,
        weight: float = 1.0,
        of: float = 1.0,
        reserve_ms: float = 0.0,
        least_ms: float = 0.0,
        max_tokens: int | None = None,
        shown: bool = True,
        fit: Fitting = "none",
    ) -> Ask:
        """An Ask that may take its part of the time that is left (see Deadline.part_ms), and none
        that the application itself needs afterwards; less than none where that is over."""
        now_ns, reserve_ms = self.clock.now_ns(), reserve_ms + self.AFTER_MS
        budget_ms = None
        if deadline.total_ns is not None:
            part_ms = deadline.part_ms(
                weight, of=of, reserve_ms=reserve_ms, least_ms=least_ms, now_ns=now_ns
            )
            budget_ms = min(part_ms, deadline.left_ms(now_ns) - reserve_ms)
        most = self.LENGTH.most if max_tokens is None else max_tokens
        return Ask(
            messages=tuple(messages),
            max_tokens=most,
            budget_ms=budget_ms,
            app=self.NAME,
            shown=shown,
            fit=fit,
        )

    def call(
        self,
        steps: Callable[[Deadline], Steps[Result]],
        deadline: Duration = None,
        on_text: OnText | None = None,
    ) -> Result:
        """One call from its beginning: the time runs from here. A refusal tells the budget that the
        caller gave, and one that covers what was spent before the model was asked."""
        budget_ms = self._budget(deadline).total_ms
        try:
            return self.run(steps(self.due(deadline)), on_text)
        except DeadlineInfeasible as refusal:
            if budget_ms is None:
                raise
            raise of_the_whole(refusal, budget_ms) from None

    def run(self, steps: Steps[Result], on_text: OnText | None = None) -> Result:
        """Drive the steps with this application's model."""
        return run(
            self.model,
            steps,
            gear=self.gear,
            min_gear=self.min_gear,
            policy=self.policy,
            on_text=on_text,
        )

    # -- room ------------------------------------------------------------------------------------

    def prompt_room(self, deadline: Deadline, length: Length, *, share: float = 0.6) -> int:
        """Tokens that a prompt may have: beside an answer in the context (and no more than models
        are at home in), and in `share` of the time that is left. The rest of the time is the better
        gear's, should there be one."""
        context = self.model.context_length
        room = min(context - length.most, int(_PROMPT_SHARE * context)) - TEMPLATE_TOKENS
        left_ms = share * self.left_ms(deadline)
        low, high = 0, max(0, room)
        while low < high:
            middle = (low + high + 1) // 2
            if self.model.predict_ms(middle, length.usual) <= left_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def count(self, text: str) -> int:
        """Tokens of a text; a text that is much too long for the context is only estimated."""
        least = len(text) // CHARS_PER_TOKEN
        return least if least > self.model.context_length else self.model.count_tokens(text)

    def shortened(self, text: str, tokens: int) -> str:
        """The beginning of a text, at most so many tokens of it."""
        while (size := self.count(text)) > tokens and len(text) > 1:
            text = text[: max(1, int(0.95 * len(text) * tokens / size))]
        return text

    def checked(self, what: str, text: str, *, share: float = 0.5) -> int:
        """Tokens of a text that the prompt must hold whole. Raises EmptyPrompt where nothing of it
        is visible, ContextLengthExceeded where it takes more than `share` of the context."""
        if is_blank(text):
            raise EmptyPrompt(f"The {what} is empty.", hint="Write something.")
        tokens, limit = self.count(text), int(share * self.model.context_length)
        if tokens >= limit:
            raise ContextLengthExceeded(
                prompt_tokens=tokens,
                context_length=limit,
                message=f"The {what} has {tokens} tokens; it may have {max(0, limit - 1)} of the "
                f"{self.model.context_length} that this model holds.",
                hint="Shorten it, or take a model with a longer context.",
            )
        return tokens


def of_the_whole(
    refusal: DeadlineInfeasible, budget_ms: float, *, why: str = ""
) -> DeadlineInfeasible:
    """The refusal of a call that was given `budget_ms`, from that of one of its Asks: what was
    spent before it was known counts in the offer too."""
    spent_ms = max(0.0, budget_ms - refusal.budget_ms)
    # What is offered must be more than what did not do, whatever the predictions say.
    feasible_ms = float(math.ceil(max(spent_ms + refusal.feasible_ms, budget_ms + 1.0)))
    why = why or refusal.why
    return DeadlineInfeasible(budget_ms=budget_ms, feasible_ms=feasible_ms, why=why)


def check_text(name: str, text: object) -> None:
    """Raise InvalidRequest for what is no text."""
    if not isinstance(text, str):
        raise InvalidRequest(f"{name} is a {type(text).__name__}; it must be a text.")
