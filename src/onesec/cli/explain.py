"""`onesec explain`: the story of one answer: what was planned, what happened, why gears changed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import need_place
from .output import note, shown


@click.command("explain")
@click.argument("trace", metavar="[TRACE]", required=False)
@click.option("--last", is_flag=True, help="The last answer of `onesec generate`. 上一个回答")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a time line as SVG. 时间线图",
)
@click.option("--check", is_flag=True, help="Hold every cause against its numbers. 核对")
@click.option("--zh", "chinese", is_flag=True, help="In Chinese. 用中文")
def command(
    trace: str | None, last: bool, picture: Path | None, check: bool, chinese: bool
) -> None:
    """Tell the story of one answer: TRACE is what `onesec generate … --json` printed ("-" reads
    stdin). 解释一次回答

    \b
    onesec generate onesec-mini "Hello" --deadline 50ms && onesec explain --last
    onesec generate onesec-mini "Hello" --deadline 50ms --json | onesec explain -

    With --check it tells what in the trace does not hold instead, and exits with 1 if anything.
    """
    from onesec.core.errors import InvalidRequest
    from onesec.explain.check import check as faults_of
    from onesec.explain.picture import picture as draw
    from onesec.explain.record import read_trace
    from onesec.explain.sentences import explain
    from onesec.machine import is_writable

    from .application import read_file

    if last == (trace is not None):
        raise click.UsageError("Give either TRACE or --last. 请给出 TRACE 或 --last。")
    if picture is not None:
        need_place("--picture", picture)
    if last:
        path = last_trace()
        if not path.exists():
            if not is_writable(path.parent):
                raise InvalidRequest(
                    f"No answer can be kept: {path.parent} is not writable. 缓存目录不可写。",
                    hint="Ask with: onesec generate … --json | onesec explain -",
                )
            raise InvalidRequest(
                "No answer was kept yet.", hint="Run onesec generate first, then this again."
            )
        raw, source = path.read_bytes(), str(path)
    elif trace == "-":
        raw, source = sys.stdin.buffer.read(), "stdin"
    else:
        assert trace is not None
        raw, source = read_file(trace), trace
    found = read_trace(raw, source=source)
    language = "zh" if chinese else "en"
    if picture is not None:
        picture.write_text(draw(found, language), encoding="utf-8")
        note(f"Time line: {picture}")
    if not check:
        for line in explain(found, language):
            print(shown(line))
        return
    faults = faults_of(found)
    for line in faults:
        print(shown(line))
    if faults:
        raise click.exceptions.Exit(1)
    word = "条事件与其数字相符。" if chinese else "events, and each holds against its numbers."
    print(f"{len(found.events)} {word}")


def last_trace() -> Path:
    """Where the trace of the last answer is kept."""
    from onesec.machine import cache_folder

    return cache_folder() / "last-trace.json"


def keep_last(record: dict[str, object]) -> None:
    """Keep an answer's trace for --last; a folder that cannot be written is not an error."""
    import json
    from contextlib import suppress

    from onesec.engine.profile import write_whole

    with suppress(OSError):
        write_whole(last_trace(), json.dumps(record))
