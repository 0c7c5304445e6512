"""`onesec evaluate`: what a gear costs: perplexity and divergence on a text, or scores on a suite.

On a text no special token is added; windows of the full context; the first token of each is not
scored.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .application import read_text
from .options import (
    deadline_option,
    engine_options,
    engine_values,
    json_option,
    model_argument,
    need_place,
)
from .output import emit_json, note, plus_minus, progress, table

if TYPE_CHECKING:
    from onesec.compress.evaluate import Quality, Subject
    from onesec.loading import LoadedModel

REFERENCE_GEAR = "16"


def quality_record(quality: Quality, characters: int) -> dict[str, Any]:
    """One gear's measurements as JSON keys, each with its standard error beside it (`_se`)."""
    found = {"perplexity": quality.perplexity, "bits_per_char": quality.bits_per(characters)}
    if quality.divergence is not None:
        found |= {
            "kld_mean": quality.divergence.kld_mean,
            "kld_p99": quality.divergence.kld_p99,
            "same_top": quality.divergence.same_top,
            "perplexity_ratio": quality.divergence.perplexity_ratio,
        }
    record: dict[str, Any] = {"gear": quality.gear, "tokens": quality.tokens}
    for name, estimate in found.items():
        record |= {name: estimate.value, f"{name}_se": estimate.se}
    if quality.divergence is not None:
        record["kld_max"] = quality.divergence.kld_max
    return record


def scored_characters(model: LoadedModel, tokens: list[int], window: int) -> int:
    """Characters that the scored tokens spell: all but the first token of each window."""
    from onesec.compress.evaluate import windows

    parts = (model.tokenizer.decode(part[1:].tolist()) for part in windows(tokens, window))
    return sum(len(part) for part in parts)


