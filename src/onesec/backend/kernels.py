"""Kernels: which Ops run a device's steps and prompts: the fastest that can be had there.

It must not know models or batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from .ops import Ops
from .ops_plain import PlainOps

Maker = Callable[[torch.device, torch.dtype], Ops | None]


def _triton(device: torch.device, dtype: torch.dtype) -> Ops | None:
    if device.type != "cuda":
        return None
    from .ops_triton import TritonOps

    return TritonOps()


# From the fastest to the plainest; each says None where it cannot run.
DECODE_KERNELS: Mapping[str, Maker] = {"triton": _triton}


def decode_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs decode steps: fused kernels on a GPU, plain torch elsewhere."""
    made = (make(device, dtype) for make in DECODE_KERNELS.values())
    return next((ops for ops in made if ops is not None), PlainOps(dtype))


def make_prompt_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs prompts: many rows at once, through the library's matrix products."""
    return PlainOps(dtype)
