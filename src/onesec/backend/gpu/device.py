"""Device: from a word to a torch device that is there, and whether something fits on it.

It must not know models.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import torch

from onesec.core.errors import InvalidRequest, OutOfMemory
from onesec.machine import free_memory_bytes

_SPARE_BYTES = 512 << 20  # for what kernels need beside weights and cache


def open_device(word: str) -> torch.device:
    """The device of a word: "cuda", "cuda:1", or "cpu" (slow: for tests). Raises InvalidRequest."""
    device = None
    with suppress(RuntimeError):
        device = torch.device(word)
    if device is None or str(device) != word:  # of a large index torch keeps the last eight bits
        raise InvalidRequest(
            f"device is {word!r}; it must be cpu, cuda or cuda:N.", hint="Use cuda for one GPU."
        )
    if device.type not in ("cpu", "cuda"):
        raise InvalidRequest(f"device is {word!r}; NVIDIA GPUs are run, as cuda or cuda:N.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise InvalidRequest(
                f"device is {word!r}; torch {torch.__version__} sees {count} GPUs.",
                hint="Without a GPU use the CPU engine (--device cpu); with one, check the driver "
                "and that torch is a CUDA build.",
            )
        return torch.device("cuda", device.index or 0)
    return device


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Inside, this device is the thread's current one: where kernels are launched, whose streams
    work is queued on, and what graphs are captured of."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def device_name(device: torch.device) -> str:
    """What a device calls itself, with torch's version: both decide how fast it is."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return f"{name}, torch {torch.__version__}"


def copy_bandwidth(device: torch.device, num_bytes: int) -> float:
    """GB/s (1e9) of copying half of `num_bytes` (64 MB or more, and no more than half of what is
    free), counting bytes read and written: the median of ten copies."""
    size = max(min(num_bytes, _free_bytes(device) // 2), 64 << 20)
    source = torch.empty(size // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(10):
        _finish(device)
        begin = time.perf_counter()
        target.copy_(source)
        _finish(device)
        seconds.append(time.perf_counter() - begin)
    return 2e-9 * int(source.numel()) / statistics.median(seconds)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free_bytes(device: torch.device) -> int:
    """With what torch holds for later and nobody uses: it gives that back when it is needed."""
    if device.type != "cuda":
        return free_memory_bytes()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + unused)


def check_memory(device: torch.device, need_bytes: int, what: str) -> None:
    """Raise OutOfMemory where `need_bytes` and what kernels need beside them do not fit."""
    have = _free_bytes(device) - (_SPARE_BYTES if device.type == "cuda" else 0)
    if need_bytes > have:
        raise OutOfMemory(what, need_bytes=need_bytes, have_bytes=max(0, have))


@contextmanager
def told_when_full(device: torch.device, need_bytes: int, what: str) -> Iterator[None]:
    """Inside, torch's own error of memory is OutOfMemory: of what was thought to fit, or of what
    others have taken since."""
    try:
        yield
    except torch.OutOfMemoryError:
        have = free_memory_bytes()
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            have = free + torch.cuda.memory_reserved(device)  # and what torch has taken of it
        raise OutOfMemory(what, need_bytes=max(need_bytes, have), have_bytes=have) from None
