"""Wording: a model's side of text, its tokenizer and its chat template, without any weights.

It must not know what computes, requests or deadlines. A door that holds no model builds on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onesec.core.errors import InvalidRequest
from onesec.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from onesec.prompt.template import ChatTemplate

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wording:
    """Messages to token ids. `template` is None where the model has none. Thread-safe."""

    name: str
    tokenizer: Tokenizer
    template: ChatTemplate | None

    @classmethod
    def of(cls, name: str, tokenizer: Tokenizer) -> Wording:
        """With the chat template that came with the tokenizer. Raises CorruptFile."""
        if not tokenizer.chat_templates:
            return cls(name, tokenizer, None)
        from onesec.prompt.template import ChatTemplate

        sources, special = tokenizer.chat_templates, tokenizer.special_tokens
        return cls(name, tokenizer, ChatTemplate(sources, special_tokens=special))

    def render(self, messages: Sequence[Message], **options: Any) -> list[int]:
        """Token ids of a conversation, cleaned, up to where the assistant speaks; `options` are
        those of `ChatTemplate.render`.

        Raises InvalidRequest when the model has no chat template or it refuses the messages.
        """
        self._needed()
        from onesec.prompt.fit import cleaned

        goes_on = bool(options.get("continue_final_message"))
        text = self.render_text(cleaned(messages, goes_on=goes_on), **options)
        return self.tokenizer.encode(text, special=True)

    def render_text(self, messages: Sequence[Message], **options: Any) -> str:
        """The text of a conversation that is clean already; its tokens are
        `tokenizer.encode(text, special=True)`. Raises as `render` does."""
        return self._needed().render(messages, protect=self.tokenizer.protect, **options)

    def fit_messages(
        self, messages: Sequence[Message], *, max_tokens: int
    ) -> tuple[list[Message], int]:
        """Clean the messages, drop the oldest turns until they fit; and how many turns went.

        Raises as `render` does, and ContextLengthExceeded where the last turn alone is too long.
        """
        from onesec.prompt.fit import check_list, fit

        self._needed()
        check_list(messages)  # a text alone would be a plain prompt
        fitted = fit(
            messages,
            count_tokens=lambda text: len(self.tokenizer.encode(text, special=True)),
            max_tokens=max_tokens,
            render=self.render_text,
            fitting="drop_oldest",
            shorten=False,
        )
        return list(fitted.messages or ()), fitted.report.dropped_turns

    def _needed(self) -> ChatTemplate:
        if self.template is None:
            raise InvalidRequest(
                f"{self.name} has no chat template.", hint="Use generate with a plain prompt."
            )
        return self.template
