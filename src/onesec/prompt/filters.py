"""Filters of chat templates whose result can outgrow their input: each is checked beforehand.

It must not know messages or the way that templates are compiled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.utils import pass_context

from .meter import Meter, meter_of

MAX_INDENT = 64
MAX_SEPARATORS = 16  # characters of both together
_FIELD = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")


@pass_context
def tojson(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as model authors meant it: not escaped for HTML, non-ASCII letters as they are."""
    meter = meter_of(context)
    meter.check_size(meter.weigh(value) * (1 + _check_indent(indent or 0)))
    if sum(map(len, map(meter.text, separators or ()))) > MAX_SEPARATORS:
        raise SecurityError(f"separators of more than {MAX_SEPARATORS} characters")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@pass_context
def join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> str:
    """The parts as text, one after the other, with `d` between."""
    return _concat(context, _parts(context, value, attribute), meter_of(context).text(d))


@pass_context
def concat(context: Context, parts: list[Any]) -> str:
    """The operator ~."""
    return _concat(context, parts, "")


@pass_context
def replace(context: Context, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """`old` by `new`, everywhere or `count` times."""
    meter = meter_of(context)
    text, old, new = meter.text(value), meter.text(old), meter.text(new)
    meter.check_growth(text, "replace", (old, new))
    return text.replace(old, new, -1 if count is None else count)


@pass_context
def indent(
    context: Context, value: Any, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    """Each line but the first (and but blank ones) moved to the right."""
    meter = meter_of(context)
    text = meter.text(value)
    margin = width if isinstance(width, str) else " " * _check_indent(width)
    _check_indent(len(margin))
    lines = text.splitlines() if not text.endswith("\n") else [*text.splitlines(), ""]
    meter.check_size(len(text) + len(lines) * len(margin))
    moved = [
        margin + line if (first or i) and (line or blank) else line for i, line in enumerate(lines)
    ]
    return "\n".join(moved)


class PlainFormat:
    """str.format with {}, {0} and {name} alone: no attributes, no widths."""

    def __init__(self, text: str) -> None:
        self._text = text

    def fill(self, meter: Meter, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The text with its fields filled in. Raises LookupError where one is missing."""
        nexts = iter(args)
        left = meter.max_chars - len(self._text)

        def field(match: re.Match[str]) -> str:
            nonlocal left
            if match[0] in ("{{", "}}"):
                return match[0][0]
            name = match[1]
            if name is None:
                raise SecurityError("format fields may only be {}, {0} or {name}")
            value = args[int(name)] if name.isdecimal() else kwargs[name] if name else next(nexts)
            written = meter.text(value)
            left -= len(written)
            if left < 0:
                raise SecurityError("a formatted text is too long")
            return written

        return _FIELD.sub(field, self._text)


@pass_context
def total(context: Context, iterable: Any, attribute: Any = None, start: float = 0) -> float:
    """The sum of numbers; adding up lists would copy them again and again."""
    parts = _parts(context, iterable, attribute)
    meter_of(context).spend(1 + len(parts))
    if not all(isinstance(part, (int, float)) for part in (start, *parts)):
        raise SecurityError("only numbers can be summed up")
    return sum(parts, start)


@pass_context
def string(context: Context, value: Any) -> str:
    """The value as text."""
    return meter_of(context).text(value)


def _parts(context: Context, values: Any, attribute: Any) -> list[Any]:
    """The values, or what each has under that attribute."""
    if attribute is None:
        return list(values)
    return list(map(make_attrgetter(context.environment, attribute), values))


def _concat(context: Context, parts: list[Any], between: str) -> str:
    meter = meter_of(context)
    meter.spend(1 + len(parts))
    texts, size = [], 0
    for part in parts:
        texts.append(meter.text(part))
        size += len(texts[-1]) + len(between)
        meter.check_size(size)
    return between.join(texts)


def _check_indent(width: int) -> int:
    if not isinstance(width, int) or not 0 <= width <= MAX_INDENT:
        raise SecurityError(f"an indent of {width!r}; 0 to {MAX_INDENT} are allowed")
    return width


OWN: dict[str, Callable[..., Any]] = {
    "tojson": tojson,
    "join": join,
    "concat!": concat,
    "replace": replace,
    "indent": indent,
    "sum": total,
    "string": string,
}
