"""`onesec profile`: measure this machine with a model, and show what the planner will believe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import engine_options, engine_values, json_option, model_argument
from .output import emit_json, progress, table

if TYPE_CHECKING:
    from onesec.budget.latency import LatencyModel

_PROMPTS = (64, 512)  # tokens
_ANSWERS = (32, 128)  # tokens
_CONTEXT = 256  # tokens before the answer begins


def latency_record(latency: LatencyModel, gear: str) -> dict[str, Any]:
    """Median and p95 of prompts and answers of a few lengths, in milliseconds."""
    from onesec.budget.latency import P50, P95

    record: dict[str, Any] = {"gear": gear, "step_ms": latency.step_ms(gear, _CONTEXT)}
    record["step8_ms"] = latency.step_ms(gear, _CONTEXT, 8)
    for tokens in _PROMPTS:
        record[f"prefill{tokens}_ms"] = latency.prefill_ms(gear, tokens, quantile=P50)
        record[f"prefill{tokens}_p95_ms"] = latency.prefill_ms(gear, tokens, quantile=P95)
    for tokens in _ANSWERS:
        record[f"decode{tokens}_ms"] = latency.decode_ms(gear, _CONTEXT, tokens, quantile=P50)
        record[f"decode{tokens}_p95_ms"] = latency.decode_ms(gear, _CONTEXT, tokens, quantile=P95)
    return record


def draw_latency(title: str, records: list[dict[str, Any]]) -> None:
    """The records as a table: "median / p95"."""

    def pair(record: dict[str, Any], name: str) -> str:
        return f"{record[f'{name}_ms']:.3g}/{record[f'{name}_p95_ms']:.3g}"

    names = (*(f"prefill{n}" for n in _PROMPTS), *(f"decode{n}" for n in _ANSWERS))
    rows = [
        (
            record["gear"],
            f"{record['step_ms']:.3g}",
            f"{record['step8_ms']:.3g}",
            *(pair(record, name) for name in names),
        )
        for record in records
    ]
    heads = (*(f"prompt {n}" for n in _PROMPTS), *(f"answer {n}" for n in _ANSWERS))
    table(title, ("gear", "step", "step of 8", *heads), rows)


@click.command("profile")
@model_argument
@click.option("--gear", "gears", multiple=True, help="Only this gear; repeatable. 档位")
@engine_options
@json_option
def command(
    model: str,
    gears: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Measure MODEL here, keep the latency model, show it in milliseconds. 时延模型

    Prompts and answers of so many tokens, as median/p95.
    """
    from onesec.core.clock import MonotonicClock
    from onesec.loading import load_model

    from .measure import named_gears

    with progress(f"loading {model}") as advance:
        loaded = load_model(model, progress=advance, **engine_values(options))
    with loaded:
        known = loaded.backend.gears
        chosen = named_gears(known, gears) if gears else known
        latency = loaded.measure_latency(MonotonicClock(), "fresh")
        records = [latency_record(latency, gear.name) for gear in chosen]
    if as_json:
        emit_json({"model": model, "context": _CONTEXT, "gears": records, "fit": latency.to_dict()})
    else:
        draw_latency(model, records)
