"""`onesec bench deadlines`: are deadlines kept, and what are answers worth then?

In virtual time: a model's own answers to a suite, at the recorded times of another machine or
model. In real time: the same questions, or a shape with real traffic's lengths, on this machine.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from .options import device_option, json_option, threads_option
from .output import emit_json, note, progress, table
from .suite import CONTEXT_TOKENS, suite_context

if TYPE_CHECKING:
    from onesec.bench.questions import Question
    from onesec.loading import LoadedModel

REAL_BUDGETS = ("5ms", "10ms", "20ms", "40ms", "80ms")
SHAPE_BUDGETS = ("300ms", "500ms", "1s", "2s", "5s")
_QUICK_LIMIT, _QUICK_QUESTIONS = 10, 20


@click.command("deadlines")
@click.argument("model", default="onesec-mini")
@click.option("--suite", default="mini", show_default=True, help="A shipped suite, or a file.")
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines of prompts of your own, instead of a suite. 自备问题",
)
@click.option("--limit", type=click.IntRange(min=1), help="Questions of a skill and language.")
@click.option("--quick", is_flag=True, help="A few questions: under three minutes. 快速")
@click.option(
    "--recording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Step times to replay (default: the shipped ones of a 0.5B shape).",
)
@click.option("--budget", "budgets", multiple=True, help="Budgets in real time; repeatable.")
@click.option("--questions", type=click.IntRange(min=1), default=400, show_default=True)
@click.option("--shape", help="Real time on a shape with random weights, instead. 形状")
@click.option(
    "--traffic",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the lengths of real requests, for --shape.",
)
@click.option("--only", type=click.Choice(["virtual", "real"]), help="One of the two parts.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="A folder.")
@device_option
@threads_option
@json_option
def command(
    model: str,
    suite: str,
    prompts: Path | None,
    limit: int | None,
    quick: bool,
    recording: Path | None,
    budgets: tuple[str, ...],
    questions: int,
    shape: str | None,
    traffic: Path | None,
    only: str | None,
    seed: int,
    output: Path | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure how deadlines are kept, and what answers are worth. 时延基准

    Writes deadlines.json and deadlines.html into --output.
    """
    from onesec import __version__
    from onesec.bench.report import write_report
    from onesec.machine import describe, without_folders
    from onesec.model.partfile import disk_errors

    if (shape is None) != (traffic is None):
        raise click.UsageError("--shape and --traffic go together.")
    if shape is not None and (prompts or recording or limit or only == "virtual"):
        raise click.UsageError(
            "--shape is measured in real time: no --prompts, --recording, --limit, --only virtual."
        )
    if quick:
        limit, questions = limit or _QUICK_LIMIT, min(questions, _QUICK_QUESTIONS)
    if output is not None:  # a folder that cannot be is told before anything is waited for
        with disk_errors(output):
            output.mkdir(parents=True, exist_ok=True)
    engine = {"device": device, "threads": threads}
    record: dict[str, Any] = {
        "model": shape or without_folders(model),
        "onesec": __version__,
        "machine": describe(),
        "seed": seed,
    }
    if shape is not None and traffic is not None:
        record["real"] = [_shape(shape, traffic, budgets, questions, seed, engine)]
    else:
        record |= _suite(
            model, suite, prompts, limit, recording, budgets, questions, only, seed, engine
        )
    if output is not None:
        write_report(output, record)
        note(f"written: {output / 'deadlines.html'}")
    if as_json:
        emit_json(record)
    else:
        _draw(record)


def _suite(
    model: str,
    suite: str,
    prompts: Path | None,
    limit: int | None,
    recording: Path | None,
    budgets: tuple[str, ...],
    questions: int,
    only: str | None,
    seed: int,
    engine: dict[str, Any],
) -> dict[str, Any]:
    from onesec.bench.deadlines import TAUGHT, real_time_record, split, virtual_record
    from onesec.bench.recording import Recording, shipped
    from onesec.bench.scores import silent
    from onesec.core.clock import MonotonicClock
    from onesec.core.deadline import parse_duration_ms
    from onesec.core.errors import InvalidRequest
    from onesec.machine import without_folders

    budgets_ms = [parse_duration_ms(text) for text in budgets or REAL_BUDGETS]
    replayed = Recording.load(recording or shipped())
    asked_of = suite if prompts is None else str(prompts)
    record: dict[str, Any] = {"suite": without_folders(asked_of)}
    with closing(_loaded(model, engine)) as loaded:
        taught, asked = split(_questions(loaded, suite, prompts, limit))
        if not asked:
            raise InvalidRequest(
                f"{asked_of} has {len(taught)} questions here, which only teach lengths.",
                hint=f"Give more than {TAUGHT} of a kind and language.",
            )
        if only != "real":
            record["virtual"] = virtual_record(
                loaded, replayed, taught, asked, seed=seed, follow=progress
            )
        if only != "virtual":
            some = Random(seed).sample(asked, min(questions, len(asked)))
            with progress("real time") as advance:
                rows = real_time_record(
                    loaded.backend,
                    loaded.measure_latency(MonotonicClock(), "checked"),
                    loaded.tokenizer,
                    some,
                    budgets_ms,
                    eos_ids=loaded.eos_ids,
                    progress=advance or silent,
                )
            subject = f"{without_folders(model)}, {record['suite']}, one user"
            record["real"] = [{"subject": subject, "rows": rows}]
    return record