def measure_gears(
    model: LoadedModel,
    gears: list[str],
    text: str,
    *,
    window: int,
    reference: LoadedModel | None,
    limit_tokens: int | None = None,
    label: str = "evaluating",
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Records of `gears` on `text`, and of the reference (its best gear) where there is one."""
    from onesec.compress.evaluate import Subject, measure
    from onesec.loading import open_tokenizer

    from .measure import finest, named_gears

    # The model's own tokenizer refuses texts far beyond its context; here windows are cut later.
    tokens = open_tokenizer(model.path).encode(text)[:limit_tokens]
    chosen = named_gears(model.backend.gears, gears, beyond=finest(model.backend.gears))
    subjects = [Subject(model.backend, gear) for gear in chosen]
    base: Subject | None = None
    if reference is not None:
        base = Subject(reference.backend, reference.backend.gears[-1])
    with progress(label) as advance:
        found, base_quality = measure(
            subjects, tokens, window=window, reference=base, progress=advance
        )
    characters = max(1, scored_characters(model, tokens, window))
    return (
        [quality_record(quality, characters) for quality in found],
        None if base_quality is None else quality_record(base_quality, characters),
    )


@click.command("evaluate")
@model_argument
@click.option(
    "--text",
    "text_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="UTF-8 text to read: perplexity and divergence. 文本",
)
@click.option("--suite", metavar="FILE", help='Questions with keys: "mini", or your file. 题集')
@click.option("--gear", "gears", multiple=True, help="Gear to measure; repeatable. 档位")
@click.option("--reference", metavar="MODEL", help="Text: checkpoint of the 16-bit width. 参考模型")
@click.option("--no-reference", is_flag=True, help="Text: perplexity alone.")
@click.option("--limit-tokens", type=click.IntRange(min=2), help="Text: read only so many tokens.")
@click.option("--all-gears", is_flag=True, help="Suite: every gear, and what it costs. 所有档位")
@deadline_option
@click.option(
    "--limit", type=click.IntRange(min=1), help="Suite: so many of each skill and language. 题数"
)
@click.option("--skill", "skills", multiple=True, help="Suite: only this skill; repeatable. 技能")
@click.option(
    "--items",
    "items_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Suite: write every question, reply and score as JSON lines. 逐题结果",
)
@engine_options
@json_option
def command(
    model: str,
    text_file: Path | None,
    suite: str | None,
    gears: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Measure what the gears of MODEL cost in accuracy. 测量精度

    On a --text: all gears side by side, beside the 16-bit width of MODEL itself where it is a
    checkpoint, else of --reference.

    On a --suite: the share of right answers by skill, language and wording (translations by chrF,
    which needs the extra `evaluation`), asked greedily in the best gear or in those you name. With
    --deadline the planner chooses ("auto"), unless you name gears; what is late, cut off or refused
    counts 0.

    \b
    onesec evaluate onesec-mini --suite mini --all-gears
    onesec evaluate onesec-mini --suite mini --deadline 20ms --limit 50 --items replies.jsonl
    """
    neither_or_both = "Give either --text FILE or --suite mini. 请用 --text 或 --suite。"
    if suite is not None and text_file is not None:
        raise click.UsageError(neither_or_both)
    engine = engine_values(options)
    of_text = {name: options.pop(name) for name in ("reference", "no_reference", "limit_tokens")}
    if suite is not None:
        from .suite import draw, evaluate_suite

        _only("--text", of_text)
        if options["items_file"] is not None:
            need_place("--items", options["items_file"])
        if gears and options["all_gears"]:
            raise click.UsageError("Give either --gear or --all-gears.")
        report = evaluate_suite(model, suite, gears=gears, engine=engine, **options)
        (emit_json if as_json else draw)(report)
        return
    if text_file is None:
        raise click.UsageError(neither_or_both)
    _only("--suite", options)
    evaluate_text(model, text_file, gears=gears, engine=engine, as_json=as_json, **of_text)


def _only(owner: str, options: dict[str, Any]) -> None:
    """Raises UsageError where options of the other way of measuring were given."""
    names = {"skills": "--skill", "items_file": "--items"}
    given = [names.get(o, f"--{o.replace('_', '-')}") for o, value in options.items() if value]
    if given:
        raise click.UsageError(f"{', '.join(given)}: only with {owner}.")


def evaluate_text(
    model: str,
    text_file: Path,
    *,
    gears: tuple[str, ...],
    reference: str | None,
    no_reference: bool,
    limit_tokens: int | None,
    engine: dict[str, Any],
    as_json: bool,
) -> None:
    """Quality of gears on a text, printed. Raises InvalidRequest, ModelError, OutOfMemory."""
    from onesec.loading import count_gears, find_model, load_model
    from onesec.model.artifact import is_artifact

    text = read_text(str(text_file))
    own_reference = not no_reference and reference is None and not is_artifact(find_model(model))
    with ExitStack() as stack:

        def load(name: str, **options: Any) -> LoadedModel:
            with progress(f"loading {name}") as advance:
                loaded = load_model(name, progress=advance, **engine, **options)
            return stack.enter_context(loaded)

        # Every gear reads the same windows at once, so each needs a cache of its own.
        count = (len(gears) or count_gears(find_model(model))) + own_reference
        loaded = load(model, reference=own_reference, sequences=count)
        base = loaded if own_reference else None
        if reference is not None:
            base = load(reference, reference=True, planes=False)
        if base is None and not no_reference:
            note("No 16-bit width at hand: perplexity alone. Name one with --reference MODEL.")
        names = list(gears) or [g.name for g in loaded.backend.gears if g.name != REFERENCE_GEAR]
        window = loaded.context_length
        records, base_record = measure_gears(
            loaded, names, text, window=window, reference=base, limit_tokens=limit_tokens
        )
    if as_json:
        first = records[0] if len(records) == 1 else {}
        report = {"model": model, "window": window, **first, "gears": records}
        emit_json(report | {"reference": base_record})
        return
    draw_quality(model, [*records, *([base_record] if base_record else [])])


def draw_quality(title: str, records: list[dict[str, Any]]) -> None:
    """The records as a table: value ± standard error."""
    columns = ("perplexity", "bits_per_char", "kld_mean", "kld_p99", "same_top")
    heads = ("gear", "perplexity", "bits/char", "KLD nats", "KLD p99", "same top")

    def cell(record: dict[str, Any], name: str) -> str:
        if name not in record:
            return "-"
        value, se = record[name], record[f"{name}_se"]
        return f"{value:.2%}±{se:.2%}" if name == "same_top" else plus_minus(value, se)

    rows = [(record["gear"], *(cell(record, name) for name in columns)) for record in records]
    table(title, heads, rows)
