"""`onesec compress`: a checkpoint into an artifact with gears between 4 and 8 bits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import click

from .application import read_text
from .options import json_option, model_argument, output_option, threads_option
from .output import emit_json, megabytes, note, progress, table

STAGES = {
    "load": "packing the planes",
    "text": "writing its own text",
    "calibrate": "what each matrix reads",
    "quantize": "packing for it",
    "sensitivity": "what each matrix loses",
    "timing": "what each matrix takes",
    "measure": "measuring the gears",
    "write": "writing",
}


class Share(click.ParamType[float]):
    """A share: "97%" or 0.97."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        try:
            number = float(str(value).removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is no share; write 97% or 0.97.", param, ctx)
        if str(value).endswith("%"):
            return number / 100.0
        if 1.0 < number <= 100.0:
            self.fail(
                f"{value} is more than all; write {value}% or {number / 100.0:g}.", param, ctx
            )
        return number


class Size(click.ParamType[int]):
    """An amount of bytes: "400MB", "1.2GB" or "300MiB"; a number alone is none."""

    name = "size"
    UNITS: ClassVar = {"KB": 10**3, "MB": 10**6, "GB": 10**9} | {
        "KIB": 1 << 10,
        "MIB": 1 << 20,
        "GIB": 1 << 30,
    }

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-zA-Z]*)", str(value).strip())
        unit = self.UNITS.get(found[2].upper()) if found else None
        if found is None or unit is None:
            self.fail(f"{value!r} is no size; write 400MB, 1.2GB or 300MiB.", param, ctx)
        return round(float(found[1]) * unit)


@click.command("compress")
@model_argument
@output_option("Folder to write; an artifact there is replaced. 输出目录")
@click.option("--deadline", metavar="TIME", help="A whole answer within TIME. 整个回答的截止时间")
@click.option("--prompt", "prompt_tokens", type=int, help="Its prompt in tokens [512].")
@click.option("--answer", "answer_tokens", type=int, help="Its answer in tokens [128].")
@click.option("--tpot-ms", type=float, help="Milliseconds a token. 每个词元的毫秒数")
@click.option("--size", type=Size(), help="Most that its files take: 400MB. 产物大小上限")
@click.option("--max-kld", type=float, help="Most divergence from 16 bit, nats a token.")
@click.option("--keep-top1", type=Share(), help="Least share of likeliest tokens that stay: 97%.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="UTF-8 text to measure on; repeatable (default: the model writes its own). 文本",
)
@click.option(
    "--calibration-tokens", type=int, help="Tokens to calibrate the 4-bit codes on [4096]; 0: none."
)
@click.option("--search-tokens", type=int, help="Tokens of text to search on (default: by size).")
@click.option("--check-tokens", type=int, help="Other tokens to measure on.")
@click.option("--rungs", type=int, help="Mixed gears to look for [6].")
@threads_option
@json_option
def command(
    model: str,
    output: Path,
    deadline: str | None,
    texts: tuple[Path, ...],
    threads: int | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Compress the checkpoint MODEL into gears between 4 and 8 bits. 压缩

    Measures what every matrix loses and takes on this machine, and finds the gears that lose least
    for their time. The report is OUTPUT/report.html. A run that was killed goes on when started
    again. Ends with exit code 1 where the accuracy, time or size asked for cannot be had; the best
    that was found is written all the same.

    \b
    onesec compress ./SmolLM2-135M -o smol.onesec --tpot-ms 6
    onesec compress model.gguf -o model.onesec --deadline 1s --prompt 512 --answer 128
    """
    from onesec.compress.pipeline import compress
    from onesec.compress.recipe import Recipe
    from onesec.core.deadline import parse_duration_ms
    from onesec.model.partfolder import written_bytes

    values["size_bytes"] = values.pop("size")
    given = {name: value for name, value in values.items() if value is not None}
    if deadline is not None:
        given["deadline_ms"] = parse_duration_ms(deadline)
    elif given.keys() & {"prompt_tokens", "answer_tokens"}:
        raise click.UsageError(
            "--prompt and --answer say how long the answer within --deadline is."
        )
    recipe = Recipe(**given)
    text = "\n".join(read_text(str(path)) for path in texts) if texts else None
    with _stages() as tell:
        found = compress(model, output, recipe, text=text, threads=threads, tell=tell)
    size = written_bytes(output)
    if as_json:
        emit_json(found.record | {"bytes": size})
    else:
        draw_gears(found.record)
        note(f"{output}: {megabytes(size)}. Report: {output / 'report.html'}")
    if not found.target.met:
        note(f"Not met: {found.target.why}. 未达到要求。")
        raise click.exceptions.Exit(1)


@contextmanager
def _stages() -> Iterator[Callable[[str, float], None] | None]:
    """A bar that names its stage; None where nobody looks."""
    with progress("compressing") as advance:
        if advance is None:
            yield None
            return
        names = list(STAGES)

        def tell(stage: str, share: float) -> None:
            advance((names.index(stage) + share) / len(names))

        yield tell


def draw_gears(record: Mapping[str, Any]) -> None:
    """The ladder as a table; the gear of the target is marked."""
    gears: Sequence[Mapping[str, Any]] = record["gears"]
    target = record["target"]["gear"]
    rows = [
        (
            f"{gear['name']}{' ←' if gear['name'] == target else ''}",
            f"{gear['step_ms']:.3f}",
            f"{gear['bytes_per_token'] / 1e6:.1f}",
            f"{gear['kld_mean']:.4f}±{gear['kld_mean_se']:.4f}",
            f"{gear['same_top']:.2%}",
            f"{gear['perplexity_ratio']:.4f}",
        )
        for gear in gears
    ]
    heads = ("gear", "ms a step", "MB a token", "KLD nats", "same top", "perplexity ×")
    table(f"gears of {record['model']}", heads, rows)
