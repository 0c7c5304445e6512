"""Forcing: an answer that must be one call of a tool, whatever the model would rather say.

The mark that opens a call in the model's notation is put behind the prompt, and what follows is
held to a JSON schema: the call, and nothing else. So it is whole wherever time ends it. It must not
know HTTP, or how answers are held to schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onesec.core.errors import InvalidRequest
from onesec.core.response_format import schema_of
from onesec.model.thinking import thinking_marks
from onesec.model.tokenizer import Tokenizer

from .tools import ARGUMENTS_MARK, OPENING, Style, ToolCall

_HEAD = re.compile(r'\s*\[?\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"\w+"\s*:\s*')


@dataclass(frozen=True, slots=True)
class Forcing:
    """opening: what stands behind the prompt; response_format: what follows it; name: that of the
    tool, where what follows are its arguments alone."""

    opening: str
    response_format: dict[str, Any]
    name: str | None = None

    @classmethod
    def of(
        cls, style: Style, templates: Iterable[str], functions: Sequence[Mapping[str, Any]]
    ) -> Forcing:
        """One call of one of these functions (OpenAI's objects), in the notation of a model with
        these templates. Raises InvalidRequest.

        >>> forcing = Forcing.of("hermes", [], [{"name": "f"}])
        >>> forcing.opening
        '<tool_call>\\n'
        """
        if style == "mistral" and any(ARGUMENTS_MARK in template for template in templates):
            if len(functions) > 1:
                raise InvalidRequest(
                    "This model writes a tool's name outside of JSON, which cannot be left open.",
                    hint="Name the function in tool_choice.",
                )
            name, schema = str(functions[0]["name"]), _parameters(functions[0])
            return cls(f"{OPENING[style]}{name}{ARGUMENTS_MARK}", _format(schema), name)
        key = "parameters" if style == "llama3" else "arguments"
        calls, definitions = [], {}
        for number, function in enumerate(functions):
            place = f"tool{number}"
            definitions[place] = _moved(_parameters(function), f"#/$defs/{place}")
            calls.append(
                {
                    "type": "object",
                    "properties": {
                        "name": {"const": function["name"]},
                        key: {"$ref": f"#/$defs/{place}"},
                    },
                    "required": ["name", key],
                    "additionalProperties": False,
                }
            )
        call: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
        opening = {"hermes": f"{OPENING['hermes']}\n", "mistral": OPENING["mistral"], "llama3": ""}
        if style == "mistral":
            call = {"type": "array", "items": call, "minItems": 1, "maxItems": 1}
        return cls(opening[style], _format({**call, "$defs": definitions}))

    def tokens(self, prompt: Sequence[int], tokenizer: Tokenizer) -> tuple[int, ...]:
        """A prompt with the opening behind it; a model that was thinking stops first."""
        marks = thinking_marks(tokenizer)
        ended = marks.closing_ids if marks is not None and marks.open_after(prompt) else ()
        opening = tokenizer.encode(self.opening, special=True) if self.opening else ()
        return (*prompt, *ended, *opening)


class ForcedText:
    """The text of a forced call as it grows; see ToolText, whose place it takes.

    >>> text = ForcedText(None)
    >>> text.push('{"name": "f", "arguments": {"x": "}')
    ''
    >>> [delta["tool_calls"][0]["function"] for delta in text.deltas()]
    [{'name': 'f', 'arguments': ''}, {'arguments': '{"x": "}'}]
    >>> text.push('"}}'), text.end()
    ('', '')
    >>> text.deltas()[0]["tool_calls"][0]["function"], text.calls[0].arguments
    ({'arguments': '"}'}, '{"x": "}"}')
    """

    def __init__(self, name: str | None) -> None:
        self.calls: list[ToolCall] = []
        self._text = ""
        self._name = name
        self._id = ToolCall("", "").id
        self._begin = 0 if name is not None else -1  # of the arguments; -1: not there yet
        self._read = 0  # characters that the braces were counted in
        self._depth, self._quoted, self._escaped = 0, False, False
        self._end: int | None = None  # of the arguments
        self._told = -1  # characters of them that were told; -1: not even the name

    def push(self, piece: str) -> str:
        """Take more text; none of it is shown as text."""
        self._text += piece
        if self._begin < 0 and (head := _HEAD.match(self._text)):
            self._name = json.loads(head[1])
            self._begin = head.end()
        if self._begin >= 0 and self._end is None:
            self._count()
        return ""

    def end(self) -> str:
        """The text is complete: the call, or text after all, where nothing could be written."""
        if self._name is None or self._end is None:
            return self._text
        arguments = self._text[self._begin : self._end]
        self.calls = [ToolCall(self._name, arguments, self._id)]
        return ""

    def deltas(self) -> list[dict[str, Any]]:
        """What of the call was not told yet, as OpenAI's deltas: the name, then its arguments."""
        found: list[dict[str, Any]] = []
        if self._name is None or self._begin < 0:
            return found
        if self._told < 0:
            self._told = 0
            named = {"name": self._name, "arguments": ""}
            found.append({"index": 0, "id": self._id, "type": "function", "function": named})
        known = self._text[self._begin : self._read if self._end is None else self._end]
        if more := known[self._told :]:
            self._told = len(known)
            found.append({"index": 0, "function": {"arguments": more}})
        return [{"tool_calls": [delta]} for delta in found]

    def _count(self) -> None:
        """Read on to where the arguments' braces are closed."""
        at = max(self._read, self._begin)
        while at < len(self._text):
            character = self._text[at]
            at += 1
            if self._quoted:
                self._quoted = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if not self._depth:
                    self._end = at
                    break
        self._read = at


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments, which are an object. Raises InvalidRequest."""
    given = function.get("parameters")
    if given is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(given, dict) or given.get("type", "object") != "object":
        raise InvalidRequest("The parameters of a tool are a schema of an object.")
    schema = {"type": "object", **given}
    schema_of(_format(schema))  # raises for what is too deep to be moved
    return schema


def _moved(schema: Any, place: str) -> Any:
    """A schema that lies at `place` of another one: references to its own parts follow."""
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
