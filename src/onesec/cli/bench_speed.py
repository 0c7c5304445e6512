"""`onesec bench speed`: speed of a model or a public shape, held against the memory bandwidth.

Widths, workloads and bandwidth take turns in every repeat, so that a slow spell of the machine
meets all of them; what is reported are medians. The quantities are defined in `measure.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import click

from .options import device_option, json_option, kv_option, threads_option
from .output import emit_json, megabytes, note, progress, table

if TYPE_CHECKING:
    from onesec.backend.cpu import CpuBackend
    from onesec.backend.gpu.backend import GpuBackend
    from onesec.core.gear import Gear

    from .measure import Samples

    Measured = CpuBackend | GpuBackend

KINDS = ("decode", "prefill", "batch8", "cold")
_COLD_TOKENS = 128  # of the prompt of a cold start
_COLD_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def _open(model: str | None, shape: str | None, engine: dict[str, Any]) -> Measured:
    from onesec.backend.devices import random_backend
    from onesec.loading import find_model, load_model, open_source
    from onesec.model.shapes import shape as shape_of

    from .measure import LONG, capacity_tokens

    with progress("loading") as advance:
        if shape is not None:
            return random_backend(shape_of(shape), context_tokens=capacity_tokens(), **engine)

        with open_source(find_model(model or "")) as source:
            context = min(LONG + 1, source.config.context_length)
        loaded = load_model(
            model or "",
            context=context,
            sequences=-(-capacity_tokens() // context),
            progress=advance,
            **engine,
        )
    return cast("Measured", loaded.backend)


def _cold_prompt(model: str) -> str:
    """The fewest words that this model's tokenizer makes _COLD_TOKENS or more of."""
    from onesec.loading import find_model, open_tokenizer

    tokenizer = open_tokenizer(find_model(model))
    for count in range(1, _COLD_TOKENS + 1):
        text = " ".join(_COLD_WORDS[i % len(_COLD_WORDS)] for i in range(count))
        if len(tokenizer.encode(text, add_bos=True)) >= _COLD_TOKENS:
            break
    return text


def _cold_start_s(model: str, prompt: str, gear: str, engine: dict[str, Any]) -> float:
    """Seconds from starting a process to its first new token."""
    command = [sys.executable, "-m", "onesec", "generate", model, prompt, "--raw", "--stream"]
    command += ["--max-tokens", "1", "--gear", gear]
    command += ["--device", engine["device"], "--kv-dtype", engine["kv_dtype"]]
    command += ["--threads", str(engine["threads"])] if engine["threads"] else []
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        elapsed = time.monotonic() - begin
        process.stdout.read()
    if process.returncode:
        raise click.ClickException(f"the cold start ended with exit code {process.returncode}.")
    return elapsed


def _measure(
    backend: Measured, gears: list[Gear], kinds: set[str], repeats: int
) -> dict[str, dict[str, Samples]]:
    """Gear name -> quantity -> samples."""
    from onesec.core.clock import MonotonicClock

    from .measure import SEQUENCES, Meter, Samples

    clock = MonotonicClock()
    found: dict[str, dict[str, Samples]] = {gear.name: {} for gear in gears}

    def add(gear: Gear, name: str, value: float) -> None:
        found[gear.name].setdefault(name, Samples()).values.append(value)

    with progress("measuring") as advance:
        for repeat in range(repeats + 1):  # the first one warms up and is not kept
            for i, gear in enumerate(gears):
                meter = Meter(backend, gear, clock, seed=repeat)
                sink = add if repeat else lambda *_: None
                if "decode" in kinds:
                    sink(gear, "decode_tok_s", meter.decode_tokens_per_s())
                    sink(gear, "bytes_per_token", meter.bytes_per_step)
                    size = backend.bytes_per_token(gear)
                    sink(gear, "bandwidth_gb_s", backend.read_bandwidth(size))
                if "prefill" in kinds:
                    sink(gear, "ttft_s", meter.ttft_s())
                if "batch8" in kinds:
                    sink(gear, "batch8_tok_s", meter.decode_tokens_per_s(sequences=SEQUENCES))
                if advance is not None:
                    advance((repeat * len(gears) + i + 1) / ((repeats + 1) * len(gears)))
    return found


def _record(gear: Gear, backend: Measured, samples: dict[str, Samples]) -> dict[str, Any]:
    """One width's numbers: medians under their own names, all values under `samples`."""
    from .measure import long_prompt

    record: dict[str, Any] = {
        "width": gear.name,
        "weight_bytes": backend.bytes_per_token(gear),
        **{name: values.median() for name, values in samples.items()},
    }
    if "ttft_s" in record:
        record["ttft_ms"] = record.pop("ttft_s") * 1e3
        record["prefill_tok_s"] = long_prompt(backend) * 1e3 / record["ttft_ms"]
    if "decode_tok_s" in record:
        rate = record["bytes_per_token"] * record["decode_tok_s"] / 1e9
        record["decode_gb_s"] = rate
        record["decode_share"] = rate / record["bandwidth_gb_s"]
    record["samples"] = {name: values.to_dict() for name, values in samples.items()}
    return record


