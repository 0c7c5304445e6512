"""Offered: the tools that a chat request offers, whether one must be called, and what reads the
calls.

It must not know the engine or HTTP bodies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from onesec.core.errors import InvalidRequest
from onesec.core.request import SamplingParams
from onesec.model.tokenizer import Tokenizer
from onesec.prepare import Prepared

from .errors import ApiError
from .forcing import ForcedText, Forcing
from .schema import ChatRequest
from .tools import Style, ToolText, style_of


@dataclass(frozen=True, slots=True)
class Offered:
    """`reader` makes what reads one answer; `forcing`: the answer must be a call."""

    tokenizer: Tokenizer
    reader: Callable[[], ToolText | ForcedText]
    forcing: Forcing | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer, asked: ChatRequest) -> Offered | None:
        """What a request offers; None: nothing. Raises ApiError, InvalidRequest."""
        choice = asked.tool_choice
        if choice == "none" or (not asked.tools and choice in (None, "auto")):
            return None
        if not asked.tools:
            raise ApiError("invalid_request", "There are no tools to choose from.", param="tools")
        templates = tokenizer.chat_templates.values()
        style = style_of(templates)
        if style is None:
            raise ApiError(
                "invalid_request", "This model was not taught to use tools.", param="tools"
            )
        functions = _functions(asked.tools)
        if choice in (None, "auto"):
            names = frozenset(function["name"] for function in functions)
            most = {"most": 1} if asked.parallel_tool_calls is False else {}
            return cls(tokenizer, partial(ToolText, style, names, **most))
        return cls._forced(tokenizer, style, asked, _chosen(functions, choice))

    @classmethod
    def _forced(
        cls, tokenizer: Tokenizer, style: Style, asked: ChatRequest, functions: list[dict[str, Any]]
    ) -> Offered:
        formed = (asked.response_format or {}).get("type", "text") != "text"
        for name, given in (("stop", asked.stop), ("response_format", formed)):
            if given:
                raise ApiError(
                    "invalid_request", f"A forced call has no {name} of its own.", param=name
                )
        forcing = Forcing.of(style, tokenizer.chat_templates.values(), functions)
        return cls(tokenizer, partial(ForcedText, forcing.name), forcing)

    def params(self, params: SamplingParams) -> SamplingParams:
        """How such an answer is sampled. Raises InvalidRequest."""
        if self.forcing is None:
            return params
        try:
            return replace(params, response_format=self.forcing.response_format)
        except InvalidRequest as error:
            error.param = "tools"  # whose parameters the form is made of
            raise

    def opened(self, prompt: Prepared) -> Prepared:
        """The prompt, up to where the answer begins."""
        if self.forcing is None:
            return prompt
        return replace(prompt, tokens=self.forcing.tokens(prompt.tokens, self.tokenizer))


def _functions(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    functions = [tool.get("function") for tool in tools]
    found = [f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)]
    if len(found) < len(tools):
        raise ApiError("invalid_request", "A tool is a function with a name.", param="tools")
    return found


def _chosen(functions: list[dict[str, Any]], choice: Any) -> list[dict[str, Any]]:
    """The functions of which one must be called. Raises ApiError."""
    if choice == "required":
        return functions
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name is None:
        raise ApiError(
            "invalid_request",
            "tool_choice is auto, none, required, or names a function.",
            param="tool_choice",
        )
    found = [function for function in functions if function["name"] == name]
    if not found:
        raise ApiError(
            "invalid_request", "tool_choice names a tool that is not offered.", param="tool_choice"
        )
    return found[:1]
