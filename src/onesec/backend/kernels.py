"""Kernels: which Ops run a device's steps and prompts: the fastest that can be had there.

It must not know models or batches.
"""

from __future__ import annotations

import torch

from .ops import Ops
from .ops_plain import PlainOps


def decode_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs decode steps: fused kernels on a GPU, plain torch elsewhere."""
    return PlainOps(dtype)


def prompt_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs prompts: many rows at once, through the library's matrix products."""
    return PlainOps(dtype)
