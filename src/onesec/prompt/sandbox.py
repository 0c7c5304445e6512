"""The cage for chat templates: Jinja that can only compute text, and only so much of it.

A template comes from a downloaded file and is as trustworthy as a stranger. Here it reaches plain
values alone (text, numbers, lists, dicts) through lists of allowed methods and filters, and every
loop turn, call, operator and character is charged to a meter. So its cost is bounded by counting,
the same on every machine, without a clock or a second process.
It must not know messages, roles or tokens.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

from . import filters
from .instrument import GenerationTag, Instrument
from .meter import METER, Meter, meter_of

MAX_SOURCE_CHARS = 64 << 10  # the longest templates in use have a third of that
MAX_NESTING = 100
MAX_RANGE = 4096
MAX_INT_BITS = 4096
MAX_FORMAT_CHARS = 64
# A width, as in %99999d, would pad without limit: directives are letters with at most a flag.
_PLAIN_DATE = re.compile(r"(?:[^%]|%[-_^#]?[A-Za-z%])*")

# fmt: off
_STR_METHODS = frozenset(
    {
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha",
        "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle",
        "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
        "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines",
        "startswith", "strip", "swapcase", "title", "upper"
    }
)
_DICT_METHODS = frozenset({"get", "items", "keys", "values"})
_LIST_METHODS = frozenset({"count", "index"})
_LOOP_ATTRIBUTES = frozenset(
    {
        "changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length",
        "nextitem", "previtem", "revindex", "revindex0"
    }
)
_FILTERS = frozenset(
    {
        "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first",
        "float", "groupby", "int", "items", "last", "length", "list", "lower", "map", "max",
        "min", "reject", "rejectattr", "reverse", "round", "safe", "select", "selectattr",
        "sort", "striptags", "title", "trim", "truncate", "unique", "upper", "wordcount"
    }
)
# fmt: on
_SIZED = (str, list, tuple, dict, range)
_OPENERS = frozenset({"for", "if", "macro", "call", "filter", "with", "block", "generation"})


class TemplateRefusal(TemplateError):
    """The template called raise_exception."""


class Cage(ImmutableSandboxedEnvironment):
    """The environment that templates are compiled in. `now` is the calendar for strftime_now.

    >>> Cage(now=datetime.now).compile_source("{{ 'a' ~ 1 }}").render({METER: Meter(100, 1000)})
    'a1'
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would compute before the meter runs
            finalize=_emit,
            extensions=["jinja2.ext.loopcontrols", GenerationTag],
        )

        def strftime_now(pattern: str) -> str:
            if len(pattern) > MAX_FORMAT_CHARS or not _PLAIN_DATE.fullmatch(pattern):
                raise SecurityError("strftime_now takes up to 64 characters of plain directives")
            return now().strftime(pattern)

        # Jinja looks for filters when it compiles: one that is not allowed fails where it is used.
        self.filters = {
            **{name: _not_allowed(name) for name in self.filters},
            **{name: self.filters[name] for name in _FILTERS},
            **filters.OWN,
        }
        self.filters |= {"tick!": _tick, "seen!": _seen, "kept!": _kept}
        # Those two need the environment, and only tell whether a name is known.
        self.tests = {
            name: test if name in ("filter", "test") else _metered(test)
            for name, test in self.tests.items()
        }
        self.globals = {
            "range": _range,
            "dict": dict,
            "namespace": Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": strftime_now,
        }
        self._functions = tuple(self.globals.values())

    def compile_source(self, source: str) -> Any:
        """A template, instrumented. Raises jinja2.TemplateError, RecursionError, SyntaxError or
        MemoryError for sources that are too long, too nested or wrong."""
        if len(source) > MAX_SOURCE_CHARS:
            raise TemplateError(f"{len(source)} characters; at most {MAX_SOURCE_CHARS} are read")
        depth = blocks = 0
        opening = False
        for _, kind, value in self.lex(source):
            if kind == "operator":
                depth += (value in "([{") - (value in ")]}")
            elif kind == "name" and opening:
                blocks += (value in _OPENERS) - (value[:3] == "end" and value[3:] in _OPENERS)
            opening = kind == "block_begin" or (opening and kind == "whitespace")
            if depth + blocks > MAX_NESTING:
                raise TemplateError(f"nested more than {MAX_NESTING} deep")
        return self.from_string(Instrument().visit(self.parse(source)))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only what is listed for the type; nothing of any other type."""
        if attr.startswith("_"):
            return False
        if isinstance(obj, str):
            return attr in _STR_METHODS
        if isinstance(obj, dict):
            return attr in _DICT_METHODS
        if isinstance(obj, (list, tuple)):
            return attr in _LIST_METHODS
        if isinstance(obj, LoopContext):
            return attr in _LOOP_ATTRIBUTES
        return isinstance(obj, Namespace)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Jinja, but a dict's key wins over a method that is not allowed anyway."""
        if isinstance(obj, dict) and attribute not in _DICT_METHODS and attribute in obj:
            return obj[attribute]
        _refuse_dunder(attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As Jinja."""
        if not isinstance(obj, dict):
            _refuse_dunder(argument)
        return super().getitem(obj, argument)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Raise at once, not when the value is used."""
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is not allowed")

    def wrap_str_format(self, value: Any) -> Any:
        """str.format becomes its plain form; None for everything else."""
        is_method = isinstance(value, types.BuiltinMethodType) and value.__name__ == "format"
        owner = value.__self__ if is_method else None
        return filters.PlainFormat(owner) if isinstance(owner, str) else None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call an allowed function or method, charged by the size of what it works on."""
        meter = meter_of(__context)
        owner = getattr(__obj, "__self__", None)
        if isinstance(__obj, types.BuiltinMethodType) and isinstance(
            owner, (str, dict, list, tuple)
        ):
            if not __self.is_safe_attribute(owner, __obj.__name__, __obj):
                raise SecurityError(f"calling {__obj.__name__!r} is not allowed")
            meter.charge(owner)
            if isinstance(owner, str) and __obj.__name__ in ("replace", "join"):
                meter.check_growth(owner, __obj.__name__, args)
        elif not (
            isinstance(__obj, (Macro, LoopContext, Undefined, filters.PlainFormat))
            or isinstance(owner, LoopContext)
            or any(__obj is function for function in __self._functions)
        ):
            raise SecurityError(f"calling a {type(__obj).__name__} is not allowed")
        for argument in (*args, *kwargs.values()):
            meter.charge(argument)
        if isinstance(__obj, filters.PlainFormat):
            return __obj.fill(meter, args, kwargs)
        return meter.keep(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """+ * ** %, with the size of the result known before it is made."""
        meter = meter_of(context)
        meter.charge(left)
        meter.charge(right)
        sized = (str, list, tuple)
        if operator == "%" and isinstance(left, str):
            raise SecurityError("formatting with % is not allowed; use ~")
        if operator == "+" and isinstance(left, sized) and isinstance(right, sized):
            meter.check_size(len(left) + len(right))
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, sized) and isinstance(count, int):
                    meter.check_size(len(text) * max(count, 0))
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length()
            if max(bits, right.bit_length()) > MAX_INT_BITS:
                raise SecurityError(f"numbers of more than {MAX_INT_BITS} bits are not allowed")
        result = super().call_binop(context, operator, left, right)
        if operator == "+" and isinstance(result, (list, tuple)):
            meter.keep_sum(result, left, right)
            return result
        return meter.keep(result)


@pass_context
def _tick(context: Context, value: Any) -> Any:
    meter_of(context).spend(1)
    return value


@pass_context
def _seen(context: Context, value: Any) -> Any:
    meter_of(context).charge(value)
    return value


@pass_context
def _kept(context: Context, value: Any) -> Any:
    return meter_of(context).keep(value)


@pass_context
def _emit(context: Context, value: Any) -> str:
    meter = meter_of(context)
    text = meter.text(value)
    meter.emit(len(text))
    return text


def _metered(test: Any) -> Callable[..., Any]:
    """The test, charged by the size of what it looks at: `in` walks through a whole list."""

    @pass_context
    def run(context: Context, *values: Any) -> Any:
        meter = meter_of(context)
        for value in values:
            meter.charge(value) if isinstance(value, _SIZED) else meter.spend(1)
        return test(*values)

    return run


def _refuse_dunder(name: Any) -> None:
    # Jinja would give "undefined" where there is no such attribute; nobody honest asks.
    if isinstance(name, str) and name.startswith("__"):
        raise SecurityError(f"{name[:40]!r} is not allowed")


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_RANGE:
        raise SecurityError(f"a range of {len(made)}; at most {MAX_RANGE} are allowed")
    return made


def _not_allowed(name: str) -> Callable[..., Any]:
    def filter_(*_: Any, **__: Any) -> Any:
        raise SecurityError(f"the filter {name!r} is not allowed")

    return filter_


def _raise_exception(message: object = "") -> None:
    raise TemplateRefusal(str(message)[:200])


def render(template: Any, values: Mapping[str, Any], *, max_work: int, max_chars: int) -> str:
    """Run a template from `compile_source` on plain values. Raises what Jinja and the template
    raise; SecurityError for what is not allowed, limits included."""
    text: str = template.render({**values, METER: Meter(max_work, max_chars)})
    return text
