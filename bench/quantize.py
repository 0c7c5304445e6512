"""What 4 and 8 bits cost: divergence and bits per weight of the planes, beside GGUF's formats.

All rows of a run share the model, the text and the reference. "weights" rows round the weights
alone and compute with float activations, so that formats are compared and not engines; "engine"
rows are the gears as they run, with activations of 8 bits.

    python bench/quantize.py MODEL --text FILE --ggml libggml-base.so --out rows.json

`--ggml` names a shared library with llama.cpp's quantizers (its target `ggml-base`), which Q4_K and
the weighted ("imatrix") searches need; without it Q4_0, Q4_1 and Q8_0 are the gguf package's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from onesec.backend.cpu import CpuBackend
from onesec.compress.calibrate import gram, repack
from onesec.compress.evaluate import Quality, Subject, measure, windows
from onesec.compress.journal import Journal
from onesec.compress.room import Room
from onesec.compress.sensitivity import measure_sensitivities
from onesec.core.gear import UNIFORM, name_in_gears
from onesec.loading import find_model, open_tokenizer
from onesec.machine import describe
from onesec.model.checkpoints import open_checkpoint
from onesec.model.ladder import sublayers
from onesec.model.tensor import Tensor
from onesec.model.weights import Checkpoint

Floats = npt.NDArray[np.float32]
Rounding = Callable[[str, Floats], Floats]  # canonical name, weights [rows, cols]
WINDOW = 256
TILE, GROUP, MINIMUM_UNIT = 16, 32, 8


class Rounded:
    """A checkpoint whose matrices have been rounded by `rounding`, all segments of one together."""

    def __init__(self, source: Checkpoint, rounding: Rounding) -> None:
        self._source, self._rounding = source, rounding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def matrix(self, name: str) -> list[Tensor]:
        segments = self._source.matrix(name)
        if name == "pos_embed":
            return segments
        whole = self._rounding(name, np.concatenate([s.float32() for s in segments]))
        parts = np.split(whole, np.cumsum([len(s.data) for s in segments])[:-1])
        return [Tensor(s.name, "f32", p.shape, np.ascontiguousarray(p, np.float32))
                for s, p in zip(segments, parts, strict=True)]  # fmt: skip


class Planes:
    """The planes of a backend as they are now, opened once: see native/planes.h."""

    def __init__(self, backend: CpuBackend, source: Checkpoint) -> None:
        self._source = source
        self._parts = {name: _opened(packed) for name, packed in backend.packed()}

    def grid(self, name: str) -> tuple[Floats, Floats]:
        """Step and base of every group, [rows, groups]."""
        _, _, step, base = self._parts[name]
        return self._real(name, step), self._real(name, base)

    def rounding(self, width: int) -> Rounding:
        def rounded(name: str, weights: Floats) -> Floats:
            hi, lo, step, base = self._parts[name]
            code = hi if width == 4 else hi + (lo - 8) / 16
            values = (step[..., None] * code + base[..., None]).reshape(len(code), -1)
            return self._real(name, values)[:, : weights.shape[1]]

        return rounded

    def _real(self, name: str, values: Floats) -> Floats:
        """Without the rows that pad each segment to whole tiles."""
        rows, first = [], 0
        for segment in self._source.matrix(name):
            rows.append(values[first : first + len(segment.data)])
            first += -(-len(segment.data) // TILE) * TILE
        return np.concatenate(rows)


def _opened(packed: Any) -> tuple[Floats, Floats, Floats, Floats]:
    """hi and lo codes [rows, groups, 32]; step and base of a group, [rows, groups]."""
    tiles = packed.rows // TILE
    lines = np.asarray(packed.hi).reshape(tiles, -1, 9, 64)
    blocks = lines.shape[1]

    def codes(planes: npt.NDArray[np.uint8]) -> Floats:
        nibbles = np.stack([planes & 15, planes >> 4], axis=-2)  # [tile, block, line, row, half, 4]
        ordered = nibbles.transpose(0, 3, 1, 2, 4, 5)
        return ordered.reshape(tiles * TILE, blocks * 2, GROUP).astype(np.float32)

    hi = codes(lines[:, :, :8].reshape(tiles, blocks, 8, TILE, 4))
    lo = codes(np.asarray(packed.lo).reshape(tiles, blocks, 8, TILE, 4))
    grid = lines[:, :, 8].reshape(tiles, blocks, 2, 2, TILE).transpose(2, 0, 4, 1, 3)
    scale, minimum = grid.reshape(2, tiles * TILE, blocks * 2).astype(np.float32)
    unit = np.asarray(packed.row_scale)[:, None]
    return hi, lo, unit * scale, -MINIMUM_UNIT * unit * minimum


def nearest(width: int) -> Rounding:
    """Round to nearest on the range of each group, scales and minima in 8 bits below a row's."""

    def rounding(name: str, weights: Floats) -> Floats:
        rows, cols = weights.shape
        w = np.pad(weights, ((0, 0), (0, -cols % GROUP))).reshape(rows, -1, GROUP)
        low, high = np.minimum(w.min(2), 0), np.maximum(w.max(2), 0)
        unit = np.maximum(((high - low) / 15).max(1) / 255, -low.min(1) / 255 / MINIMUM_UNIT)
        unit = np.maximum(unit, 1e-30)[:, None]
        minimum = np.ceil(-low / unit / MINIMUM_UNIT - 1e-4)
        scale = np.clip(np.ceil((high / unit + MINIMUM_UNIT * minimum) / 15 - 1e-4), 1, 255)
        base, scale, unit = -MINIMUM_UNIT * minimum[..., None], scale[..., None], unit[..., None]
        code = np.clip(np.rint((w / unit - base) / scale * 16) + 8, 0, 255)
        shown = code // 16 if width == 4 else (code - 8) / 16
        return (unit * (scale * shown + base)).reshape(rows, -1)[:, :cols].astype(np.float32)

    return rounding


