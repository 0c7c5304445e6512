"""`onesec export`: a model as a file that other engines read: GGUF or compressed-tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .options import json_option, model_argument, output_option
from .output import emit_json, megabytes, note, progress

TYPES = ("q8_0", "q4_k", "q4_0", "f16", "compressed-tensors")


@click.command("export")
@model_argument
@output_option("File (GGUF) or new folder (compressed-tensors) to write. 输出")
@click.option("--type", "kind", type=click.Choice(TYPES), default="q8_0", show_default=True)
@click.option("--gear", help="Gear of an artifact whose weights are exported [8]. 档位")
@click.option("--bits", type=click.Choice(["4", "8"]), help="Of compressed-tensors [4]. 位数")
@click.option("--asymmetric", is_flag=True, help="compressed-tensors with zero points. 非对称")
@json_option
def command(
    model: str,
    output: Path,
    kind: str,
    gear: str | None,
    bits: str | None,
    asymmetric: bool,
    as_json: bool,
) -> None:
    """Write MODEL, an artifact or a checkpoint, for other engines. 导出

    \b
    onesec export ./SmolLM2-135M -o smol.gguf --type q4_k
    onesec export smol.onesec -o out --type compressed-tensors --bits 8
    """
    from onesec.export import export_compressed, export_gguf, open_outgoing
    from onesec.loading import find_model, open_tokenizer
    from onesec.model.artifact_writer import copy_companions
    from onesec.model.partfolder import written_bytes

    packed = kind == "compressed-tensors"
    if not packed and (bits is not None or asymmetric):
        raise click.UsageError(
            f"--bits and --asymmetric belong to --type compressed-tensors, not {kind}."
        )
    path = find_model(model)
    lost: tuple[str, ...] = ()
    with open_outgoing(path, gear) as outgoing, progress(f"exporting {model}") as advance:
        tokenizer = open_tokenizer(path)
        if packed:
            export_compressed(
                outgoing,
                tokenizer.save if path.is_file() else partial(copy_companions, path),
                output,
                bits=int(bits or 4),
                symmetric=not asymmetric,
                progress=advance,
            )
        else:
            lost = export_gguf(
                outgoing,
                tokenizer.files(path),
                output,
                kind,
                name=path.stem if path.is_file() else Path(model).resolve().name,
                progress=advance,
            )
    size = written_bytes(output)
    if as_json:
        emit_json({"model": model, "path": str(output), "bytes": size, "lost": list(lost)})
        return
    for words in lost:
        note(f"{words}.")
    opened = packed or output.suffix.lower() == ".gguf"
    step = f"Try: onesec generate {output} PROMPT" if opened else "onesec opens it as NAME.gguf."
    note(f"{output}: {megabytes(size)}. {step}")