def _workload_keys(record: dict[str, Any], peak_bytes: int) -> dict[str, float]:
    """The same numbers under the names that `bench/peers/workload.py` gives them."""
    names = {
        "decode": ("decode_tok_s", 1.0),
        "prefill512": ("prefill_tok_s", 1.0),
        "ttft512_s": ("ttft_ms", 1e-3),
        "cold_s": ("cold_start_s", 1.0),
        "seqs8": ("batch8_tok_s", 1.0),
        "mb_token": ("bytes_per_token", 1e-6),
    }
    found = {key: record[name] * scale for key, (name, scale) in names.items() if name in record}
    return {**found, "rss_mb": peak_bytes / 1e6}


@click.command("speed")
@click.argument("model", required=False)
@click.option("--shape", help="A public shape with random weights, instead of MODEL. 形状")
@click.option("--widths", help="Gears to measure [4,8; or 4 where there is no 8]. 档位")
@click.option("--only", default=",".join(KINDS), show_default=True, help="What to measure.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@device_option
@threads_option
@kv_option
@json_option
def command(
    model: str | None,
    shape: str | None,
    widths: str | None,
    only: str,
    repeats: int,
    threads: int | None,
    kv_dtype: str,
    device: str,
    as_json: bool,
) -> None:
    """Measure the speed of MODEL, or of a public shape. 测速

    decode: 128 tokens after 128, one sequence; prefill: 512 tokens; batch8: eight sequences at
    once, decode only; cold: a new process to its first token after 128 (MODEL only).
    """
    from onesec.machine import describe, peak_resident_bytes

    from .measure import Samples, finest, named_gears

    if (model is None) == (shape is None):
        raise click.UsageError("Give either MODEL or --shape.")
    kinds = {kind.strip() for kind in only.split(",")}
    if not kinds <= set(KINDS):
        raise click.UsageError(f"--only takes {', '.join(KINDS)}.")
    engine = {"device": device, "threads": threads, "kv_dtype": kv_dtype}
    backend = _open(model, shape, engine)
    try:
        uniform = [gear.name for gear in backend.gears if gear.name in ("4", "8")]
        names = uniform if widths is None else [name.strip() for name in widths.split(",")]
        gears = named_gears(backend.gears, names, beyond=finest(backend.gears))
        samples = _measure(backend, gears, kinds, repeats)
        peak_bytes = peak_resident_bytes()
        settings = backend.settings
        if model is not None and "cold" in kinds:
            prompt = _cold_prompt(model)
            for gear in gears:
                values = [_cold_start_s(model, prompt, gear.name, engine) for _ in range(repeats)]
                samples[gear.name]["cold_start_s"] = Samples(values)
        records = [_record(gear, backend, samples[gear.name]) for gear in gears]
    finally:
        backend.close()
    if as_json:
        report: dict[str, Any] = {
            "subject": shape or model,
            "settings": {**settings, "repeats": repeats},
            "machine": describe(),
            "peak_resident_bytes": peak_bytes,
            "widths": records,
        }
        if len(records) == 1:
            report |= _workload_keys(records[0], peak_bytes)
        emit_json(report)
        return
    _draw(str(shape or model), records)
    note(" · ".join(f"{key} {value}" for key, value in settings.items()))


def _draw(title: str, records: list[dict[str, Any]]) -> None:
    lines = (
        ("decode, tok/s", "decode_tok_s", "{:.1f}"),
        ("prefill, tok/s", "prefill_tok_s", "{:.0f}"),
        ("time to first token, ms", "ttft_ms", "{:.0f}"),
        ("eight sequences, tok/s", "batch8_tok_s", "{:.0f}"),
        ("cold start, s", "cold_start_s", "{:.2f}"),
        ("decode reads, GB/s", "decode_gb_s", "{:.1f}"),
        ("plain reading, GB/s", "bandwidth_gb_s", "{:.1f}"),
        ("share of plain reading", "decode_share", "{:.0%}"),
    )
    rows = [
        (name, *(form.format(record[key]) for record in records))
        for name, key, form in lines
        if key in records[0]
    ]
    rows.append(
        ("weights of the width", *(megabytes(record["weight_bytes"]) for record in records))
    )
    if all("bytes_per_token" in record for record in records):
        read = (megabytes(round(record["bytes_per_token"])) for record in records)
        rows.append(("read a token", *read))
    table(title, ("", *(f"width {record['width']}" for record in records)), rows)
    if "decode_share" in records[0]:
        note("plain reading: as many bytes, one stream a thread")