def _questions(
    loaded: LoadedModel, suite: str, prompts: Path | None, limit: int | None
) -> list[Question]:
    """Those that teach lengths too: the first of each kind and language."""
    from onesec.bench.deadlines import TAUGHT
    from onesec.bench.questions import of_prompts, of_suite
    from onesec.compress.suite import chosen, find_suite, read_suite

    most = None if limit is None else limit + TAUGHT
    if prompts is not None:
        return of_prompts(loaded, prompts)[:most]
    return of_suite(loaded, chosen(read_suite(find_suite(suite)), limit=most))


def _loaded(model: str, engine: dict[str, Any]) -> LoadedModel:
    from onesec.loading import find_model, load_model

    context = suite_context(find_model(model))
    with progress(f"loading {model}") as advance:
        # Blocks for many users at once.
        return load_model(model, context=context, sequences=16, progress=advance, **engine)


def _shape(
    shape: str,
    traffic: Path,
    budgets: tuple[str, ...],
    questions: int,
    seed: int,
    engine: dict[str, Any],
) -> dict[str, Any]:
    from onesec.backend.devices import random_backend
    from onesec.bench.deadlines import real_time_record
    from onesec.bench.questions import Letters, of_traffic
    from onesec.bench.scores import silent
    from onesec.core.clock import MonotonicClock
    from onesec.core.deadline import parse_duration_ms
    from onesec.loading import latency_model
    from onesec.model.shapes import shape as shape_of

    budgets_ms = [parse_duration_ms(text) for text in budgets or SHAPE_BUDGETS]
    config = shape_of(shape)
    with closing(random_backend(config, context_tokens=CONTEXT_TOKENS, **engine)) as backend:
        asked = of_traffic(
            traffic,
            count=questions,
            longest=CONTEXT_TOKENS,
            vocab_size=config.vocab_size,
            rng=Random(seed),
        )
        with progress(f"{shape} in real time") as advance:
            rows = real_time_record(
                backend,
                latency_model(backend, MonotonicClock()),
                Letters(),
                asked,
                budgets_ms,
                progress=advance or silent,
            )
    return {"subject": f"{shape}, random weights, lengths of {traffic.name}", "rows": rows}


def _draw(record: dict[str, Any]) -> None:
    from onesec.bench.deadlines import ALL
    from onesec.bench.report import FIVE_HEADS, REAL_HEADS, five_rows, percent, real_rows
    from onesec.bench.scores import OURS, TRYING

    if virtual := record.get("virtual"):
        heads = (
            *("share of natural time", "ours", "best effort", "best static", "gain"),
            *("hit rate", "complete"),
        )
        rows = []
        for point in virtual["grid"]:
            found = point["groups"][ALL]
            ours, best = found["systems"][OURS], found["systems"][found["best_static"]]
            tried = found["gains"][TRYING]
            gain = f"{tried['gain']:+.3f}±{tried['half_width']:.3f}"
            rows.append(
                (
                    f"{point['share']:g}",
                    f"{ours['score']:.3f}",
                    f"{found['systems'][TRYING]['score']:.3f}",
                    f"{best['score']:.3f} ({found['best_static']})",
                    gain,
                    percent(ours["hit_rate"]),
                    percent(ours["complete_rate"]),
                )
            )
        table("Score over time, in virtual time", heads, rows)
        for name, systems in virtual["load"].items():
            table(f"Load {name}, in virtual time", FIVE_HEADS, five_rows(systems))
        for name, systems in virtual["disturbed"].items():
            table(f"{name}, in virtual time", FIVE_HEADS, five_rows(systems))
    for part in record.get("real", ()):
        table(f"Real time: {part['subject']}", REAL_HEADS, real_rows(part["rows"]))
