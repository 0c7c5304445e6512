"""The `onesec` command: finds the verb, runs it, and turns errors into one line and an exit code.

It must not know what any verb does; a verb is a module of this room, imported when it is called.

    0 done · 1 other error · 2 usage or invalid request · 3 the model cannot be used
    4 the deadline is infeasible · 5 not enough memory · 130 interrupted
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from onesec import __version__

EXIT_ERROR, EXIT_USAGE, EXIT_MODEL, EXIT_DEADLINE, EXIT_MEMORY = 1, 2, 3, 4, 5
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    >>> main(["--version"])  # doctest: +SKIP
    onesec 0.1.0
    """
    _open_streams()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        _say("Interrupted. 已中断。")
        code = EXIT_INTERRUPTED
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # What is left would fail again when the interpreter ends, with its own words and code.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not code:
            code = EXIT_ERROR if isinstance(error, BrokenPipeError) else _report(error)
    return code


def _open_streams() -> None:
    """Make standard streams that neither a closed end nor a character turns into a crash. A closed
    one is None; what is written to such a stderr would go to stdout."""
    if sys.stdin is None:  # to the process's end, like the descriptors that are missing
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdin, TextIOWrapper):  # a stray byte makes its line wrong, not the reading
        marked = codecs.lookup(sys.stdin.encoding).name == "utf-8"  # it may begin with its mark
        sys.stdin.reconfigure(encoding="utf-8-sig" if marked else None, errors="surrogateescape")
    if isinstance(sys.stdout, TextIOWrapper):  # in a locale that has not all characters
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(given: list[str]) -> int:
    """The exit code of a command line. Raises KeyboardInterrupt."""
    if given in (["--version"], ["-V"]):  # answered before click is imported
        print(f"onesec {__version__}")
        return 0
    # numpy's linear algebra is not used here, and its threads cost a start 20 ms and more.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import click

    from .group import group

    try:
        if sys.stdout is None:
            raise OSError("stdout is closed: there is nowhere to write the answer.")
        # Without standalone mode click returns an Exit's code, or else what the verb returned.
        code = group.main(args=given, prog_name="onesec", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except (OSError, MemoryError) as error:
        return _report(error)
    except Exception as error:
        from onesec.core.errors import OneSecError

        if not isinstance(error, OneSecError):
            raise
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    """One line: what, why with the numbers, next step."""
    from onesec.core.errors import DeadlineInfeasible, InvalidRequest, ModelError, NotWritten

    said = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        said = f"{error.filename}: {error.strerror}. Check the path, space and permissions."
    _say(f"error: {' '.join(said.split()) or type(error).__name__}")
    codes = (
        (NotWritten, EXIT_ERROR),
        (MemoryError, EXIT_MEMORY),
        (DeadlineInfeasible, EXIT_DEADLINE),
        (ModelError, EXIT_MODEL),
        (InvalidRequest, EXIT_USAGE),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), EXIT_ERROR)


def _say(line: str) -> None:
    from .output import shown

    print(shown(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
