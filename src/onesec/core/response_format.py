"""Response formats: what form an answer must have, checked before anything is compiled from it.

It must not know grammars, tokens or models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import InvalidRequest

MAX_SCHEMA_BYTES = 16 << 10
MAX_SCHEMA_DEPTH = 32
MAX_NUMBER_BOUNDS = 64  # each is compiled to a pattern of digits, about 10 ms
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OWN = "x-guidance"  # settings of the compiler, which are not the caller's


def only_form(response_format: Mapping[str, Any]) -> dict[str, Any]:
    """The same format without the keys that `schema_of` does not look at, and so does not limit.

    >>> only_form({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}})
    {'type': 'json_schema', 'schema': {}}
    """
    form = {"type": response_format.get("type")}
    return form if (schema := _schema_in(response_format)) is None else {**form, "schema": schema}


def schema_of(response_format: Mapping[str, Any]) -> str:
    """The JSON schema, as text, that an answer of this format satisfies.

    {"type": "json_object"}: any object. {"type": "json_schema", "schema": {...}}: that schema;
    OpenAI's nesting {"json_schema": {"schema": {...}}} is taken too.
    Raises InvalidRequest for other types, for schemas beyond the limits of bytes, depth and bounds
    of numbers, and for those that ask for more than one member that they do not name.

    >>> schema_of({"type": "json_object"})
    '{"type":"object"}'
    """
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "json_object":
        return '{"type":"object"}'
    if kind != "json_schema":
        raise _refused(
            f"response_format has the type {str(kind)[:40]!r}.",
            hint='It must be "json_object" or "json_schema".',
        )
    schema = _schema_in(response_format)
    if not isinstance(schema, Mapping):
        raise _refused("response_format has no schema.", hint="Give it as an object.")
    depth, bounds = _measure(schema)
    if depth > MAX_SCHEMA_DEPTH:
        raise _refused(f"The schema nests deeper than {MAX_SCHEMA_DEPTH}.")
    if bounds > MAX_NUMBER_BOUNDS:
        raise _refused(
            f"The schema bounds numbers {bounds} times; the limit is {MAX_NUMBER_BOUNDS}."
        )
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise _refused(f"The schema is no JSON: {str(error)[:120]}.") from None
    if size > MAX_SCHEMA_BYTES:
        raise _refused(f"The schema has {size} bytes; the limit is {MAX_SCHEMA_BYTES}.")
    return text


def _schema_in(response_format: Mapping[str, Any]) -> object:
    nested = response_format.get("json_schema")
    return (nested if isinstance(nested, Mapping) else response_format).get("schema")


def _measure(schema: object) -> tuple[int, int]:
    """How deep a value nests (one more than the limit where it is deeper), and how many bounds of
    numbers it has."""
    bounds, level, depth = 0, [schema], 0
    while level and depth <= MAX_SCHEMA_DEPTH:
        depth += 1
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                if _OWN in value:
                    raise _refused(f"The schema has a key {_OWN!r}, which is not JSON Schema's.")
                _check_members(value)
                bounds += sum(key in value for key in _BOUNDS)
                inner += value.values()
            elif isinstance(value, (list, tuple)):
                inner += value
        level = [value for value in inner if isinstance(value, (Mapping, list, tuple))]
        if len(level) > MAX_SCHEMA_BYTES:
            break  # too long in any case
    return depth + bool(level), bounds


def _check_members(schema: Mapping[str, Any]) -> None:
    """Raises InvalidRequest where an object needs two members and more with names of their own: a
    grammar does not keep these apart, and a name that comes twice is one member."""
    least, required = schema.get("minProperties"), schema.get("required")
    named = len(required) if isinstance(required, (list, tuple)) else 0
    if isinstance(least, (int, float)) and least > named + 1:
        raise _refused(
            f"The schema asks for {least} members (minProperties) and names {named} of them "
            "(required); only one may come without a name.",
            hint='Name them in "required".',
        )


def _refused(words: str, *, hint: str = "") -> InvalidRequest:
    return InvalidRequest(words, hint=hint, param="response_format")
