"""`onesec show`: the essentials of an artifact in a terminal: gears, what they lose, the recipe."""

from __future__ import annotations

from typing import Any

import click

from .options import json_option, model_argument
from .output import emit_json, megabytes, note, table


@click.command("show")
@model_argument
@json_option
def command(model: str, as_json: bool) -> None:
    """Tell what the artifact MODEL holds. 查看成品模型"""
    from onesec.backend.gears import gears_of
    from onesec.core.errors import InvalidRequest
    from onesec.loading import find_model
    from onesec.model.artifact import is_artifact, open_artifact
    from onesec.model.hub import SHIPPED

    path = find_model(model)
    if not is_artifact(path):
        raise InvalidRequest(
            f"{model} is a checkpoint, not an artifact.",
            hint=f"Make one with: onesec compress {model} -o NAME.onesec",
        )
    with open_artifact(path) as artifact:
        config = artifact.config
        ranks = {gear.name: rank for rank, gear in enumerate(gears_of(artifact))}
        record: dict[str, Any] = {
            "model": model,
            "path": str(path),
            "bytes": artifact.nbytes,
            "architecture": config.architecture,
            "layers": config.num_layers,
            "hidden_size": config.hidden_size,
            "vocab_size": config.vocab_size,
            "context_length": config.context_length,
            "gears": list(artifact.gears.get("gears") or []),
            "recipe": artifact.recipe,
        }
    record["gears"].sort(key=lambda gear: ranks.get(gear["name"], len(ranks)))
    if as_json:
        emit_json(record)
        return
    shape = ("layers", "hidden_size", "vocab_size", "context_length")
    facts = [("size", megabytes(record["bytes"])), ("architecture", record["architecture"])]
    facts += [(name.replace("_", " "), f"{record[name]:,}") for name in shape]
    recipe = record["recipe"]
    unasked = () if "deadline_ms" in recipe else ("prompt_tokens", "answer_tokens")
    facts += [(n.replace("_", " "), str(v)) for n, v in recipe.items() if n not in unasked]
    table(model if model == SHIPPED else str(path), ("", ""), facts)
    rows = [_row(gear) for gear in record["gears"]]
    if rows:
        table("", ("gear", "widths", "KLD nats", "same top", "perplexity ×"), rows)
    else:
        note("Gears 4 and 8; none was measured. onesec compress finds mixed ones.")
    if (path / "report.html").exists():
        note(f"Report: {path / 'report.html'}")


def _row(gear: dict[str, Any]) -> tuple[str, ...]:
    """A gear's name, how many matrices have which width beside its own, how many read activations
    of 16 bits, and what was measured."""
    counts: dict[int, int] = {}
    for width in (gear.get("widths") or {}).values():
        counts[width] = counts.get(width, 0) + 1
    others = ", ".join(f"{n} at {width}" for width, n in sorted(counts.items()))
    fine = f"{len(gear['fine'])} read 16" if gear.get("fine") else ""
    widths = "; ".join(filter(None, (str(gear["width"]), others, fine)))
    error = _told(gear, "kld_mean_se", "±{:.4f}")
    return (
        gear["name"],
        widths,
        _told(gear, "kld_mean", "{:.4f}" + error),
        _told(gear, "same_top", "{:.2%}"),
        _told(gear, "perplexity_ratio", "{:.4f}"),
    )


def _told(gear: dict[str, Any], figure: str, form: str) -> str:
    """A figure in its form; "" where it was not measured."""
    value = gear.get(figure)
    return "" if value is None else form.format(value)
