"""How a verb speaks: JSON for programs, tables for people, progress on the terminal.

It must not know what is reported. rich is imported only when something is drawn.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.table import Table

# Control characters but tab and line end, and those that override the direction of letters.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def emit_json(value: Any, *, one_line: bool = False) -> None:
    """Print one JSON object, as the whole of the output or as a line of it; nan and infinities
    become null, and characters that the output's encoding may lack are escaped."""
    indent = None if one_line else 2
    whole = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    print(json.dumps(_plain(value), ensure_ascii=not whole, indent=indent), flush=one_line)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits at a stream; a closed one is None."""
    return stream is not None and stream.isatty()


def shown(text: str) -> str:
    """A text as a terminal may show it: whatever it holds, it neither commands the terminal nor
    turns the letters of what stands beside it."""
    return _COMMANDS.sub("", text)


def for_stdout(text: str) -> str:
    """A text as standard output may have it: a file or a pipe gets every character."""
    return shown(text) if is_terminal(sys.stdout) else text


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True
) -> None:
    """Print a table; `numbers` aligns the columns after the first to the right."""
    from rich.console import Console

    drawn = _empty_table(title, columns, numbers=numbers)
    for row in rows:
        _add(drawn, row)
    Console(highlight=False).print(drawn)


@contextmanager
def growing_table(
    title: str, columns: Sequence[str], *, folded: Sequence[str] = ()
) -> Iterator[Callable[[Sequence[str]], None]]:
    """A table whose rows are shown on the terminal as they come; elsewhere it is printed whole.
    Where it is too wide, the columns `folded` give way; without any, all do.

    >>> with growing_table("sums", ("a", "b")) as add:  # doctest: +SKIP
    ...     add(("1", "2"))
    """
    from rich.console import Console
    from rich.live import Live

    drawn = _empty_table(title, columns, numbers=False)
    for column, name in zip(drawn.columns, columns, strict=True):
        column.no_wrap = bool(folded) and name not in folded
    console = Console(highlight=False)
    with Live(drawn, console=console, auto_refresh=False) as live:

        def add(row: Sequence[str]) -> None:
            _add(drawn, row)
            live.refresh()

        yield add
    if not console.is_terminal:  # there Live leaves the last line open
        console.line()


def _empty_table(title: str, columns: Sequence[str], *, numbers: bool) -> Table:
    from rich import box
    from rich.table import Table

    drawn = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE)
    for i, name in enumerate(columns):
        drawn.add_column(name, justify="right" if numbers and i else "left", overflow="fold")
    return drawn


def _add(drawn: Table, row: Sequence[str]) -> None:
    from rich.text import Text

    drawn.add_row(*(Text(cell) for cell in row))


def note(line: str) -> None:
    """A line for the person at the terminal, on stderr so that stdout stays the answer."""
    print(shown(line), file=sys.stderr, flush=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None] | None]:
    """A bar on stderr, driven by calls with the share done in [0, 1]; None where nobody looks.

    >>> with progress("loading") as advance:  # doctest: +SKIP
    ...     advance(0.5)
    """
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def megabytes(count: int) -> str:
    """Decimal units: "12.3 MB", and GB from a thousand of those on."""
    return f"{count / 1e9:.2f} GB" if count >= 1_000_000_000 else f"{count / 1e6:.1f} MB"


def plus_minus(value: float, se: float, digits: int = 3) -> str:
    """A value and its standard error: "0.0123±0.0004"."""
    return f"{value:.{digits}g}±{se:.1g}"