def compensated(planes: Planes, grams: dict[str, Floats], width: int) -> Rounding:
    """GPTQ (2210.17323) on the planes' grids, within the Gram's blocks. At 8 bits the residual
    follows the original weight as far as its four bits reach."""

    def rounding(name: str, weights: Floats) -> Floats:
        if name not in grams:
            return planes.rounding(width)(name, weights)
        step, base = planes.grid(name)
        out, size = np.empty_like(weights), grams[name].shape[1]
        for block, inputs in enumerate(grams[name]):
            first, last = block * size, min(weights.shape[1], (block + 1) * size)
            inverse = np.linalg.inv(inputs[: last - first, : last - first].astype(np.float64))
            upper = np.linalg.cholesky(inverse).T.astype(np.float32)
            left = weights[:, first:last].copy()
            for k in range(last - first):
                s, b = (
                    np.maximum(step[:, (first + k) // GROUP], 1e-30),
                    base[:, (first + k) // GROUP],
                )
                value = b + s * np.clip(np.rint((left[:, k] - b) / s), 0, 15)
                left[:, k:] -= ((left[:, k] - value) / upper[k, k])[:, None] * upper[k, k:]
                if width == 8:
                    residual = np.rint((weights[:, first + k] - value) / s * 16)
                    value += s * np.clip(residual, -8, 7) / 16
                out[:, first + k] = value
        return out

    return rounding


def gguf_format(kind: str, library: Any, grams: dict[str, Floats] | None) -> Rounding:
    """Through a GGUF format and back; with Grams, weighted by their diagonals."""
    form = gguf.GGMLQuantizationType[kind]

    def rounding(name: str, weights: Floats) -> Floats:
        if library is None:
            return gguf.dequantize(gguf.quantize(weights, form), form)
        rows, cols = weights.shape
        block, nbytes = gguf.GGML_QUANT_SIZES[form]
        packed = np.empty((rows, cols // block * nbytes), np.uint8)
        importance = None
        if grams is not None and name in grams:
            importance = np.ascontiguousarray(np.einsum("bii->bi", grams[name]).reshape(-1)[:cols])
        weights = np.ascontiguousarray(weights)
        address = ctypes.c_void_p
        library.ggml_quantize_chunk(
            ctypes.c_int(form),
            address(weights.ctypes.data),
            address(packed.ctypes.data),
            ctypes.c_int64(0),
            ctypes.c_int64(rows),
            ctypes.c_int64(cols),
            None if importance is None else address(importance.ctypes.data),
        )
        return gguf.dequantize(packed, form)

    return rounding


def q4_k_m(source: Checkpoint, library: Any, grams: dict[str, Floats]) -> tuple[Rounding, float]:
    """llama.cpp's mix of this name, and its bits a weight: Q6_K for the head, and in a good half of
    the layers (the first and the last eighth, and every third between) for values and `down`."""
    four, six = (gguf_format(kind, library, grams) for kind in ("Q4_K", "Q6_K"))
    layers = source.config.num_layers
    more = {i for i in range(layers)
            if i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2}  # fmt: skip

    def first_better(name: str) -> int:
        """The row of a matrix from which on Q6_K is taken."""
        segments = [len(segment.data) for segment in source.matrix(name)]
        better = name.startswith("layers.") and int(name.split(".")[1]) in more
        kind = name_in_gears(name, tied=source.config.tie_embeddings).rpartition(".")[2]
        if kind == "head" or (better and kind == "down"):
            return 0
        return sum(segments) - (segments[-1] if better and kind == "qkv" else 0)

    def rounding(name: str, weights: Floats) -> Floats:
        first = first_better(name)
        parts = ((four, weights[:first]), (six, weights[first:]))
        return np.concatenate([form(name, part) for form, part in parts if len(part)])

    def bits(kind: str) -> float:
        block, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        return 8 * nbytes / block

    total, weights = 0.0, 0
    for name in source.matrix_names():
        if name == "pos_embed":
            continue
        size = sum(segment.data.size for segment in source.matrix(name))
        cols = source.matrix(name)[0].data.shape[1]
        in_four = first_better(name) * cols
        total += in_four * bits("Q4_K") + (size - in_four) * bits("Q6_K")
        weights += size
    return rounding, total / weights


def widened(
    backend: CpuBackend, planes: Planes, tokens: Sequence[int], limit_bits: float
) -> tuple[Rounding, float]:
    """`hi` everywhere, and `lo` where 4 bits lose most for each byte of it on `tokens`, within
    `limit_bits` a weight; and the bits that this takes."""
    pairs = sublayers(backend.config)
    names = [name for pair in pairs for name in pair] + ["head"]
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / "widened", "") as journal,
    ):
        losses = measure_sensitivities(
            backend,
            UNIFORM[16],
            tokens,
            names,
            pairs,
            journal=journal,
        )
    tied = backend.config.tie_embeddings
    at_4 = {n: losses.at_4.get(name_in_gears(n, tied=tied), 0.0) for n in backend.matrix_names}
    weights = sum(packed.rows * packed.cols for _, packed in backend.packed())
    lo_bytes = {name: packed.lo.nbytes for name, packed in backend.packed()}
    room = Room(backend.plane_bytes - sum(lo_bytes.values()), lo_bytes)
    wide = room.wide(at_4, round(limit_bits * weights / 8))
    four, eight = planes.rounding(4), planes.rounding(8)
    total = room.least_bytes + sum(lo_bytes[name] for name in wide)

    def rounding(name: str, values: Floats) -> Floats:
        return (eight if name in wide else four)(name, values)

    return rounding, 8 * total / weights


def tokens_of(model: Path, text: Path) -> list[int]:
    """Token ids of a text, or of a .npy that holds them."""
    if text.suffix == ".npy":
        found: list[int] = np.load(text).tolist()
        return found
    return open_tokenizer(model).encode(text.read_text(encoding="utf-8"))


def observed(backend: CpuBackend, tokens: Sequence[int]) -> dict[str, Floats]:
    """E[x xᵀ] of every matrix that is read, from `tokens`."""
    parts = list(windows(tokens, WINDOW))
    found = {}
    with backend.watching():
        measure([Subject(backend, UNIFORM[8])], tokens, window=WINDOW)
        for name in backend.matrix_names:
            sums = backend.moments(name)
            if sums.any():
                found[name] = gram(sums, sum(len(part) - 1 for part in parts))
    return found


def row(name: str, what: str, bits: float, quality: Quality) -> dict[str, Any]:
    """One line of the table, printed and kept."""
    d = quality.divergence
    assert d is not None
    print(
        f"{what:<8} {name:<28} {bits:6.3f}  {d.kld_mean.value:.5f} ± {d.kld_mean.se:.5f}  "
        f"{d.same_top.value:7.2%} ± {d.same_top.se:.2%}  {d.perplexity_ratio.value:.4f}",
        flush=True,
    )
    return {
        "name": name, "what": what, "bits": bits, "kld": d.kld_mean.value, "kld_se": d.kld_mean.se,
        "same_top": d.same_top.value, "same_top_se": d.same_top.se,
        "perplexity_ratio": d.perplexity_ratio.value, "tokens": quality.tokens,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--text", type=Path, required=True, help="text, or token ids (.npy)")
    parser.add_argument("--ggml", type=Path, help="shared library with llama.cpp's quantizers")
    parser.add_argument("--check-tokens", type=int, default=8192)
    parser.add_argument(
        "--calibration-tokens",
        type=int,
        nargs="+",
        default=[4096],
        help="several: rows for each; the other methods use the last",
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    path = find_model(asked.model)
    tokens = tokens_of(path, asked.text)
    check = tokens[: asked.check_tokens]
    rest = tokens[len(check) :]  # to calibrate on
    library = ctypes.CDLL(str(asked.ggml), mode=1) if asked.ggml else None  # 1: bound when called
    source = open_checkpoint(path)
    backend = CpuBackend.load(source, context_tokens=16 * WINDOW, threads=asked.threads,
                              reference=True)  # fmt: skip
    reference = Subject(backend, UNIFORM[16])
    shapes = [(sum(len(s.data) for s in m), m[0].data.shape[1])
              for m in map(source.matrix, backend.matrix_names)]  # fmt: skip
    weights = sum(rows * cols for rows, cols in shapes)
    lo_bytes = sum(p.lo.nbytes for _, p in backend.packed())
    bits = {4: 8 * (backend.plane_bytes - lo_bytes) / weights, 8: 8 * backend.plane_bytes / weights}
    rows: list[dict[str, Any]] = []

    def weights_only(name: str, bits: float, rounding: Rounding) -> None:
        rounded = CpuBackend.load(Rounded(source, rounding), context_tokens=WINDOW,  # type: ignore[arg-type]
                                  threads=asked.threads, planes=False, reference=True)  # fmt: skip
        found, _ = measure([Subject(rounded, UNIFORM[16])], check, window=WINDOW,
                           reference=reference)  # fmt: skip
        rows.append(row(name, "weights", bits, found[0]))
        rounded.close()

    def planes(name: str) -> None:
        for width in (4, 8):
            weights_only(f"{name} {'hi' if width == 4 else 'hi+lo'}", bits[width],
                         Planes(backend, source).rounding(width))  # fmt: skip
        found, _ = measure([Subject(backend, UNIFORM[w]) for w in (4, 8)], check, window=WINDOW,
                           reference=reference)  # fmt: skip
        for width, quality in zip((4, 8), found, strict=True):
            rows.append(row(f"{name} gear {width}", "engine", bits[width], quality))

    grams = observed(backend, rest[: asked.calibration_tokens[-1]])
    for kind in ("Q4_0", "Q4_1", "Q4_K", "Q8_0"):
        block, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        if any(cols % block for _, cols in shapes) or (kind == "Q4_K" and library is None):
            continue
        weights_only(kind, 8 * nbytes / block, gguf_format(kind, library, None))
        if library is not None and kind != "Q8_0":
            weights_only(f"{kind} imatrix", 8 * nbytes / block, gguf_format(kind, library, grams))
    mix_bits = 0.0
    if library is not None and not any(cols % 256 for _, cols in shapes):
        mix, mix_bits = q4_k_m(source, library, grams)
        weights_only("Q4_K_M imatrix", mix_bits, mix)
    for width in (4, 8):
        weights_only(f"nearest {'hi' if width == 4 else 'hi+lo'}", bits[width], nearest(width))
    planes("searched")
    grids = Planes(backend, source)
    for width in (4, 8):
        name = f"searched, GPTQ {'hi' if width == 4 else 'hi+lo'}"
        weights_only(name, bits[width], compensated(grids, grams, width))
    for count in asked.calibration_tokens:
        repack(backend, rest[:count])
        planes(f"calibrated {count}")
    if mix_bits:
        mixed, mixed_bits = widened(backend, Planes(backend, source), rest[:1024], mix_bits)
        weights_only("calibrated, mixed", mixed_bits, mixed)
    if asked.out:
        asked.out.write_text(json.dumps({"model": path.name, "machine": describe(), "rows": rows},
                                        indent=1) + "\n")  # fmt: skip
    source.close()


if __name__ == "__main__":
    main()
