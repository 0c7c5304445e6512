"""Tools: the calls that a model writes into its text, found there, whole or as it grows.

It must not know HTTP or what tools do. Three notations, told by the model's own chat template:
`<tool_call>{...}</tool_call>` (Hermes, Qwen), `[TOOL_CALLS][{...}]` (Mistral), and a bare object or
one after `<|python_tag|>` (Llama 3). What does not parse, or names no tool that was offered, is
text.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Style = Literal["hermes", "mistral", "llama3"]
OPENING: dict[Style, str] = {
    "hermes": "<tool_call>",
    "mistral": "[TOOL_CALLS]",
    "llama3": "<|python_tag|>",
}
_CLOSE = "</tool_call>"
ARGUMENTS_MARK = "[ARGS]"  # newer Mistral models: name[ARGS]{...}
_MOST_CALLS = 32
_ID_CHARACTERS = string.ascii_letters + string.digits
_json = json.JSONDecoder()


def _new_id() -> str:
    """Nine letters and digits: what Mistral's templates demand, and others take as well."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(9))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call: `arguments` is JSON, as the model wrote it."""

    name: str
    arguments: str
    id: str = field(default_factory=_new_id)

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's object."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


def style_of(templates: Iterable[str]) -> Style | None:
    """The notation that a model's templates speak of; None where they know no tools."""
    text = "\n".join(templates)
    return next((style for style, mark in OPENING.items() if mark in text), None)


class ToolText:
    """An answer's text with calls in it, as it grows: what may be shown, and at the end the calls;
    at `most` so many, later ones are left out.

    >>> text = ToolText("hermes", {"f"})
    >>> text.push('Well. <tool_call>{"name": "f", "arguments": {}}</tool_call>')
    'Well. '
    >>> text.end(), [call.name for call in text.calls]
    ('', ['f'])
    """

    def __init__(self, style: Style, names: Collection[str], most: int = _MOST_CALLS) -> None:
        self.calls: list[ToolCall] = []
        self._most = most
        self._told = 0  # calls
        self._style = style
        self._names = frozenset(names)
        self._held = ""  # may be, or become, calls
        self._begun = False  # text was shown

    def push(self, piece: str) -> str:
        """Take more text; returns what certainly is not part of a call."""
        self._held += piece
        start = self._start()
        shown, self._held = self._held[:start], self._held[start:]
        self._begun = self._begun or bool(shown.strip())
        return shown

    def end(self) -> str:
        """The text is complete: finds the calls; returns what turned out to be text after all."""
        held, self._held = self._held, ""
        calls = _parse(held, self._style)
        if not calls or any(call.name not in self._names for call in calls):
            return held
        self.calls = calls[: self._most]
        return ""

    def deltas(self) -> list[dict[str, Any]]:
        """The calls that were not told yet, as OpenAI's deltas."""
        begin, self._told = self._told, len(self.calls)
        return [
            {"tool_calls": [{"index": index, **call.to_dict()}]}
            for index, call in enumerate(self.calls[begin:], begin)
        ]

    def _start(self) -> int:
        """Where a call begins, or might."""
        held, mark = self._held, OPENING[self._style]
        if self._style == "llama3" and not self._begun and held.lstrip()[:1] in ("{", ""):
            return 0
        at = held.find(mark)
        if at >= 0:
            return at
        for size in range(min(len(mark) - 1, len(held)), 0, -1):
            if held.endswith(mark[:size]):
                return len(held) - size
        return len(held)


def _parse(text: str, style: Style) -> list[ToolCall]:
    """The calls of a text that is nothing else; none where any of it does not parse."""
    try:
        if style == "hermes":
            found = [_call(part) for part in _between(text)]
        elif style == "mistral":
            found = _mistral(text)
        else:
            parts = text.replace(OPENING["llama3"], "").strip()
            found = [_call(value) for value in _objects(parts)]
    except (ValueError, RecursionError):
        return []
    return found


def _between(text: str) -> list[Any]:
    values = []
    for part in text.split(OPENING["hermes"])[1:]:
        inner, close, rest = part.partition(_CLOSE)
        if not close or rest.strip():
            raise ValueError("not closed, or followed by text")
        values.append(_json.decode(inner.strip()))
    return values


def _mistral(text: str) -> list[ToolCall]:
    calls = []
    for part in text.split(OPENING["mistral"])[1:]:
        name, mark, arguments = part.partition(ARGUMENTS_MARK)
        if mark:
            calls.append(_call({"name": name.strip(), "arguments": _json.decode(arguments)}))
        else:
            values = _json.decode(part.strip())
            if not isinstance(values, list):
                raise ValueError("no list of calls")
            calls += [_call(value) for value in values]
    return calls


def _objects(text: str) -> list[Any]:
    """JSON objects, one after the other, with semicolons between."""
    values, at = [], 0
    while at < len(text):
        value, at = _json.raw_decode(text, at)
        values.append(value)
        while at < len(text) and text[at] in "; \n\t":
            at += 1
    return values


def _call(value: Any) -> ToolCall:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("no call")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json.decode(arguments)
    if not isinstance(arguments, dict):
        raise ValueError("arguments are an object")
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    text.encode()  # half a surrogate pair, which an escape can spell, has no bytes
    return ToolCall(value["name"], text)
