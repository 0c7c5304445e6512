"""Devices: which backend computes on a device. Each is imported only where it is asked for: the
compiled engine, or torch.

It must not know models' files, text or requests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from onesec.core.errors import InvalidRequest
from onesec.model.config import ModelConfig

if TYPE_CHECKING:
    from .cpu import CpuBackend
    from .gpu.backend import GpuBackend


def random_backend(
    config: ModelConfig,
    *,
    context_tokens: int,
    device: str = "cpu",
    threads: int | None = None,
    kv_dtype: str = "f16",
) -> CpuBackend | GpuBackend:
    """Random weights of a shape on a device: for speed work. Raises as `loader` does, and
    OutOfMemory."""
    options: dict[str, Any] = {"context_tokens": context_tokens, "kv_dtype": kv_dtype}
    if device != "cpu":
        return _ready(_gpu_backend(device).random(config, device=device, **options))
    from .cpu import CpuBackend

    return CpuBackend.random(config, threads=threads, **options)


def loader(device: str, threads: int | None) -> Callable[..., CpuBackend | GpuBackend]:
    """What loads weights for a device: the compiled engine, or torch, each only where it is used.

    Raises InvalidRequest for a device of another kind, and where torch is not there.
    """
    if device == "cpu":
        from .cpu import CpuBackend

        return partial(CpuBackend.load, threads=threads)
    kind = _gpu_backend(device)

    def load(*args: Any, **options: Any) -> GpuBackend:
        return _ready(kind.load(*args, device=device, **options))

    return load


def _ready(backend: GpuBackend) -> GpuBackend:
    """With all its graphs captured; where they do not fit, nothing of it stays on the device."""
    try:
        backend.warm()
    except BaseException:
        backend.close()
        raise
    return backend


def _gpu_backend(device: str) -> type[GpuBackend]:
    if not isinstance(device, str) or not device.startswith("cuda"):
        raise InvalidRequest(f"There is no device {device!r}.", hint="Choose cpu, cuda or cuda:N.")
    try:
        from .gpu.backend import GpuBackend
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            f"device {device!r} needs {error.name}, which is not installed.",
            hint='Install it: pip install "onesec[gpu]" (in a checkout: ".[gpu]").',
        ) from None
    return GpuBackend
