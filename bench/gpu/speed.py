"""Steps and prompts of one shape with random weights: device time, jitter, batches, verification.

A step is one token a row after a context of 256, greedy, by graph replay; times are device events.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from onesec.backend.base import Batch, BatchRow
from onesec.backend.gpu.backend import GpuBackend
from onesec.backend.gpu.replay import StepReplay, StepRow
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams
from onesec.model.shapes import shape

from .floors import gaps_ms

CONTEXT = 256
PROMPTS = (16, 100, 512, 1024)  # tokens
_GREEDY = SamplingParams(ignore_eos=True)


def open_shape(name: str, *, reference: bool) -> GpuBackend:
    """Random planes of a shape, and its 16-bit width where `reference`."""
    return GpuBackend.random(shape(name), context_tokens=8192, reference=reference)


def _tables(backend: GpuBackend, rows: int) -> list[np.ndarray]:
    """A block table a row, no block in two of them."""
    blocks = min(2048 // backend.block_size, backend.num_blocks // rows)
    return [np.arange(blocks, dtype=np.int32) + blocks * i for i in range(rows)]


def _step_events(
    replay: StepReplay, rows: list[StepRow], count: int, again: int = 512
) -> list[float]:
    """Device milliseconds of each of `count` steps; positions begin anew every `again`."""
    times: list[float] = []
    while len(times) < count:
        replay.load(rows)
        times += gaps_ms(replay.replay, min(again, count - len(times)))
    return times


def steps(backend: GpuBackend, gear: Gear, rows: int, *, count: int = 200) -> list[float]:
    """Milliseconds of each step of so many rows."""
    replay = backend.replay(gear, rows)
    loaded = [StepRow(1 + i, CONTEXT, table) for i, table in enumerate(_tables(backend, rows))]
    with torch.inference_mode():
        _step_events(replay, loaded, 20)
        return _step_events(replay, loaded, count)


def verification(backend: GpuBackend, gear: Gear, tokens: int = 8) -> float:
    """Median milliseconds of one forward over a draft: tokens of one sequence."""
    replay = backend.replay(gear, tokens)
    (table,) = _tables(backend, 1)
    rows = [StepRow(1 + i, CONTEXT + i, table) for i in range(tokens)]
    with torch.inference_mode():
        return statistics.median(_step_events(replay, rows, 60, again=1))


def host_us(backend: GpuBackend, gear: Gear, device_ms: float) -> float:
    """Microseconds of wall time a step beyond its device time, through `forward`, 32 at a time."""
    (table,) = _tables(backend, 1)
    row = BatchRow(
        np.ones(1, np.int32), CONTEXT, table, sampler=backend.sampler(_GREEDY, eos_ids=())
    )
    batch = Batch(gear, [row], max_steps=32, exact=True)
    backend.forward(batch)
    times = []
    for _ in range(8):
        begin = time.perf_counter()
        backend.forward(batch)
        times.append((time.perf_counter() - begin) * 1e3 / 32)
    return (statistics.median(times) - device_ms) * 1e3


def prompt_ms(backend: GpuBackend, gear: Gear, tokens: int) -> float:
    """Median wall milliseconds from a prompt to its first token."""
    (table,) = _tables(backend, 1)
    ids = np.random.default_rng(0).integers(0, backend.vocab_size, tokens, dtype=np.int32)
    sampler = backend.sampler(_GREEDY, eos_ids=())
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        backend.forward(Batch(gear, [BatchRow(ids, 0, table, sampler=sampler)]))
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times[1:])


def cold_ms(backend: GpuBackend, gear: Gear, idle_s: float = 2.0) -> float:
    """Wall milliseconds of the first step after so long a rest: clocks have gone down by then."""
    (table,) = _tables(backend, 1)
    sampler = backend.sampler(_GREEDY, eos_ids=())
    row = BatchRow(np.ones(1, np.int32), CONTEXT, table, sampler=sampler)
    times = []
    for _ in range(2):
        time.sleep(idle_s)
        begin = time.perf_counter()
        backend.forward(Batch(gear, [row], exact=True))
        times.append((time.perf_counter() - begin) * 1e3)
    return max(times)


def quantile(values: list[float], q: float) -> float:
    """The q-quantile of the values."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def measure(
    backend: GpuBackend, gear: Gear, copy_gb_s: float, *, jitter: int = 0
) -> dict[str, Any]:
    """All figures of one gear; `jitter`: steps to take quantiles over, 0 for none."""
    one = statistics.median(steps(backend, gear, 1))
    size = backend.bytes_per_token(gear)
    floor = size / copy_gb_s / 1e6
    found: dict[str, Any] = {
        "step_ms": one,
        "tok_s": 1e3 / one,
        "gb_per_step": size / 1e9,
        "floor_ms": floor,
        "share_of_copy": floor / one,
        "batch8": statistics.median(steps(backend, gear, 8)) / one,
        "verify8": verification(backend, gear) / one,
        "host_us": host_us(backend, gear, one),
        "prompts_ms": {str(n): prompt_ms(backend, gear, n) for n in PROMPTS},
    }
    if jitter:
        times = steps(backend, gear, 1, count=jitter)
        p50 = quantile(times, 0.5)
        found["jitter"] = {
            "steps": jitter,
            "p99_over_p50": quantile(times, 0.99) / p50,
            "p999_over_p50": quantile(times, 0.999) / p50,
        }
        found["after_idle_ms"] = cold_ms(backend, gear)
    return found
