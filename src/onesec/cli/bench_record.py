"""`onesec bench record`: how long a shape's prompts and steps take here, one by one, as a file."""

from __future__ import annotations

from pathlib import Path

import click

from .options import device_option, kv_option, need_place, output_option, threads_option
from .output import note, progress, table


@click.command("record")
@click.option("--shape", required=True, help="A public shape with random weights. 形状")
@output_option("The file to write, JSON. 输出文件")
@click.option("--rounds", type=click.IntRange(min=2), default=8, show_default=True)
@device_option
@threads_option
@kv_option
def command(
    shape: str, output: Path, rounds: int, device: str, threads: int | None, kv_dtype: str
) -> None:
    """Record step times of a shape, for `onesec bench deadlines --recording`. 录制"""
    from onesec.backend.devices import random_backend
    from onesec.bench.recording import PROMPTS, STEPS, record
    from onesec.budget.latency import P50
    from onesec.core.clock import MonotonicClock
    from onesec.machine import describe
    from onesec.model.shapes import shape as shape_of

    need_place("--output", output)
    backend = random_backend(
        shape_of(shape),
        context_tokens=2 * (max(PROMPTS) + STEPS),
        device=device,
        threads=threads,
        kv_dtype=kv_dtype,
    )
    try:
        with progress(f"recording {shape}") as advance:
            found = record(
                backend,
                MonotonicClock(),
                shape=shape,
                machine=describe(),
                rounds=rounds,
                progress=advance or (lambda share: None),
            )
    finally:
        backend.close()
    found.save(output)
    latency = found.latency()
    rows = [
        (
            name,
            f"{latency.prefill_ms(name, 128, quantile=P50):.1f}",
            f"{latency.step_ms(name, 128):.2f}",
            f"{cost.cost.step_tail[0]:.2f}",
        )
        for name, cost in found.gears.items()
    ]
    heads = ("gear", "128 prompt tokens, ms", "a step, ms", "p95 / median")
    table(shape, heads, rows)
    note(f"written: {output}")
