"""What the GPU backend does around its steps, run on the processor: the device it makes current,
the memory it asks for and gives back, what it has ready before a request comes, when it stops."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from onesec.backend.gpu.device import check_memory, copy_bandwidth, open_device
from onesec.backend.gpu.ops import LayerCache, Matrix, Norm, Picked, Reader, Steps
from onesec.backend.gpu.ops_plain import PlainOps
from onesec.backend.gpu.replay import SIZES, StepReplay
from onesec.backend.gpu.sizes import dense_bytes, packed_bytes
from onesec.backend.gpu.transformer import LayerWidths, Widths, hidden, logits
from onesec.backend.gpu.weights import random_weights
from onesec.core.errors import InvalidRequest, OutOfMemory
from onesec.core.gear import UNIFORM
from onesec.core.request import SamplingParams
from onesec.model.config import LayerConfig, ModelConfig
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
        self, h: Tensor, norm: Norm, matrix: Matrix, width: int, **options: Any
    ) -> Tensor:
        if matrix is self._head:
            self.seen.add(("head", len(h)))
        return super().norm_matmul(h, norm, matrix, width, **options)

    def pick(self, logits: Tensor, steps: Steps | None = None) -> Picked:
        if steps is None:
            n = len(logits)
            self.seen.add(("pick", n == 1, n % 16 == 0, logits.stride(0)))
        return super().pick(logits, steps)


def _open(ops: Any = None, config: ModelConfig = TINY) -> GpuBackend:
    weights = random_weights(config, CPU, planes=False, dense=torch.float32)
    return GpuBackend(
        config,
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


def test_memory_that_torch_holds_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a model that did not fit: a smaller one is not refused."""
    gigabyte = 1 << 30
    told = {"mem_get_info": (gigabyte, 80 * gigabyte), "memory_reserved": 9 * gigabyte}
    for name, value in {**told, "memory_allocated": 2 * gigabyte}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    device = torch.device("cuda", 0)
    check_memory(device, 7 * gigabyte, "The model")
    with pytest.raises(OutOfMemory):
        check_memory(device, 8 * gigabyte, "The model")


def test_a_copy_is_no_larger_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "free_memory_bytes", lambda: 1000)
    assert copy_bandwidth(CPU, 1 << 60) > 0.0


@pytest.mark.parametrize("word", ["cuda:256", "cuda:255", "cuda:200", ""])
def test_a_device_is_that_of_its_word(word: str) -> None:
    """Not another one, whose number has the same last bits."""
    with pytest.raises(InvalidRequest, match="cpu, cuda or cuda:N"):
        open_device(word)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planes": False}, "planes or the 16-bit"),
        ({"context_tokens": 0}, "at least 1"),
        ({"context_tokens": None}, "at least 1"),
    ],
)
def test_a_backend_without_weights_or_cache_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        GpuBackend.random(TINY, device="cpu", **options)


def test_torchs_defaults_change_nothing(backend: GpuBackend) -> None:
    """They belong to whoever else uses torch in this process."""
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("meta"):
            other = _open()
            for rows in ([_row(other, 5)], [_row(other, 5), _row(other, 3, 1)]):
                again = [BatchRow(row.tokens, 0, row.block_table, row.sampler) for row in rows]
                drawn = other.forward(Batch(EXACT, rows, max_steps=3)).rows
                assert drawn == backend.forward(Batch(EXACT, again, max_steps=3)).rows
            logits = other.logits(Batch(EXACT, [_row(other, 5)]))
    finally:
        torch.set_default_dtype(torch.float32)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, backend.logits(Batch(EXACT, [_row(backend, 5)])))
    other.close()


def test_bytes_of_the_cache_are_those_that_rows_see() -> None:
    """A prompt of six tokens and two steps: of a window of four positions 6 + 4 + 4."""
    layers = (LayerConfig(4), *TINY.layers[1:])
    windowed = _open(config=replace(TINY, layers=layers))
    found = windowed.forward(Batch(EXACT, [_row(windowed, 6)], max_steps=3))
    position = windowed.kv_block_bytes // 32 // TINY.num_layers
    read = 14 + (6 + 7 + 8) * (TINY.num_layers - 1)
    assert found.bytes_read == 3 * windowed.bytes_per_token(EXACT) + read * position
    windowed.close()


class Leaving(PlainOps):
    """Gives the reader that it is told of for what is ready, and looks who gets it."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self._of_attention: Reader | None = None

    def _is_for(self, ready: Reader | None, matrix: Matrix, width: int, norm: Norm | None) -> None:
        if ready is not None:
            assert ready.matrix is matrix
            assert ready.width == width
            assert ready.norm is norm
            self.read += 1

    def norm_matmul(
        self, h: Tensor, norm: Norm, matrix: Matrix, width: int, **options: Any
    ) -> Tensor:
        self._is_for(options["ready"], matrix, width, norm)
        return super().norm_matmul(h, norm, matrix, width, first_row=options.get("first_row", 0))

    def attend(self, *given: Any, **options: Any) -> Tensor:
        self._of_attention = options["reader"]
        return super().attend(*given, **options)

    def matmul_add(
        self,
        x: Tensor,
        matrix: Matrix,
        width: int,
        h: Tensor,
        post_norm: Norm | None = None,
        reader: Reader | None = None,
    ) -> Any:
        self._is_for(self._of_attention, matrix, width, None)
        self._of_attention = None
        super().matmul_add(x, matrix, width, h, post_norm)
        return reader

    def norm_feed(
        self,
        h: Tensor,
        norm: Norm,
        matrix: Matrix,
        width: int,
        activation: str,
        size: int,
        ready: Any = None,
    ) -> Tensor:
        self._is_for(ready, matrix, width, norm)
        return super().norm_feed(h, norm, matrix, width, activation, size)


FULL, NO_ATTENTION = LayerWidths(8, 8, 8, 4), LayerWidths(0, 8, 8, 8)
NO_FFN, NEITHER = LayerWidths(4, 8, 0, 8), LayerWidths(0, 8, 0, 8)


@pytest.mark.parametrize(
    ("layers", "read"),
    [
        ((FULL, FULL), 6),  # o, the FFN and what is behind the layer, twice
        ((NO_ATTENTION, FULL), 1 + 3),  # nothing is ready for the first FFN
        ((FULL, NO_ATTENTION), 3 + 1),
        ((NO_FFN, FULL), 2 + 3),
        ((FULL, NO_FFN), 3 + 2),
        ((FULL, NEITHER), 3),  # the last one by the second layer's keys and values
        ((NEITHER, NEITHER), 0),
    ],
)
def test_what_is_ready_is_read_by_whom_it_is_for(
    layers: tuple[LayerWidths, ...], read: int
) -> None:
    config = replace(TINY, num_layers=len(layers), layers=TINY.layers[:1] * len(layers))
    weights = random_weights(config, CPU)
    pool = (3, config.num_kv_heads, 32, config.head_dim)
    cache = tuple(LayerCache(torch.zeros(pool), torch.zeros(pool)) for _ in layers)
    at = torch.zeros(1, dtype=torch.int32)
    steps, ops = Steps(at, at, torch.zeros(1, 2, dtype=torch.int32)), Leaving()
    widths = Widths(8, 8, layers)
    h, ready = hidden(config, weights, cache, ops, widths, steps)
    assert logits(config, weights, ops, widths, h, ready).isfinite().all()
    assert ops.read == read
