"""Kernels: which Ops run a device's steps and prompts: the fastest that can be had there.

It must not know models or batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from onesec.core.errors import KernelBuildFailed
from onesec.machine import cache_folder

from .ops import Matrix, Ops
from .ops_plain import PlainOps

Maker = Callable[[torch.device, torch.dtype], Ops | None]


def _triton(device: torch.device, dtype: torch.dtype) -> Ops | None:
    if device.type != "cuda":
        return None
    from .ops_triton import TritonOps

    return TritonOps(pdl=_dependent(device))


def _cuda(device: torch.device, dtype: torch.dtype) -> Ops | None:
    """Where nvcc is. In float32, which asks for the reference's answers, its int8 would not do."""
    if device.type != "cuda" or dtype == torch.float32:
        return None
    from .cuda_library import SHARED_BYTES, CudaLibrary, compile_library, find_nvcc
    from .ops_cuda import CudaOps

    rest = _triton(device, dtype)
    about = torch.cuda.get_device_properties(device)
    room = about.shared_memory_per_block_optin >= SHARED_BYTES
    if rest is None or find_nvcc() is None or not room:
        return None
    try:
        library = compile_library(
            torch.cuda.get_device_capability(device), cache_folder() / "kernels"
        )
    except KernelBuildFailed as error:
        warnings.warn(f"{error} Triton's kernels are used instead.", stacklevel=2)
        return None
    return CudaOps(rest, CudaLibrary(library), dependent=_dependent(device))


def _dependent(device: torch.device) -> bool:
    """Whether a kernel may begin while the one before it ends."""
    return bool(torch.cuda.get_device_capability(device)[0] >= 9)


# From the fastest to the plainest; each says None where it cannot run.
DECODE_KERNELS: Mapping[str, Maker] = {"cuda": _cuda, "triton": _triton}


def decode_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs decode steps: fused kernels on a GPU, plain torch elsewhere."""
    made = (make(device, dtype) for make in DECODE_KERNELS.values())
    return next((ops for ops in made if ops is not None), PlainOps(dtype))


class PromptOps(PlainOps):
    """PlainOps whose planes are opened by a kernel, at the speed of memory."""

    def weight(self, matrix: Matrix, width: int) -> Tensor:
        """See PlainOps."""
        if width == 16:
            return super().weight(matrix, width)
        from .ops_triton import dequantize

        return dequantize(matrix, width, self._dtype)


def make_prompt_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs prompts: many rows at once, through the library's matrix products."""
    return PromptOps(dtype) if device.type == "cuda" else PlainOps(dtype)
