"""GpuBackend: batches on one GPU, from the same artifacts and with the same gears as on a CPU.

Prompts run through the library's matrix products, steps through fused kernels, both in CUDA graphs,
one a gear and number of rows: shifting gears is choosing another graph. It must not decide anything
about time, and must not know text or requests. On device "cpu" the same code runs eagerly, for
tests.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from onesec.backend.base import Batch, BatchResult, Float32Array
from onesec.backend.gears import GearSet, check_asked
from onesec.backend.sampling import sampler
from onesec.core.errors import InvalidRequest
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams
from onesec.model.artifact import Artifact
from onesec.model.config import ModelConfig
from onesec.model.planes import packed_names
from onesec.model.weights import Checkpoint

from .device import (
    check_memory,
    copy_bandwidth,
    device_name,
    on_device,
    open_device,
    told_when_full,
)
from .kernels import decode_ops, make_prompt_ops
from .ops import Matrix, Ops
from .replay import StepReplay
from .rows import BLOCK_TOKENS, Greedy, Host
from .run import LONG_PROMPT, GpuRunner
from .sizes import block_bytes, dense_bytes, matrix_bytes, packed_bytes, working_bytes
from .transformer import LayerWidths, Weights, Widths, heads_of
from .weights import load_weights, random_weights

CACHE_DTYPES = {"f16": torch.float16, "f32": torch.float32}
COMPUTE_DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


class GpuBackend:
    """The torch transformer behind the Backend protocol. One owner calls it; close() frees it.

    kv_dtype       of the cache: "f16" or "f32"
    compute_dtype  of products with activations: "bf16", "f16", or "f32" for the reference's answers
    ops            what runs steps, and prompts (None: the fastest that the device has)
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        context_tokens: int,
        kv_dtype: str,
        compute_dtype: str,
        mixed: tuple[Gear, ...] = (),
        narrow: frozenset[str] = frozenset(),
        device: torch.device,
        ops: Ops | None = None,
        prompt_ops: Ops | None = None,
    ) -> None:
        self.config, self.kv_dtype, self.compute_dtype = config, kv_dtype, compute_dtype
        self._weights, self._device = weights, device
        self._names = packed_names(config)
        self._gears = GearSet(
            planes=weights.embed.hi is not None,
            reference=weights.embed.dense is not None,
            tied=config.tie_embeddings,
            fine=False,
            narrow=narrow,
        )
        self._of_gear: dict[Gear, tuple[Widths, int]] = {}
        self._gears.order(mixed, self.bytes_per_token)
        dtype = COMPUTE_DTYPES[compute_dtype]
        with on_device(device):
            self._ops = ops or decode_ops(device, dtype)
            self._runner = GpuRunner(
                config,
                weights,
                self._ops,
                prompt_ops or make_prompt_ops(device, dtype),
                num_blocks=-(-context_tokens // BLOCK_TOKENS),
                cache_dtype=CACHE_DTYPES[kv_dtype],
                device=device,
            )

    @classmethod
    def load(
        cls,
        source: Checkpoint | Artifact,
        *,
        context_tokens: int,
        sequence_tokens: int | None = None,
        kv_dtype: str = "f16",
        compute_dtype: str = "bf16",
        planes: bool = True,
        reference: bool = False,
        device: str = "cuda",
        progress: Callable[[float], None] | None = None,
    ) -> GpuBackend:
        """Weights of `source` on a device; the other arguments are CpuBackend.load's.

        Raises InvalidRequest (no such device or dtype, no width, no cache), UnknownGear (a
        reference asked of an artifact), OutOfMemory (before anything is allocated, unless others
        take memory meanwhile), CorruptFile.

        >>> backend = GpuBackend.load(artifact, context_tokens=8192)  # doctest: +SKIP
        """
        check_asked(
            context_tokens=context_tokens,
            planes=planes,
            reference=reference,
            artifact=source if isinstance(source, Artifact) else None,
        )
        _check_dtypes(kv_dtype, compute_dtype)
        place = open_device(device)
        config = source.config.for_context(sequence_tokens or 0)
        dense = source.nbytes if reference else 0
        with _room(config, place, context_tokens, kv_dtype, compute_dtype, planes, dense):
            weights = load_weights(
                source, config, place, planes=planes, reference=reference, progress=progress
            )
            return cls(
                config,
                weights,
                context_tokens=context_tokens,
                kv_dtype=kv_dtype,
                compute_dtype=compute_dtype,
                mixed=source.ladder if planes and isinstance(source, Artifact) else (),
                narrow=source.narrow if isinstance(source, Artifact) else frozenset(),
                device=place,
            )

    @classmethod
    def random(
        cls,
        config: ModelConfig,
        *,
        context_tokens: int = 4096,
        kv_dtype: str = "f16",
        compute_dtype: str = "bf16",
        planes: bool = True,
        reference: bool = False,
        device: str = "cuda",
        seed: int = 0,
    ) -> GpuBackend:
        """Random weights of a shape: for speed work, where values do not matter. Raises as load."""
        check_asked(context_tokens=context_tokens, planes=planes, reference=reference)
        _check_dtypes(kv_dtype, compute_dtype)
        place = open_device(device)
        dense = COMPUTE_DTYPES[compute_dtype] if reference else None
        size = 0 if dense is None else dense_bytes(config, dense)
        with _room(config, place, context_tokens, kv_dtype, compute_dtype, planes, size):
            weights = random_weights(config, place, planes=planes, dense=dense, seed=seed)
            return cls(
                config,
                weights,
                context_tokens=context_tokens,
                kv_dtype=kv_dtype,
                compute_dtype=compute_dtype,
                device=place,
            )

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def context_length(self) -> int:
        return self._runner.context_length

    @property
    def block_size(self) -> int:
        return BLOCK_TOKENS

    @property
    def num_blocks(self) -> int:
        return self._runner.num_blocks

    @property
    def leaves_steps(self) -> bool:
        return False

    @property
    def hidden_size(self) -> int:
        """Of the vectors that pooled rows are told."""
        return self.config.hidden_size

    @property
    def kv_block_bytes(self) -> int:
        """Bytes of one block's keys and values over all layers."""
        return block_bytes(self.config, CACHE_DTYPES[self.kv_dtype])

    @property
    def gears(self) -> tuple[Gear, ...]:
        return self._gears.gears

    @property
    def settings(self) -> dict[str, object]:
        """What a measurement should name beside the machine."""
        return {
            "device": device_name(self._device),
            "kernels": type(self._ops).__name__,
            "compute_dtype": self.compute_dtype,
            "kv_dtype": self.kv_dtype,
        }

    def read_bandwidth(self, num_bytes: int) -> float:
        """GB/s (1e9) of a copy on the device, read and written, measured now."""
        with on_device(self._device):
            return copy_bandwidth(self._device, num_bytes)

    @property
    def machine(self) -> str:
        """What decides how fast the backend is: profiles are kept by it."""
        return f"{device_name(self._device)}, {type(self._ops).__name__}, {self.compute_dtype}"

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> Greedy | Host:
        """A fresh sampling state. A plainly greedy one never needs the host."""
        shaped = (
            params.temperature > 0.0
            or params.response_format is not None
            or params.logit_bias
            or params.min_tokens > 0
            or params.repetition_penalty != 1.0
            or params.presence_penalty != 0.0
            or params.frequency_penalty != 0.0
        )
        if not shaped:
            return Greedy()
        return Host(sampler(params, eos_ids=eos_ids), self.config.vocab_size)

    def bytes_per_token(self, gear: Gear) -> int:
        """Weight bytes that one decode step reads in this gear."""
        return self._known(gear)[1]

    def _known(self, gear: Gear) -> tuple[Widths, int]:
        """A gear's widths and its bytes a step, worked out once."""
        found = self._of_gear.get(gear)
        if found is None:
            found = self._of_gear[gear] = (self._make_widths(gear), self._step_bytes(gear))
        return found

    def _step_bytes(self, gear: Gear) -> int:
        total = 0
        for name in self._names:
            if name == "embed" and not self.config.tie_embeddings:
                continue  # one row of it
            matrix, width = self._matrix(name), self._gears.width(gear, name)
            if width == 0 and name.endswith(".qkv"):  # keys and values are still written
                written = matrix.rows - heads_of(self.config).k_offset
                total += matrix_bytes(matrix, 4) * written // matrix.rows
            else:
                total += matrix_bytes(matrix, width)
        return total

    def _matrix(self, name: str) -> Matrix:
        if name in ("embed", "head"):
            return self._weights.embed if name == "embed" else self._weights.head
        _, index, kind = name.split(".")
        layer = self._weights.layers[int(index)]
        found: Matrix = getattr(layer, "up" if kind == "gate_up" else kind)
        return found

    def _make_widths(self, gear: Gear) -> Widths:
        def of(name: str) -> int:
            return self._gears.width(gear, name)

        kinds = ("qkv", "o", "gate_up" if self.config.gated else "up", "down")
        layers = tuple(
            LayerWidths(*(of(f"layers.{i}.{kind}") for kind in kinds))
            for i in range(self.config.num_layers)
        )
        return Widths(of("embed"), of("embed" if self.config.tie_embeddings else "head"), layers)

    def replay(self, gear: Gear, rows: int) -> StepReplay:
        """The captured step of a gear for so many rows: for measuring it alone."""
        with self._computing():
            return self._runner.replay(self._known(gear)[0], rows)

    def warm(self, progress: Callable[[float], None] | None = None) -> None:
        """Capture every gear's graphs now, so that no request waits for one. Raises OutOfMemory."""
        what = f"Getting the model on {self._device} ready"
        for done, gear in enumerate(self.gears):
            with self._computing(), told_when_full(self._device, 0, what):
                self._runner.warm(self._known(gear)[0])
            if progress is not None:
                progress((done + 1) / len(self.gears))

    def forward(self, batch: Batch) -> BatchResult:
        """Run the batch; see Batch. Further steps are launched before earlier ones are looked at,
        so that the GPU does not wait for the host. `watch_ns` is ignored: what is launched cannot
        be left alone, since the next batch would queue behind it on the device.

        Raises as CpuBackend.forward: ModelError and ValueError before any row has drawn."""
        cpu_start = time.process_time()
        widths, step_bytes = self._known(batch.gear)
        with self._computing():
            rows, step_ms = self._runner.run(batch, widths)
        read = len(step_ms) * step_bytes + self._cache_bytes(batch, widths, len(step_ms))
        cpu_ms = (time.process_time() - cpu_start) * 1e3
        return BatchResult(rows, step_ms, cpu_ms, read)

    def _cache_bytes(self, batch: Batch, widths: Widths, steps: int) -> int:
        """Bytes of keys and values that so many steps read: in every layer that attends, the
        positions that a row's tokens see."""
        starts, counts = np.array([(row.start, len(row.tokens)) for row in batch.rows]).T
        step = np.arange(steps)[:, None]
        ends = starts + counts + step
        firsts = np.where(step == 0, starts, ends - 1)
        layers = zip(self.config.layers, widths.layers, strict=True)
        seen = 0
        for window, many in Counter(about.window for about, width in layers if width.qkv).items():
            hidden = np.maximum(firsts - window + 1, 0) if window > 0 else 0
            seen += many * int((ends - hidden).sum())
        return seen * self.kv_block_bytes // (BLOCK_TOKENS * self.config.num_layers)

    def rest(self, until_ns: int | None) -> BatchResult | None:
        """Nothing: no call is overdue here."""
        return BatchResult([], [], 0.0, 0)

    def logits(self, batch: Batch) -> Float32Array:
        """float32 [total tokens, vocab]: logits after every token of every row."""
        with self._computing():
            values = self._runner.logits(batch, self._known(batch.gear)[0])
            found: Float32Array = values.cpu().numpy()
        return found

    def close(self) -> None:
        """Free the graphs, the weights and the cache."""
        runner: GpuRunner | None = self.__dict__.pop("_runner", None)
        self.__dict__.pop("_weights", None)
        with on_device(self._device):
            if runner is not None:
                runner.close()
            del runner
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with on_device(self._device), torch.inference_mode():
            yield


@contextmanager
def _room(
    config: ModelConfig,
    place: torch.device,
    context_tokens: int,
    kv_dtype: str,
    compute_dtype: str,
    planes: bool,
    dense: int,
) -> Iterator[None]:
    """Inside, a model is brought to a device on which it fits; `dense`: bytes of its 16-bit width.
    Raises OutOfMemory."""
    need = -(-context_tokens // BLOCK_TOKENS) * block_bytes(config, CACHE_DTYPES[kv_dtype])
    need += dense + (packed_bytes(config) if planes else 0)
    tokens = min(LONG_PROMPT, config.context_length, context_tokens)
    need += working_bytes(config, COMPUTE_DTYPES[compute_dtype], tokens)
    what = f"The model on {place} (weights and {context_tokens} tokens of cache)"
    with on_device(place):
        check_memory(place, need, what)
        with told_when_full(place, need, what):
            yield


def _check_dtypes(kv_dtype: str, compute_dtype: str) -> None:
    for name, value, known in (
        ("kv_dtype", kv_dtype, CACHE_DTYPES),
        ("compute_dtype", compute_dtype, COMPUTE_DTYPES),
    ):
        if value not in known:
            raise InvalidRequest(f"{name} is {value!r}; on a GPU it is one of {tuple(known)}.")
