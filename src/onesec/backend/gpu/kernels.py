"""Kernels: which Ops run a device's steps and prompts: the fastest that can be had there.

It must not know models or batches.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from onesec.core.errors import KernelBuildFailed
from onesec.machine import cache_folder

from .ops import Heads, LayerCache, Matrix, Ops, Steps, Turn
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


@functools.cache
def _library(device: torch.device) -> CudaLibrary | None:
    if device.type != "cuda":
        return None
    from .cuda_library import SHARED_BYTES, CudaLibrary, compile_library, find_nvcc

    about = torch.cuda.get_device_properties(device)
    if find_nvcc() is None or about.shared_memory_per_block_optin < SHARED_BYTES:
        return None
    try:
        path = compile_library((about.major, about.minor), cache_folder() / "kernels")
    except KernelBuildFailed as error:
        warnings.warn(f"{error} Triton's kernels are used instead.", stacklevel=2)
        return None
    return CudaLibrary(path)


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
    """PlainOps on a GPU: kernels open the planes at the speed of memory, turn heads and fill the
    cache, each in one launch."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        from .ops_triton import TritonOps

        self._kernels = TritonOps()
        self._library = None if dtype == torch.float32 else _library(device)

    def weight(self, matrix: Matrix, width: int) -> Tensor:
        """See PlainOps."""
        if width == 16:
            return super().weight(matrix, width)
        if self._library is not None:
            from .ops_cuda import open_planes

            return open_planes(self._library, matrix, width, self._dtype)
        from .ops_triton import dequantize

        return dequantize(matrix, width, self._dtype)

    def rope_and_store(
        self,
        qkv: Tensor,
        heads: Heads,
        turn: Turn,
        cache: LayerCache,
        steps: Steps,
        *,
        with_queries: bool = True,
    ) -> None:
        """See Ops."""
        self._kernels.rope_and_store(qkv, heads, turn, cache, steps, with_queries=with_queries)


def make_prompt_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """What runs prompts: many rows at once, through the library's matrix products."""
    return PromptOps(device, dtype) if device.type == "cuda" else PlainOps(dtype)
