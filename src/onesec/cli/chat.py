"""`onesec chat`: a conversation in the terminal, streamed, each answer within the deadline.

The history is fitted into context and time by dropping the oldest turns; what was dropped is said.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .application import need_utf8
from .generate import bounded, load_llm, summary
from .options import (
    best_effort_option,
    budget_options,
    budget_value,
    engine_options,
    engine_values,
    gear_option,
    min_gear_option,
    model_argument,
    policy_option,
    sampling_options,
    sampling_values,
)
from .output import note, shown
from .tint import confidence_option, print_tinted

if TYPE_CHECKING:
    from onesec.llm import LLM

_HELP = "/reset forgets the conversation · /gear NAME (or auto) · /quit"
_SPARE_SHARE = 0.25  # of the context, kept for the answer


class Conversation:
    """The messages so far, and how the next answer is asked for."""

    def __init__(
        self, llm: LLM, *, system: str | None, gear: str | None, options: dict[str, Any]
    ) -> None:
        self._llm = llm
        self._system = [{"role": "system", "content": system}] if system else []
        self._messages: list[Mapping[str, Any]] = list(self._system)
        self._gear = gear
        self._options = options
        self._marked = options.get("logprobs") is not None
        self.failed = 0  # questions without an answer

    def command(self, line: str) -> bool:
        """Obey a line that begins with a slash; False where the conversation is over."""
        word, _, rest = line.partition(" ")
        if word in ("/quit", "/exit", "/q"):
            return False
        if word == "/reset":
            self._messages = list(self._system)
            note("Forgotten. 已清空。")
        elif word == "/gear":
            names = [gear.name for gear in self._llm.gears]
            wanted = rest.strip()
            if wanted in names:
                self._gear = wanted
            elif wanted in ("auto", ""):
                self._gear = None
            else:
                note(f"There is no gear {wanted!r}; this model has {', '.join(names)}.")
                return True
            note(f"gear {self._gear or 'auto'}")
        else:
            note(_HELP)
        return True

    def say(self, text: str) -> None:
        """One turn: print the answer as it comes, and remember it."""
        from onesec.core.errors import OneSecError

        self._messages.append({"role": "user", "content": text})
        try:
            need_utf8(text)
            with self._llm.chat(
                self._fitted(),
                stream=True,
                gear=self._gear,
                fit="drop_oldest",
                **self._options,
            ) as answer:
                for piece in () if self._marked else answer:
                    print(shown(piece), end="", flush=True)
                output = answer.output
        except (OneSecError, KeyboardInterrupt) as error:
            # The question did not get its answer: it is forgotten, the conversation goes on.
            self._messages.pop()
            self.failed += 1
            stopped = isinstance(error, KeyboardInterrupt)
            if stopped and not sys.stdin.isatty():
                raise  # nobody is there to ask something else
            note("\n[stopped]" if stopped else f"error: {error}")
            return
        if self._marked:
            print_tinted(output)
        else:
            print()
        if output.fitted is not None and (turns := output.fitted.dropped_turns):
            note(f"[without the oldest {turns} turns, for want of time]")
        if output.fitted is not None and (chars := output.fitted.removed_chars):
            note(f"[{chars} characters were left out to fit]")
        note(summary(output))
        self._messages.append({"role": "assistant", "content": output.text})

    def _fitted(self) -> list[Mapping[str, Any]]:
        """The messages that fit beside an answer; forgets the others for good."""
        from onesec.core.errors import ContextLengthExceeded

        room = int(self._llm.context_length * (1.0 - _SPARE_SHARE))
        try:
            messages, dropped = self._llm.fit_messages(self._messages, max_tokens=room)
        except ContextLengthExceeded:
            return self._messages  # the last turn alone is too long: the answer tells what is gone
        if dropped:
            note(f"[the oldest {dropped} turns were dropped to fit the context]")
            self._messages = list(messages)
        return messages


@click.command("chat")
@model_argument
@budget_options
@gear_option
@min_gear_option
@policy_option
@best_effort_option
@click.option("--system", metavar="TEXT", help="System message. 系统提示")
@confidence_option
@sampling_options
@engine_options
def command(
    model: str,
    gear: str | None,
    min_gear: str | None,
    policy: str,
    best_effort: bool,
    system: str | None,
    confidence: bool,
    **given: Any,
) -> int:
    """Talk with MODEL; every answer within --deadline. 对话

    Without a terminal every line of standard input is a question; where one was not answered, the
    exit code is 1.
    """
    from onesec.core.errors import InvalidRequest

    budget, values, engine = budget_value(given), sampling_values(given), engine_values(given)
    values |= {"logprobs": 0} if confidence else {}
    with load_llm(model, engine, needs_16=gear == "16") as llm:
        if not llm.has_chat_template:
            raise InvalidRequest(
                f"{model} has no chat template.", hint="Use onesec generate with a plain prompt."
            )
        values |= {"deadline": budget, "min_gear": min_gear, "policy": policy}
        options = bounded(llm, {"best_effort": best_effort, **values})
        conversation = Conversation(llm, system=system, gear=gear, options=options)
        if sys.stdin.isatty():
            import readline  # noqa: F401  (its import gives input() a history and editing)

            note(_HELP)
        while (line := _ask()) is not None:
            if line.startswith("/"):
                if not conversation.command(line):
                    break
            elif line:
                conversation.say(line)
        return 1 if conversation.failed and not sys.stdin.isatty() else 0


def _ask() -> str | None:
    """The next line, or None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
