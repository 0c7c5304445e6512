"""What the GPU backend does around its steps, run on the processor: the device it makes current,
the memory it asks for and gives back, what it has ready before a request comes, when it stops."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
import torch
from torch import Tensor

from onesec.backend.base import Batch, BatchRow
from onesec.backend.gpu import backend as gpu_module
from onesec.backend.gpu import device as device_module
from onesec.backend.gpu.backend import GpuBackend
from onesec.backend.gpu.ops import Matrix, Norm, Picked, Steps
from onesec.backend.gpu.ops_plain import PlainOps
from onesec.backend.gpu.replay import SIZES, StepReplay
from onesec.backend.gpu.sizes import dense_bytes, packed_bytes
from onesec.backend.gpu.weights import random_weights
from onesec.core.errors import OutOfMemory
from onesec.core.gear import UNIFORM
from onesec.core.request import SamplingParams
from onesec.model.planes import packed_shape
from onesec.model.shapes import shape

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

CPU = torch.device("cpu")
TINY = shape("tiny")
EXACT = UNIFORM[16]
GREEDY = SamplingParams(ignore_eos=True)


class Watched(PlainOps):
    """Tells what a kernel would be compiled for: rows of the head, and what is picked of them."""

    def __init__(self, head: Matrix) -> None:
        super().__init__()
        self._head = head
        self.seen: set[tuple[object, ...]] = set()

    def norm_matmul(
        self, h: Tensor, norm: Norm, matrix: Matrix, width: int, *, first_row: int = 0
    ) -> Tensor:
        if matrix is self._head:
            self.seen.add(("head", len(h)))
        return super().norm_matmul(h, norm, matrix, width, first_row=first_row)

    def pick(self, logits: Tensor, steps: Steps | None = None) -> Picked:
        if steps is None:
            n = len(logits)
            self.seen.add(("pick", n == 1, n % 16 == 0, logits.stride(0)))
        return super().pick(logits, steps)


def _open(ops: Any = None) -> GpuBackend:
    weights = random_weights(TINY, CPU, planes=False, dense=torch.float32)
    return GpuBackend(
        TINY,
        weights,
        context_tokens=256,
        kv_dtype="f32",
        compute_dtype="f32",
        device=CPU,
        ops=ops(weights.head) if ops else None,
    )


@pytest.fixture
def backend() -> Iterator[GpuBackend]:
    opened = _open()
    yield opened
    opened.close()


def _row(backend: GpuBackend, tokens: int, block: int = 0, **options: Any) -> BatchRow:
    options = {"sampler": backend.sampler(GREEDY, eos_ids=()), **options}
    return BatchRow(np.arange(tokens, dtype=np.int32), 0, np.array([block], np.int32), **options)


def test_the_device_is_current_while_the_backend_works(
    backend: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are launched on the current device, whatever device their tensors are on."""
    second, current = torch.device("cuda", 1), [CPU]

    @contextmanager
    def entered(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield
        current.pop()

    found: dict[str, torch.device] = {}

    def watch(owner: Any, name: str) -> None:
        work = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            found[name] = current[-1]
            return work(*args, **options)

        monkeypatch.setattr(owner, name, watched)

    for name in ("run", "logits", "warm", "replay", "close"):
        watch(backend._runner, name)
    monkeypatch.setattr(torch.cuda, "device", entered)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    backend._device = second
    backend.forward(Batch(EXACT, [_row(backend, 3)]))
    backend.logits(Batch(EXACT, [_row(backend, 3)]))
    backend.warm()
    backend.replay(EXACT, 1)
    backend.close()
    assert found == dict.fromkeys(("run", "logits", "warm", "replay", "close"), second)
    assert current == [CPU]
    backend._device = CPU


def test_what_is_closed_is_free_at_once() -> None:
    """Without the garbage collector, which does not know that a GPU is full."""
    backend = _open()
    backend.forward(Batch(EXACT, [_row(backend, 3)], max_steps=2))
    runner = weakref.ref(backend._runner)
    gc.disable()
    try:
        backend.close()
        assert runner() is None
    finally:
        gc.enable()


def test_no_step_is_begun_ahead_that_would_begin_late(
    backend: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call would have to wait for it."""
    begun: list[int] = []
    launch = StepReplay.launch

    def counted(self: StepReplay, slot: int) -> None:
        begun.append(slot)
        launch(self, slot)

    monkeypatch.setattr(StepReplay, "launch", counted)
    (row,) = backend.forward(Batch(EXACT, [_row(backend, 1)], max_steps=4, until_ns=1)).rows
    assert (len(row.tokens), begun) == (1, [0])
    (row,) = backend.forward(Batch(EXACT, [_row(backend, 1)], max_steps=4)).rows
    assert (len(row.tokens), begun) == (4, [0, 0, 1, 2, 3])


def test_no_request_waits_for_a_compiler() -> None:
    """Heads and picks of any number of rows are those that were run before."""
    backend = _open(Watched)
    ops: Any = backend._ops
    backend.warm()
    warm = set(ops.seen)
    assert {n for kind, n, *_ in warm if kind == "head"} == set(SIZES)
    for count in (2, 3, 6, 7):
        rows = [_row(backend, 2, i) for i in range(count)]
        assert [len(row.tokens) for row in backend.forward(Batch(EXACT, rows)).rows] == [1] * count
    told = _row(backend, 21, prompt_logprobs=True)  # more logits than a graph has rows
    assert len(backend.forward(Batch(EXACT, [told])).rows[0].prompt_logprobs) == 20
    assert ops.seen == warm
    backend.close()


def test_memory_is_asked_for_with_what_prompts_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "free_memory_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory) as caught:
        GpuBackend.random(TINY, compute_dtype="f32", reference=True, device="cpu")
    layer = ("layers.0.qkv", "layers.0.o", "layers.0.gate_up", "layers.0.down")
    opened = max(rows * cols for rows, cols in (packed_shape(TINY, name) for name in layer))
    least = packed_bytes(TINY) + dense_bytes(TINY, torch.float32) + 2 * 4 * opened
    assert caught.value.need_bytes > least
    assert caught.value.have_bytes == 1000


def test_memory_that_runs_out_meanwhile_is_told(
    backend: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(gpu_module, "random_weights", full)
    with pytest.raises(OutOfMemory, match="cache"):
        GpuBackend.random(TINY, device="cpu")
    monkeypatch.setattr(backend._runner, "warm", full)
    with pytest.raises(OutOfMemory, match="ready"):
        backend.warm()
