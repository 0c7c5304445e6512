"""CpuBackend: hands batches to the native engine, and weights to its planes.

It must not decide anything about time, and must not know text or requests. Beside `linear` the only
module that imports `onesec._native`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np

import onesec._native as _native
from onesec.core.errors import CorruptFile, InvalidRequest, OutOfMemory
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams
from onesec.machine import cpu_name, free_memory_bytes
from onesec.model.artifact import Artifact
from onesec.model.artifact_writer import write_artifact
from onesec.model.config import ModelConfig
from onesec.model.planes import PackedMatrix
from onesec.model.safetensors import ALIGNMENT
from onesec.model.tensor import Tensor, in_file
from onesec.model.weights import Checkpoint

from .base import Batch, BatchResult, BatchRow, Float32Array, RowResult
from .gears import GearSet, check_asked
from .sampling import HostSampler, sampler

CACHE_DTYPES = ("f16", "i8", "f32")
_BANDWIDTH_SECONDS = 0.3
_MAX_THREADS = 1024  # of a pool
# That may be asked for: threads that share a CPU wait for each other at every product. On two CPUs
# 64 of them start in 4 s, 256 in 19.
_THREADS_PER_CPU, _THREADS_ANYWHERE = 4, 64
_FOREVER_NS = 2**63 - 1


def cpu_features() -> dict[str, object]:
    """What the engine sees of this machine: instruction sets it can use (the last is the default),
    what became of AMX tiles ("absent", "used", "refused: why"), CPUs it may use."""
    return {
        "isas": _native.available_isas(),
        "amx": _native.amx_state(),
        "allowed_cpus": _native.allowed_cpus(),
    }


def read_bandwidth(num_bytes: int, threads: int, seconds: float) -> float:
    """GB/s (1e9) of reading `num_bytes` over and over: one stream a thread, widest loads, 2 MiB
    pages."""
    return float(_native.read_bandwidth(num_bytes, threads, seconds))


class CpuBackend:
    """The native engine behind the Backend protocol. One owner calls it; close() frees its memory.

    Gears: "4" and "8" where the planes exist, the mixed ones of an artifact, "16" where the
    checkpoint's own weights are kept too.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        context_tokens: int,
        threads: int | None,
        kv_dtype: str,
        widths: tuple[int, ...],
        mixed: tuple[Gear, ...] = (),
        narrow: frozenset[str] = frozenset(),
    ) -> None:
        if kv_dtype not in CACHE_DTYPES:
            raise InvalidRequest(f"kv_dtype is {kv_dtype!r}; it must be one of {CACHE_DTYPES}.")
        cpus = int(_native.allowed_cpus())
        most = min(_MAX_THREADS, max(_THREADS_ANYWHERE, _THREADS_PER_CPU * cpus))
        if threads is not None and not (type(threads) is int and 1 <= threads <= most):
            raise InvalidRequest(
                f"threads is {threads!r}; for {cpus} CPUs it must lie in [1, {most}].",
                hint="Leave it out to use all CPUs.",
            )
        self.config = config
        count = threads or min(_MAX_THREADS, cpus)
        try:
            self._engine = _native.Transformer(
                _native_config(config), count, os.environ.get("ONESEC_ISA", "")
            )
        except RuntimeError as error:
            raise InvalidRequest(str(error)) from None
        self.isa: str = self._engine.isa
        self.num_threads: int = self._engine.threads
        self.kv_dtype = kv_dtype
        self._context_tokens = context_tokens
        self._names: list[str] = self._engine.matrix_names
        self._widths: dict[Gear, np.ndarray] = {}
        self._kept: list[object] = []  # whatever owns memory that the engine reads in place
        self._gears = GearSet(
            planes=4 in widths,
            reference=16 in widths,
            tied=config.tie_embeddings,
            fine=True,
            narrow=narrow,
        )
        self._gears.order(mixed, self._cost)

    @classmethod
    def load(
        cls,
        source: Checkpoint | Artifact,
        *,
        context_tokens: int,
        sequence_tokens: int | None = None,
        threads: int | None = None,
        kv_dtype: str = "f16",
        planes: bool = True,
        reference: bool = False,
        mapped: bool = True,
        progress: Callable[[float], None] | None = None,
    ) -> CpuBackend:
        """Weights of `source` into planes (a checkpoint is packed; an artifact is read in
        place where `mapped` and its planes begin at cache lines, else copied into 2 MiB pages).

        `context_tokens` are the cache's, over all sequences; `sequence_tokens` those that one of
        them may have at most (None: the model's plain context; see ModelConfig.for_context).
        `reference` keeps the 16-bit width too and needs a checkpoint. `progress` gets fractions
        of 1.
        Raises CorruptFile on values that are not finite. Raises OutOfMemory before anything is
        allocated, but for a reference that no file holds as it is used (decoded, transposed): that
        is seen as it is read, and told by the end of the first layer.
        """
        mapped = mapped and isinstance(source, Artifact) and _at_cache_lines(source)
        widths = ((4, 8) if planes else ()) + ((16,) if reference else ())
        check_asked(
            context_tokens=context_tokens,
            planes=planes,
            reference=reference,
            artifact=source if isinstance(source, Artifact) else None,
        )
        backend = cls(
            source.config.for_context(sequence_tokens or 0),
            context_tokens=context_tokens,
            threads=threads,
            kv_dtype=kv_dtype,
            widths=widths,
            mixed=source.ladder if planes and isinstance(source, Artifact) else (),
            narrow=source.narrow if isinstance(source, Artifact) else frozenset(),
        )
        backend._check_memory(planes=planes and not mapped)
        backend._kept.append(source)
        engine = backend._engine
        if planes and not mapped:
            engine.reserve_planes()
        decoded: dict[str, int] = {}
        for done, name in enumerate(backend._names):
            if isinstance(source, Artifact):
                packed = source.packed(name)
                engine.set_planes(name, packed.hi, packed.lo, packed.row_scale, not mapped)
                if not mapped:
                    source.release(name)
            else:
                copied = backend._take(source, name, planes=planes, reference=reference)
                if copied:
                    decoded[_kind(name)] = copied
                    backend._check_memory(planes=planes, after=done + 1, decoded=decoded)
            if progress is not None:
                progress((done + 1) / len(backend._names))
        for name in source.vector_names():
            engine.set_vector(name, source.vector(name))
        if source.config.position == "learned":
            backend._set_positions(source)
        backend._finish()
        return backend

    @classmethod
    def random(
        cls,
        config: ModelConfig,
        *,
        seed: int = 0,
        context_tokens: int = 4096,
        threads: int | None = None,
        kv_dtype: str = "f16",
    ) -> CpuBackend:
        """Random planes of a shape: for speed work, where values do not matter."""
        from onesec.model.shapes import RANDOM_DEVIATION, plain_vectors  # no start needs them

        check_asked(context_tokens=context_tokens, planes=True, reference=False)
        backend = cls(
            config, context_tokens=context_tokens, threads=threads, kv_dtype=kv_dtype, widths=(4, 8)
        )
        backend._check_memory(planes=True)
        backend._engine.reserve_planes()
        for index, name in enumerate(backend._names):
            backend._engine.fill_random(name, seed * 65536 + index, RANDOM_DEVIATION)
        for name, values in plain_vectors(config).items():
            backend._engine.set_vector(name, values)
        backend._finish()
        return backend

    def _take(self, source: Checkpoint, name: str, *, planes: bool, reference: bool) -> int:
        """Pack a matrix, or keep it as it is, or both; bytes of it that are kept in no file."""
        tensors = source.matrix(name)
        segments = _arrays(tensors)
        if not planes:  # packing looks at every value
            source.check_finite(name, tensors)
        elif not self._engine.pack(name, segments):
            raise CorruptFile(source.source, f"matrix {name} holds values that are not finite")
        copied = 0
        if reference:
            copied = sum(array.nbytes for array, _ in segments if not in_file(array))
            self._engine.set_source(name, segments, copied == 0)
            self._kept.append(segments)
        source.release(name)
        return copied

    @property
    def matrix_names(self) -> tuple[str, ...]:
        """Canonical names of all matrices that are packed."""
        return tuple(self._names)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, what every matrix reads in forward passes is summed up for `moments`."""
        self._engine.watch(True)
        try:
            yield
        finally:
            self._engine.watch(False)

    def moments(self, name: str) -> Float32Array:
        """float32 [blocks, size, size]: sums of x xᵀ over all rows that the matrix has read, in
        blocks of at most 512 columns along the diagonal, of which the upper triangle counts.
        A view, valid while watching; zeros where the matrix was not read."""
        sums: Float32Array = self._engine.moments(name)
        return sums

    def repack(self, name: str, gram: Float32Array | None) -> None:
        """Pack a matrix anew from the checkpoint: for inputs with E[x xᵀ] = `gram`, in the shape
        of `moments`; None: for inputs of which nothing is known."""
        source = self._source()
        assert isinstance(source, Checkpoint)
        self._engine.pack(name, _segments(source, name), gram)
        source.release(name)

    def _set_positions(self, source: Checkpoint | Artifact) -> None:
        if isinstance(source, Artifact):
            return  # among its vectors
        (tensor,) = source.matrix("pos_embed")
        wide = tensor.data
        if tensor.dtype == "bf16":
            wide = (wide.astype(np.uint32) << 16).view(np.float32)
        values = np.ascontiguousarray(wide, dtype=np.float32).reshape(-1)
        self._engine.set_vector("pos_embed", values)
        self._positions = values

    def _check_memory(
        self, *, planes: bool, after: int = 0, decoded: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Raise OutOfMemory where the cache, what attention of long prompts works in, and what is
        yet to come of the matrices from `after` on, is more than is free: their planes, and of each
        kind in `decoded` so many bytes."""
        config = self.config
        need = self._num_blocks() * self.kv_block_bytes
        # A chunk's attention leaves float32 for each row and 512 positions; a chunk has about 512
        # rows, so that this is as much as a row of floats for each position.
        longest = min(config.context_length, self._context_tokens)
        need += 4 * longest * config.num_heads * config.head_dim
        for name in self._names[after:]:
            rows, cols = self._engine.matrix_shape(name)
            need += rows * cols * 17 // 16 if planes else 0
            need += decoded.get(_kind(name), 0)
        have = free_memory_bytes()
        if need > have:
            raise OutOfMemory(
                f"The model (weights and {self._context_tokens} tokens of cache)",
                need_bytes=need,
                have_bytes=have,
            )

    def _num_blocks(self) -> int:
        return -(-self._context_tokens // self.block_size)

    def _finish(self) -> None:
        self._engine.finish()
        self._engine.allocate_cache(self._num_blocks(), self.kv_dtype)

    def _source(self) -> Checkpoint | Artifact:
        return next(kept for kept in self._kept if isinstance(kept, Checkpoint | Artifact))

    def vectors(self) -> dict[str, Float32Array]:
        """What an artifact holds beside the planes, by name."""
        source = self._source()
        vectors = {name: source.vector(name) for name in source.vector_names()}
        if isinstance(source, Checkpoint) and self.config.position == "learned":
            vectors["pos_embed"] = self._positions
        if len(self._engine.head_residual):
            vectors["head_residual"] = self._engine.head_residual
        return vectors

    def save(
        self,
        path: str | Path,
        companions: Callable[[Path], None] | None,
        *,
        narrow: Collection[str] = (),
        **extra: object,
    ) -> None:
        """Write the planes, vectors and companions (see write_artifact) as an artifact folder,
        atomically; of the `narrow` matrices `hi` alone."""
        write_artifact(
            path,
            self._source().config,
            ((n, packed.narrow() if n in narrow else packed) for n, packed in self.packed()),
            self.vectors(),
            companions,
            **extra,  # type: ignore[arg-type]
        )

    def packed(self) -> Iterator[tuple[str, PackedMatrix]]:
        """Every matrix by name, as its planes are now: views, valid until close."""
        for name in self._names:
            hi, lo, row_scale = self._engine.planes(name)
            rows, cols = self._engine.matrix_shape(name)
            yield name, PackedMatrix(hi=hi, lo=lo, row_scale=row_scale, rows=rows, cols=cols)

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def context_length(self) -> int:
        return min(self.config.context_length, self._num_blocks() * self.block_size)

    @property
    def block_size(self) -> int:
        return int(_native.BLOCK_TOKENS)

    @property
    def num_blocks(self) -> int:
        return int(self._engine.num_blocks)

    @property
    def leaves_steps(self) -> bool:
        return True

    @property
    def hidden_size(self) -> int:
        """Of the vectors that pooled rows are told."""
        return self.config.hidden_size

    @property
    def kv_block_bytes(self) -> int:
        """Bytes of one block's keys and values over all layers."""
        return int(self._engine.block_bytes(self.kv_dtype))

    @property
    def gears(self) -> tuple[Gear, ...]:
        return self._gears.gears

    @property
    def settings(self) -> dict[str, object]:
        """What a measurement should name beside the machine."""
        return {"isa": self.isa, "threads": self.num_threads, "kv_dtype": self.kv_dtype}

    def read_bandwidth(self, num_bytes: int) -> float:
        """GB/s (1e9) of reading so many bytes with this backend's threads, measured now."""
        return read_bandwidth(num_bytes, self.num_threads, _BANDWIDTH_SECONDS)

    @property
    def machine(self) -> str:
        """What of this machine decides how fast the backend is: profiles are kept by it."""
        return f"{cpu_name()} {self.isa} {self.num_threads} threads"

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> HostSampler:
        """A fresh sampling state; without a seed, one from the system's entropy."""
        return sampler(params, eos_ids=eos_ids)

    def _widths_of(self, gear: Gear) -> np.ndarray:
        """uint8 [matrices, 2]: bits of the weights and of the activations that meet them."""
        found = self._widths.get(gear)
        if found is None:
            widths = [
                (self._gears.width(gear, name), self._gears.activations(gear, name))
                for name in self._names
            ]
            found = np.array(widths, dtype=np.uint8)
            self._widths[gear] = found
        return found

    def forward(self, batch: Batch) -> BatchResult:
        """Run the batch; see Batch. The interpreter lock is free meanwhile. With `watch_ns` it
        runs on a thread of its own, and this one comes back when that instant has passed.

        Raises ModelError where a row's logits or hidden states are not finite, ValueError where its
        mask allows no token. Such a step draws for no row; steps before it are told first, and the
        next call raises."""
        told = self._engine.step(
            [_row(row) for row in batch.rows],
            self._widths_of(batch.gear),
            batch.max_steps,
            _FOREVER_NS if batch.until_ns is None else batch.until_ns,
            _FOREVER_NS if batch.watch_ns is None else batch.watch_ns,
            batch.exact,
        )
        return _result(told)

    def use_threads(self, count: int) -> None:
        """Let `count` of its threads compute from the next step on, 1 to `num_threads`; the others
        sleep. No bit of what is computed depends on it. Waits for no step that goes on behind."""
        self._engine.use_threads(count)

    def rest(self, until_ns: int | None) -> BatchResult | None:
        """What an overdue call did after all, or None; see Backend."""
        told = self._engine.rest(_FOREVER_NS if until_ns is None else until_ns)
        return None if told is None else _result(told)

    def logits(self, batch: Batch) -> Float32Array:
        """float32 [total tokens, vocab]: logits after every token of every row."""
        result: Float32Array = self._engine.logits(
            [_row(row) for row in batch.rows], self._widths_of(batch.gear), batch.exact
        )
        return result

    def bytes_per_token(self, gear: Gear) -> int:
        return int(self._engine.weight_bytes(self._widths_of(gear)))

    def _cost(self, gear: Gear) -> int:
        """Bytes of a step, those twice that fine activations meet twice."""
        widths = self._widths_of(gear)
        again, none = np.zeros_like(widths), np.zeros_like(widths)
        again[:, 0] = np.where(widths[:, 1] == 16, 4, 0)
        return int(
            self._engine.weight_bytes(widths)
            + self._engine.weight_bytes(again)
            - self._engine.weight_bytes(none)
        )

    @property
    def plane_bytes(self) -> int:
        """Bytes of both planes of all matrices."""
        total = 0
        for name in self._names:
            hi, lo, row_scale = self._engine.planes(name)
            total += hi.nbytes + lo.nbytes + row_scale.nbytes
        return total

    def close(self) -> None:
        """Free the weights, the cache and the threads; waits for a step that goes on behind."""
        engine = self.__dict__.pop("_engine", None)
        if engine is not None:
            engine.settle()
        self._kept.clear()


def _segments(source: Checkpoint, name: str) -> list[tuple[np.ndarray, str]]:
    return _arrays(source.matrix(name))


def _arrays(tensors: Sequence[Tensor]) -> list[tuple[np.ndarray, str]]:
    return [(np.ascontiguousarray(tensor.data), tensor.dtype) for tensor in tensors]


def _at_cache_lines(source: Artifact) -> bool:
    """Whether kernels can read the planes where they lie. Another writer's file may have them
    anywhere."""
    packed = (source.packed(name) for name in source.matrix_names())
    planes = (plane for each in packed for plane in (each.hi, each.lo) if plane.size)
    return all(plane.__array_interface__["data"][0] % ALIGNMENT == 0 for plane in planes)


def _kind(name: str) -> str:
    """What a matrix is in its layer: those of a kind have the same shape, and are stored alike."""
    return name.rpartition(".")[2]


def _result(told: _native.Told) -> BatchResult:
    rows, step_ms, cpu_ms, bytes_read, overdue = told
    return BatchResult([RowResult(*row) for row in rows], step_ms, cpu_ms, bytes_read, overdue)


def _row(
    row: BatchRow,
) -> tuple[object, int, object, object, Sequence[int], int, bool, int, bool, bool, bool]:
    return (
        row.tokens,
        row.start,
        row.block_table,
        row.sampler,
        row.stop_ids,
        row.top_logprobs,
        row.prompt_logprobs,
        -1 if row.next_token is None else row.next_token,
        row.statistics,
        row.drafted,
        row.pooled,
    )


def _native_config(config: ModelConfig) -> dict[str, object]:
    fields = [
        "vocab_size",
        "hidden_size",
        "num_layers",
        "num_heads",
        "num_kv_heads",
        "head_dim",
        "intermediate_size",
        "context_length",
        "norm",
        "norm_eps",
        "gated",
        "position",
        "qk_norm",
        "post_norms",
        "tie_embeddings",
        "attention_scale",
        "attention_softcap",
        "final_softcap",
        "embedding_scale",
        "activation",
    ]
    result: dict[str, object] = {name: getattr(config, name) for name in fields}
    result["ropes"] = [(list(r.inv_freq), r.attention_factor) for r in config.ropes]
    result["layers"] = [(layer.window, layer.rope) for layer in config.layers]
    return result
