"""Kernels: which Ops run a device's steps and prompts: the fastest that can be had there.

It must not know models or batches.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from onesec.core.errors import KernelBuildFailed
from onesec.machine import cache_folder

from .ops import Ops
from .ops_plain import PlainOps

if TYPE_CHECKING:
    from .cuda_library import CudaLibrary

Maker = Callable[[torch.device, torch.dtype], Ops | None]


def _triton(device: torch.device, dtype: torch.dtype) -> Ops | None:
    if device.type != "cuda":
        return None
    from .ops_triton import TritonOps

    return TritonOps(pdl=_dependent(device))


def _cuda(device: torch.device, dtype: torch.dtype) -> Ops | None:
    """Where nvcc is. In float32, which asks for the reference's answers, its int8 would not do."""
    library = _library(device)
    if library is None or dtype == torch.float32:
        return None
    from .ops_cuda import CudaOps

    return CudaOps(library, dependent=_dependent(device))


def runs_cuda_kernels(device: torch.device) -> bool:
    """Whether a GPU has what the hand-written kernels are made for; nvcc must be there too."""
    from .cuda_library import OLDEST, SHARED_BYTES

    about = torch.cuda.get_device_properties(device)
    new = (about.major, about.minor) >= OLDEST
    return bool(new and about.shared_memory_per_block_optin >= SHARED_BYTES)


@functools.cache
def _library(device: torch.device) -> CudaLibrary | None:
    if device.type != "cuda":
        return None
    from .cuda_library import find_nvcc, open_library

    if find_nvcc() is None or not runs_cuda_kernels(device):
        return None
    capability = torch.cuda.get_device_capability(device)
    try:
        return open_library(capability, cache_folder() / "kernels")
    except KernelBuildFailed as error:
        warnings.warn(f"{error} Triton's kernels are used instead.", stacklevel=2)
        return None


def _dependent(device: torch.device) -> bool:
    """Whether a kernel may begin while the one before it ends."""
    return bool(torch.cuda.get_device_capability(device)[0] >= 9)


# From the fastest to the plainest; each says None where it cannot run.
DECODE_KERNELS: Mapping[str, Maker] = {"cuda": _cuda, "triton": _triton}


def decode_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs decode steps: fused kernels on a GPU, plain torch elsewhere."""
    made = (make(device, dtype) for make in DECODE_KERNELS.values())
    return next((ops for ops in made if ops is not None), PlainOps(dtype))


def make_prompt_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs prompts: many rows at once, through the library's matrix products."""
    if device.type != "cuda":
        return PlainOps(dtype)
    from .ops_prompt import PromptOps

    return PromptOps(dtype, _library(device))
