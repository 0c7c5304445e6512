"""`onesec confidence`: are tokens right as often as the model is sure of them; a curve for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .application import read_text
from .options import engine_options, engine_values, json_option, model_argument, need_place
from .output import emit_json, note, progress, table

if TYPE_CHECKING:
    from onesec.compress.reliability import Text
    from onesec.loading import LoadedModel

_LIMIT = 100  # questions of each skill and language, unless told otherwise


@click.command("confidence")
@model_argument
@click.option("--suite", metavar="FILE", help='Questions with answers: "mini" or a file. 题集')
@click.option(
    "--text",
    "text_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="UTF-8 text instead of questions. 文本",
)
@click.option("--gear", "gears", multiple=True, help="Gear to measure; repeatable. 档位")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_LIMIT,
    show_default=True,
    help="Suite: so many of each skill and language. 题数",
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write it as SVG. 图"
)
@click.option("--save", is_flag=True, help="Keep the curves in the artifact's folder. 保存")
@engine_options
@json_option
def command(
    model: str,
    suite: str | None,
    text_file: Path | None,
    gears: tuple[str, ...],
    limit: int,
    picture: Path | None,
    save: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Is a token of MODEL right as often as the model is sure of it? 置信度校准

    Each token of the answers (or of the text) is predicted from the true ones before it. A curve
    from probability to confidence is fitted on a half of the texts, and judged on the other.

    \b
    onesec confidence onesec-mini --suite mini --picture reliability.svg
    onesec confidence ./my-artifact --text held-out.txt --save
    """
    from onesec.compress.reliability import judge, listen
    from onesec.compress.reliability_picture import reliability_picture
    from onesec.core.errors import InvalidRequest, NotWritten
    from onesec.explain.confidence import write_confidence
    from onesec.loading import load_model
    from onesec.machine import is_writable
    from onesec.model.artifact import is_artifact
    from onesec.model.partfile import disk_errors

    from .measure import named_gears

    if (suite is None) == (text_file is None):
        raise click.UsageError("Give either --suite or --text. 请用 --suite 或 --text。")
    if picture is not None:
        need_place("--picture", picture)
    with progress(f"loading {model}") as advance:
        loaded = load_model(model, progress=advance, **engine_values(options))
    with loaded:
        if save and not is_artifact(loaded.path):
            raise InvalidRequest(
                f"{model} is no artifact: curves are kept beside its weights.",
                hint="Make one with onesec pack or onesec compress.",
            )
        if save and not is_writable(loaded.path):
            raise NotWritten(loaded.path, "no permission")
        texts = _questions(loaded, suite, limit) if suite else _windows(loaded, text_file)
        ladder = [gear.name for gear in loaded.backend.gears]
        names = list(gears) or ladder
        found = {}
        for gear in named_gears(loaded.backend.gears, names):
            with progress(f"gear {gear.name}") as advance:
                answers = listen(loaded.backend, gear, texts, progress=advance)
            found[gear.name] = judge(answers, len(texts))
    of = f"suite {suite}" if suite else "a text"
    if save:
        with disk_errors(loaded.path):
            note(f"Kept: {write_confidence(loaded.path, found, of=of, order=ladder)}")
    if as_json:
        emit_json({"model": model, "of": of, "texts": len(texts), "gears": found})
    else:
        _draw(model, of, found)
    if picture is not None:
        title = f"{model}, {of}: are tokens right as often as the model is sure?"
        picture.write_text(reliability_picture(title, found), encoding="utf-8")
        note(f"Picture: {picture}")


def _questions(loaded: LoadedModel, suite: str, limit: int) -> list[Text]:
    """The suite's questions with their answers, ended; those that fit the context."""
    from onesec.compress.examine import asked
    from onesec.compress.reliability import Text
    from onesec.compress.suite import chosen, find_suite, read_suite

    found = []
    for item in chosen(read_suite(find_suite(suite)), limit=limit):
        answer = [*loaded.tokenizer.encode(item["answer"]), *loaded.eos_ids[:1]]
        text = Text(asked(loaded.render, item), answer)
        if len(text.given) + len(answer) <= loaded.context_length:
            found.append(text)
    return found


def _windows(loaded: LoadedModel, text_file: Path | None) -> list[Text]:
    """A text in windows of an eighth of the context: the more of them, the finer it can be halved.

    Raises InvalidRequest for what is no text.
    """
    from onesec.compress.evaluate import windows
    from onesec.compress.reliability import Text
    from onesec.loading import open_tokenizer

    tokens = open_tokenizer(loaded.path).encode(read_text(str(text_file)))
    length = max(2, loaded.context_length // 8)
    return [Text(w[:1].tolist(), w[1:].tolist()) for w in windows(tokens, length)]


def _draw(model: str, of: str, gears: dict[str, Any]) -> None:
    """The records as a table."""

    def percent(record: dict[str, Any], name: str) -> str:
        return f"{100 * record['before'][name]:.2f} → {100 * record['after'][name]:.2f}"

    rows: Sequence[Sequence[str]] = [
        (
            gear,
            str(record["tokens"]),
            f"{100 * record['right']:.1f}",
            percent(record, "ece"),
            f"{record['before']['loss']:.4f} → {record['after']['loss']:.4f}",
        )
        for gear, record in gears.items()
    ]
    heads = ("gear", "tokens", "right %", "error of calibration %", "loss nats")
    table(f"{model}, {of}: held out, before → after the curve", heads, rows)
