"""`onesec explain`: the story of one answer: what was planned, what happened, why gears changed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .output import note


@click.command("explain")
@click.argument("trace", metavar="[TRACE]", required=False)
@click.option("--last", is_flag=True, help="The last answer of `onesec generate`. 上一个回答")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a time line as SVG. 时间线图",
)
@click.option("--zh", "chinese", is_flag=True, help="In Chinese. 用中文")
def command(trace: str | None, last: bool, picture: Path | None, chinese: bool) -> None:
    """Tell the story of one answer: TRACE is what `onesec generate … --json` printed ("-" reads
    stdin). 解释一次回答

    \b
    onesec generate onesec-mini "Hello" --deadline 50ms && onesec explain --last
    onesec generate onesec-mini "Hello" --deadline 50ms --json | onesec explain -
    """
    from onesec.core.errors import InvalidRequest
    from onesec.explain.picture import picture as draw
    from onesec.explain.record import read_trace
    from onesec.explain.sentences import explain

    if last == (trace is not None):
        raise click.UsageError("Give either TRACE or --last. 请给出 TRACE 或 --last。")
    if last:
        path = last_trace()
        if not path.exists():
            raise InvalidRequest(
                "No answer was kept yet.", hint="Run onesec generate first, then this again."
            )
        raw, source = path.read_bytes(), str(path)
    elif trace == "-":
        raw, source = sys.stdin.buffer.read(), "stdin"
    else:
        assert trace is not None
        path = Path(trace)
        if not path.is_file():
            raise InvalidRequest(f"There is no file {trace}.", hint='Give a file, "-" or --last.')
        raw, source = path.read_bytes(), trace
    found = read_trace(raw, source=source)
    for line in explain(found, "zh" if chinese else "en"):
        print(line)
    if picture is not None:
        picture.write_text(draw(found), encoding="utf-8")
        note(f"Time line: {picture}")


def last_trace() -> Path:
    """Where the trace of the last answer is kept."""
    from onesec.machine import cache_folder

    return cache_folder() / "last-trace.json"


def keep_last(record: dict[str, object]) -> None:
    """Keep an answer's trace for --last; a folder that cannot be written is not an error."""
    import json
    from contextlib import suppress

    with suppress(OSError):
        path = last_trace()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record), encoding="utf-8")
        part.replace(path)
