"""Capture: work on tensors that never move, as a CUDA graph. It must not know what the work is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def capture(
    work: Callable[[], None], prepare: Callable[[], None], device: torch.device, pool: Any
) -> torch.cuda.CUDAGraph:
    """The graph of `work`, which `prepare` sets the inputs of; its memory comes from `pool`."""
    prepare()
    work()  # compiles and loads kernels, which cannot be done while capturing
    torch.cuda.synchronize(device)
    prepare()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=_stream(device)):
        work()
    graph.replay()  # the first launch brings a graph to the device
    return graph


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """What a device's graphs are captured on: one stream, since graphs of two share no memory, and
    the device's own, since torch's default belongs to the first device that captured."""
    return torch.cuda.Stream(device)
