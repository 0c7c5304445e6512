"""What this GPU can do at best: bytes a second, and what a node of a CUDA graph costs."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

_HELD_CYCLES = 5_000_000  # of the device's clock, for each step that is queued: some 3 ms
_MOST_HELD = 64  # steps; those behind them are queued while these run


def event_ms(run: Callable[[], Any], repeats: int, warm: int = 3) -> float:
    """Median device milliseconds of `run`."""
    for _ in range(warm):
        run()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def gaps_ms(step: Callable[[], Any], count: int) -> list[float]:
    """Device milliseconds of each of `count` steps, one right behind the other: they are queued
    while the device is held, so that what the host does between two of them is not in it."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    torch.cuda._sleep(min(count, _MOST_HELD) * _HELD_CYCLES)
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in itertools.pairwise(events)]


def warm_up(seconds: float = 1.0) -> None:
    """Work until the clocks are up: after a rest they are a sixth of what they can be."""
    a = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(20):
            a = (a @ a).clamp_(-1, 1)
        torch.cuda.synchronize()


def bandwidth_gb_s(gigabytes: float = 4.0) -> dict[str, float]:
    """GB/s (1e9) of a copy, counting bytes read and written, and of a sum, which only reads."""
    size = int(gigabytes * 1e9) // 4
    source = torch.ones(size, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    copy = event_ms(lambda: target.copy_(source), 10)
    read = event_ms(lambda: torch.sum(source), 10)
    return {"copy": 8e-6 * size / copy, "read": 4e-6 * size / read}


def node_us(nodes: int = 2000) -> float:
    """Microseconds that one tiny kernel takes in a graph of many, each waiting for the last."""
    x = torch.zeros(1, device="cuda")
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x.add_(1)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(nodes):
            x.add_(1)
    return event_ms(graph.replay, 20) * 1e3 / nodes


def matmul_tflops(size: int = 8192) -> float:
    """TFLOP/s of a bfloat16 product of random matrices."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2e-9 * size**3 / event_ms(lambda: a @ b, 10)
