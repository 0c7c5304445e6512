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
    from rich.console import Console, JustifyMethod
    from rich.table import Table

# Control characters but tab and line end, and those that override the direction of letters.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_FOLDED_CELLS = 20  # of a column that gives way: fewer break a sentence into too many lines
_BETWEEN_CELLS = 3  # a space on both sides, and the line between columns


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
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: bool = True,
    folded: Sequence[str] = (),
) -> None:
    """Print a table; `numbers` aligns the columns after the first to the right. Only the columns
    `folded` are broken into lines; where even so it is too wide, each row is lines of its own."""
    console = _console()
    made = [tuple(row) for row in rows]
    _print_title(console, title)
    if _least_width(columns, made, folded) > console.width:
        for row in made:
            _print_lines(console, columns, row, folded)
        return
    drawn = _empty_table(columns, folded, numbers=numbers)
    for row in made:
        _add(drawn, row)
    console.print(drawn)


@contextmanager
def growing_table(
    title: str, columns: Sequence[str], *, folded: Sequence[str], least: int
) -> Iterator[Callable[[Sequence[str]], None]]:
    """A table whose rows are shown on the terminal as they come; elsewhere it is printed whole.
    Only the columns `folded` give way; on fewer than `least` columns of the terminal, each row is
    lines of its own.

    >>> with growing_table("sums", ("a", "b"), folded=("b",), least=40) as add:  # doctest: +SKIP
    ...     add(("1", "2"))
    """
    console = _console()
    _print_title(console, title)
    if console.width < least:
        yield lambda row: _print_lines(console, columns, row, folded)
        return
    from rich.live import Live

    drawn = _empty_table(columns, folded, numbers=False)
    with Live(drawn, console=console, auto_refresh=False) as live:

        def add(row: Sequence[str]) -> None:
            _add(drawn, row)
            live.refresh()

        yield add
    if not console.is_terminal:  # there Live leaves the last line open
        console.line()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _print_title(console: Console, title: str) -> None:
    """On a line by itself, however long: a path that is broken cannot be copied."""
    from rich.text import Text

    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)


def _least_width(
    columns: Sequence[str], rows: Sequence[Sequence[str]], folded: Sequence[str]
) -> int:
    """Columns of the terminal that a table needs to break no cell but those of `folded`."""
    from rich.cells import cell_len

    total = 1
    for name, *cells in zip(columns, *rows, strict=True):
        widest = max(cell_len(line) for cell in (name, *cells) for line in cell.split("\n"))
        total += (min(widest, _FOLDED_CELLS) if name in folded else widest) + _BETWEEN_CELLS
    return total


def _print_lines(
    console: Console, columns: Sequence[str], row: Sequence[str], folded: Sequence[str]
) -> None:
    """A row as lines: its first cell; those of `folded`, a line each; the others, as many in a line
    as there is room for."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.text import Text

    def put(line: str) -> None:
        console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 2), expand=False))

    console.print(Text(row[0], style="bold", overflow="fold"))
    line = ""
    for name, cell in zip(columns[1:], row[1:], strict=True):
        said = f"{' '.join(name.split())} {cell}".strip()
        if name in folded:
            put(said)
            continue
        longer = f"{line} · {said}" if line else said
        if line and cell_len(longer) > console.width - 2:
            put(line)
            longer = said
        line = longer
    if line:
        put(line)


def _empty_table(columns: Sequence[str], folded: Sequence[str], *, numbers: bool) -> Table:
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE)
    for i, name in enumerate(columns):
        justify: JustifyMethod = "right" if numbers and i else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=name not in folded)
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
