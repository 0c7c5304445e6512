"""`onesec pack`: save a model as an artifact, so that the next start maps it instead of packing."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option, model_argument, output_option, threads_option
from .output import emit_json, megabytes, note, progress


@click.command("pack")
@model_argument
@output_option("Folder to write; an artifact there is replaced. 输出目录")
@threads_option
@json_option
def command(model: str, output: Path, threads: int | None, as_json: bool) -> None:
    """Save MODEL as an artifact: packed weights, tokenizer, config. 打包"""
    from onesec.loading import load_model
    from onesec.model.artifact_writer import check_target
    from onesec.model.partfolder import written_bytes

    check_target(output)  # before a model is loaded
    with progress(f"packing {model}") as advance:
        loaded = load_model(model, context=1, threads=threads, progress=advance)
    with loaded:
        loaded.save(output)
    size = written_bytes(output)
    if as_json:
        emit_json({"model": model, "path": str(output), "bytes": size})
    else:
        note(f"{output}: {megabytes(size)}. Try: onesec generate {output} PROMPT")
