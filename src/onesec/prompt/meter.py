"""Meter: what one rendering may still spend, in steps and in characters.

It must not know templates' syntax; it sees values only.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any, cast

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.utils import Namespace

METER = "meter!"  # the variable that carries it; no template can write this name
CHARS_PER_STEP = 64  # handling so many characters or items costs about one step
EMITTED_FACTOR = 4  # text passes through blocks and macros before it is output
MAX_DEPTH = 64  # of nested lists and dicts

_VIEWS = (KeysView, ValuesView, ItemsView)
_NUMBERS = (bool, int, float, type(None))


class Meter:
    """Steps and characters left. `max_chars` bounds every single text and container; what passes to
    the output, through blocks and macros too, is bounded by four times that.

    All methods raise SecurityError at the limit, and for values that are not plain.
    """

    def __init__(self, max_work: int, max_chars: int) -> None:
        self.work_left = max_work
        self.max_chars = max_chars
        self.emit_left = max_chars * EMITTED_FACTOR
        # Containers cannot be changed inside the cage: a weight holds as long as its object.
        self._weights: dict[int, tuple[object, int]] = {}

    def spend(self, steps: int) -> None:
        """Take steps off."""
        self.work_left -= steps
        if self.work_left < 0:
            raise SecurityError("the template does too much work for these messages")

    def emit(self, chars: int) -> None:
        """Take characters of output off."""
        self.emit_left -= chars
        if self.emit_left < 0:
            raise SecurityError("the template writes too much text")
        self.spend(1 + chars // CHARS_PER_STEP)

    def check_size(self, size: int) -> None:
        """Refuse a text or list of that length before it exists."""
        if size > self.max_chars:
            raise SecurityError(f"a value of size {size}; at most {self.max_chars} is allowed")

    def check_growth(self, owner: str, method: str, args: tuple[Any, ...]) -> None:
        """Refuse str.replace and str.join whose result would be too long."""
        if method == "join":
            parts = args[0] if args and isinstance(args[0], (list, tuple, str)) else ()
            self.check_size(len(owner) * len(parts) + sum(len(part) for part in parts))
        elif len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
            hits = owner.count(args[0])
            self.check_size(len(owner) + hits * max(len(args[1]) - len(args[0]), 0))

    def charge(self, value: Any) -> None:
        """Pay for handling a plain value once; anything else is refused."""
        if isinstance(value, (str, list, tuple, dict, range, *_VIEWS)):
            self.spend(1 + len(value) // CHARS_PER_STEP)
        elif isinstance(value, (*_NUMBERS, Undefined, Namespace, Iterator)):
            self.spend(1)
        else:
            raise SecurityError(f"a {type(value).__name__} is not a plain value")

    def keep(self, value: Any) -> Any:
        """Check a fresh value's size before it is used further; gives it back."""
        if isinstance(value, str):
            self.check_size(len(value))
            self.spend(1 + len(value) // CHARS_PER_STEP)
        elif isinstance(value, (list, tuple, dict)):
            self.weigh(value)
        return value

    def keep_sum(self, total: Any, left: Any, right: Any) -> None:
        """As `keep` for left + right, lists or tuples, without walking through them again:
        templates collect messages one by one."""
        weight = self.weigh(left) + self.weigh(right)
        self.check_size(weight)
        self._weights[id(total)] = (total, weight)

    def weigh(self, value: Any, depth: int = 0) -> int:
        """About how many characters a value has when written out; shared parts count each time."""
        if isinstance(value, str):
            return len(value) + 2
        if isinstance(value, (*_NUMBERS, Undefined)):
            return 8
        if isinstance(value, Namespace) or not isinstance(
            value, (list, tuple, dict, range, *_VIEWS)
        ):
            raise SecurityError(f"a {type(value).__name__} is not a plain value")
        if (known := self._weights.get(id(value))) is not None:
            return known[1]
        if depth >= MAX_DEPTH:
            raise SecurityError(f"values nest more than {MAX_DEPTH} deep")
        self.spend(1 + len(value))
        total = 2
        for part in value:
            total += 2 + self.weigh(part, depth + 1)
            if isinstance(value, dict):
                total += self.weigh(value[part], depth + 1)
            self.check_size(total)
        self._weights[id(value)] = (value, total)
        return total

    def text(self, value: Any) -> str:
        """A plain value as Jinja writes it; others would show addresses."""
        if isinstance(value, str):
            self.check_size(len(value))
            return value
        self.weigh(value)
        return str(value)


def meter_of(context: Context) -> Meter:
    """The meter of the rendering that this context belongs to."""
    return cast(Meter, context.resolve(METER))
