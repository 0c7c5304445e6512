"""What the applications' verbs share: loading the model, reading text, telling how it went.

It must not know what any of them does.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .generate import load_llm
from .options import engine_values
from .output import emit_json, for_stdout, is_terminal, note, shown

if TYPE_CHECKING:
    from onesec.core.errors import InvalidRequest, OneSecError
    from onesec.llm import LLM

CUT = "[cut off before its end. 未完成]"


class Session:
    """A loaded model with the options of a verb, and the clock of its call."""

    def __init__(self, llm: LLM, options: dict[str, Any]) -> None:
        self.llm = llm
        self.choices = {name: options[name] for name in ("gear", "min_gear", "policy")}
        self.deadline: str | None = options["deadline"]
        self.as_json: bool = options["as_json"]
        self.show: bool = options["show"]
        self.live = not self.as_json and is_terminal(sys.stdout)
        self._start = time.perf_counter()

    def start(self) -> None:
        """The budget runs from here."""
        self._start = time.perf_counter()

    def report(
        self,
        result: Any,
        replies: Sequence[Any],
        *,
        budget_ms: float | None,
        remarks: list[str],
        calls: int | None = None,
        one_line: bool = False,
    ) -> None:
        """Print a finished result: its text, unless it was printed live, or all of it as JSON.

        replies   the Outputs that are in the result; `calls` were made for it (default: as many)
        one_line  JSON on a line by itself, where others follow

        Call it at once: the time that it tells ends here.
        """
        elapsed_ms = 1e3 * (time.perf_counter() - self._start)
        met = None if budget_ms is None else elapsed_ms <= budget_ms
        if self.as_json:
            emit_json(
                {**asdict(result), "elapsed_ms": elapsed_ms, "budget_ms": budget_ms, "met": met},
                one_line=one_line,
            )
            return
        print("" if self.live else for_stdout(result.text), flush=True)
        chars = sum(reply.fitted.removed_chars for reply in replies if reply.fitted is not None)
        if chars:
            left_out = f"[{chars} characters of what was found were left out for want of time"
            remarks = [*remarks, f"{left_out}. 为按时完成略去 {chars} 个字符]"]
        if any(reply.ending == "cut" for reply in replies):
            remarks = [*remarks, CUT]
        for remark in remarks:
            note(remark)
        if self.show:
            note(_line(elapsed_ms, budget_ms, met, replies, calls or len(replies)))

    @property
    def on_text(self) -> Any:
        """Prints text as it comes, where somebody looks."""
        return _print_piece if self.live else None


def _line(
    elapsed_ms: float,
    budget_ms: float | None,
    met: bool | None,
    replies: Sequence[Any],
    calls: int,
) -> str:
    """One line on how a result came about: time, and where all replies are known, their gears."""
    budget = "" if budget_ms is None else f" of {budget_ms:.0f}"
    parts = [f"{elapsed_ms:.0f}{budget} ms"]
    if calls != 1:
        parts.append(f"{calls} calls")
    if calls == len(replies):
        gears: Counter[str] = Counter()
        for reply in replies:
            gears.update(reply.trace.gears)
        parts.append(f"{sum(len(reply.tokens) for reply in replies)} tokens")
        parts.append("gear " + ("+".join(f"{name}:{n}" for name, n in gears.items()) or "-"))
    parts += dict.fromkeys(reply.ending for reply in replies)
    if met is not None:
        parts.append("in time" if met else "LATE")
    return "[" + " · ".join(parts) + "]"


def _print_piece(piece: str) -> None:
    print(shown(piece), end="", flush=True)


def percent(share: float) -> str:
    """A share that is rounded neither to nothing nor to all: "24%", "0.3%", "99.9%"."""
    if 0.01 <= share < 0.995 or share == 1.0:
        return f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}"


@contextmanager
def session(options: dict[str, Any]) -> Iterator[Session]:
    """Check the options, load the model, and hand over both."""
    from onesec.core.deadline import parse_duration_ms

    if options["deadline"] is not None:
        parse_duration_ms(options["deadline"])  # refuse nonsense before a model is loaded
    engine = engine_values(options)
    with load_llm(options["model"], engine, needs_16=options["gear"] == "16") as llm:
        need_chat_template(llm, options["model"])
        yield Session(llm, options)


def need_chat_template(llm: LLM, model: str) -> None:
    """Raise InvalidRequest where a model cannot chat."""
    from onesec.core.errors import InvalidRequest

    if not llm.has_chat_template:
        raise InvalidRequest(
            f"{model} has no chat template.",
            hint="Choose a chat model, or use onesec generate with a plain prompt.",
        )


def not_utf8(name: str, error: UnicodeDecodeError) -> InvalidRequest:
    """The refusal of bytes that are no text; `name` is where they came from."""
    from onesec.core.errors import InvalidRequest

    return InvalidRequest(
        f"{name} is not UTF-8 at byte {error.start} (0x{error.object[error.start]:02X}). "
        "不是 UTF-8。",
        hint="If it is a text, convert it, for example: iconv -f GB18030 -t UTF-8.",
    )


def need_utf8(line: str) -> None:
    """Raise InvalidRequest for a line of stdin that holds bytes of no text, which stand in it as
    halves of surrogate pairs."""
    try:
        line.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError as error:
        raise not_utf8("stdin", error) from None


def refused(error: OneSecError) -> dict[str, Any]:
    """What a line of JSON tells of an error; with the offer, where it is a refusal."""
    from onesec.core.errors import DeadlineInfeasible

    told: dict[str, Any] = {"error": str(error), "code": error.code}
    if isinstance(error, DeadlineInfeasible):
        told |= {"which": error.which, "feasible_ms": error.feasible_ms}
    return told


def need_there(file: str) -> None:
    """Raise InvalidRequest where there is no file or folder of this name."""
    from onesec.core.errors import InvalidRequest

    if not Path(file).exists():
        raise InvalidRequest(f"There is no file {file}. 没有这个文件。", hint="Check the path.")


def read_file(file: str) -> bytes:
    """The bytes of a file. Raises InvalidRequest where there are none to read."""
    from onesec.core.errors import InvalidRequest

    need_there(file)
    if Path(file).is_dir():
        raise InvalidRequest(f"{file} is a folder. 这是文件夹。", hint="Name a file in it.")
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"{file} cannot be read ({error.strerror}). 无法读取。", hint="Check its permissions."
        ) from None


def read_text(file: str) -> str:
    """The text of a file, or of stdin for "-". Raises InvalidRequest where there is none: no file,
    no UTF-8, a NUL character."""
    from onesec.core.errors import InvalidRequest

    name = "stdin" if file == "-" else file
    if file == "-":
        if is_terminal(sys.stdin):
            note("Reading the terminal; end with Ctrl-D. 从终端读取，按 Ctrl-D 结束。")
        raw = sys.stdin.buffer.read()
    else:
        raw = read_file(file)
    try:
        text = raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise not_utf8(name, error) from None
    if "\0" in text:
        raise InvalidRequest(
            f"{name} is no text: there is a NUL at character {text.index(chr(0))}. 不是文本。",
            hint="If it is UTF-16, convert it: iconv -f UTF-16 -t UTF-8.",
        )
    return text
