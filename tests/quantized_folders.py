"""Quantised matrices and folders, packed here number by number from what the formats say.

Nothing of the readers is used: each maker draws codes, zero points and scales, packs them as the
format's description has it, and says which float32 values they stand for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.model.safetensors import SafetensorsWriter

Float32 = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
LINEAR = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (64, 32),
    "mlp.up_proj": (64, 32),
    "mlp.down_proj": (32, 64),
}


@dataclass
class Stored:
    """A matrix as a form stores it: `parts` by their names after the module's, `values` [out, in].

    `dtypes` are the tags of parts that numpy has no type for (bf16 and float8 as their bits).
    """

    parts: Arrays
    values: Float32
    dtypes: dict[str, str] = field(default_factory=dict)


Maker = Callable[[np.random.Generator, int, int], Stored]


def packed_words(codes: npt.NDArray[Any], bits: int) -> npt.NDArray[np.int32]:
    """[n, ceil(m * bits / 32)] of codes [n, m]: the first in the lowest bits, one after another."""
    rows, count = codes.shape
    words = np.zeros((rows, -(-count * bits // 32)), np.uint32)
    for at in range(count):
        shift = at * bits % 32
        words[:, at * bits // 32] |= codes[:, at].astype(np.uint32) << np.uint32(shift)
    return words.view(np.int32)


def _values(
    codes: npt.NDArray[Any], zeros: npt.NDArray[Any], scales: npt.NDArray[Any], index: Any
) -> Float32:
    """(code - zero) * scale in float64, rounded once: codes [out, in], the others [out, groups]."""
    index = np.asarray(index)
    wide = codes.astype(np.float64) - zeros.astype(np.float64)[:, index]
    return (wide * scales.astype(np.float64)[:, index]).astype(np.float32)


def gptq(
    bits: int = 4,
    group: int = 16,
    *,
    v2: bool = False,
    ordered: bool = False,
    g_idx: bool = True,
    zero_points: tuple[int, int] | None = None,
    scale_dtype: Any = np.float16,
) -> Maker:
    """Zero points of v1 are stored less one; `ordered`: columns belong to groups in any order."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Stored:
        size = cols if group < 0 else group
        groups = -(-cols // size)
        low, high = zero_points or (1, (1 << bits) - 1)
        codes = rng.integers(0, 1 << bits, (rows, cols))
        zeros = rng.integers(low, high + 1, (rows, groups))
        scales = rng.uniform(0.001, 0.1, (rows, groups)).astype(scale_dtype)
        index = np.arange(cols) // size
        if ordered:
            index = rng.permutation(index)
        stored_zeros = packed_words(zeros.T, bits)
        if not v2:  # whole words: a zero point of 0 borrows from its neighbour
            one_each = sum(1 << at for at in range(0, 32, bits))
            stored_zeros = (stored_zeros.view(np.uint32) - np.uint32(one_each)).view(np.int32)
        parts: Arrays = {
            "qweight": packed_words(codes, bits).T,
            "qzeros": stored_zeros,
            "scales": scales.T,
        }
        if g_idx:
            parts["g_idx"] = index.astype(np.int32)
        return Stored(parts, _values(codes, zeros, scales, index))

    return make


_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which output each nibble of a word is, lowest first


def awq(group: int = 16) -> Maker:
    """4 bits, version gemm."""

    def in_words(codes: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        shuffled = codes.reshape(len(codes), -1, 8)[:, :, list(_AWQ_ORDER)]
        return packed_words(shuffled.reshape(len(codes), -1), 4)

    def make(rng: np.random.Generator, rows: int, cols: int) -> Stored:
        size = cols if group < 0 else group
        codes = rng.integers(0, 16, (rows, cols))
        zeros = rng.integers(0, 16, (rows, cols // size))
        scales = rng.uniform(0.001, 0.1, zeros.shape).astype(np.float16)
        parts = {"qweight": in_words(codes.T), "qzeros": in_words(zeros.T), "scales": scales.T}
        return Stored(parts, _values(codes, zeros, scales, np.arange(cols) // size))

    return make


def _bf16(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint16], Float32]:
    """Values cut to bfloat16: their bits, and what these stand for."""
    bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def pack_quantized(
    bits: int = 4,
    group: int = 16,
    *,
    symmetric: bool = True,
    ordered: bool = False,
    plain_zeros: bool = False,
) -> Maker:
    """compressed-tensors' packed integers, scales in bfloat16; `group` 0: one scale a row."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Stored:
        size, half = group or cols, 1 << (bits - 1)
        groups = cols // size
        codes = rng.integers(-half, half, (rows, cols))
        zeros = np.zeros((rows, groups), np.int64)
        scale_bits, scales = _bf16(rng.uniform(0.001, 0.1, (rows, groups)))
        index = np.arange(cols) // size
        parts: Arrays = {
            "weight_packed": packed_words(codes + half, bits),
            "weight_scale": scale_bits,
            "weight_shape": np.array([rows, cols], np.int64),
        }
        if not symmetric:
            zeros = rng.integers(-half, half, (rows, groups))
            packed = packed_words((zeros + half).T, bits).T
            parts["weight_zero_point"] = zeros.astype(np.int8) if plain_zeros else packed
        if ordered:
            index = rng.permutation(index)
            parts["weight_g_idx"] = index.astype(np.int32)
        return Stored(parts, _values(codes, zeros, scales, index), {"weight_scale": "bf16"})

    return make


def float8_value(code: int) -> float:
    """What a byte of E4M3 (no infinities) stands for."""
    sign = -1.0 if code & 128 else 1.0
    exponent, fraction = code >> 3 & 15, code & 7
    if exponent == 15 and fraction == 7:
        return float("nan")
    if exponent == 0:
        return sign * fraction / 8 * 2.0**-6
    return sign * (1 + fraction / 8) * 2.0 ** (exponent - 7)


def plain_quantized(
    kind: str = "i8",
    scales: str = "row",
    *,
    block: tuple[int, int] = (16, 16),
    symmetric: bool = True,
) -> Maker:
    """compressed-tensors' int8 or float8 as they are, a scale a "matrix", "row" or "block"."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Stored:
        stored = rng.integers(0, 256, (rows, cols)).astype(np.uint8)
        if kind == "i8":
            weight, codes = stored.view(np.int8), stored.view(np.int8).astype(np.float64)
        else:
            stored[(stored & 127) == 127] = 0
            weight = stored
            codes = np.array([[float8_value(int(c)) for c in row] for row in stored])
        tall, wide = {"matrix": (rows, cols), "row": (1, cols), "block": block}[scales]
        shape = (-(-rows // tall), -(-cols // wide))
        scale = rng.uniform(0.001, 0.1, shape).astype(np.float32)
        zeros = np.zeros(shape, np.int8)
        parts: Arrays = {"weight": weight, "weight_scale": scale}
        if not symmetric:
            zeros = rng.integers(-128, 128, shape).astype(np.int8)
            parts["weight_zero_point"] = zeros
        if scales == "matrix":
            parts["weight_scale"] = scale.reshape(1)
        by_row = np.arange(rows) // tall
        values = _values(codes, zeros[by_row], scale[by_row], np.arange(cols) // wide)
        return Stored(parts, values, {} if kind == "i8" else {"weight": "f8_e4m3"})

    return make


def compressed_tensors_config(form: str, **weights: Any) -> dict[str, Any]:
    """A quantization_config of one scheme for all linear modules."""
    scheme = {"targets": ["Linear"], "weights": weights, "format": form}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": scheme},
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
    }


def write(folder: Path, config: dict[str, Any], tensors: Arrays, dtypes: dict[str, str]) -> Path:
    """A Hugging Face folder of those tensors."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    with SafetensorsWriter(folder / "model.safetensors", max_tensors=len(tensors)) as out:
        for name, array in tensors.items():
            out.add(name, array, dtypes.get(name))
    return folder


def write_pair(
    path: Path,
    quantization: dict[str, Any],
    maker: Maker,
    *,
    float_modules: tuple[str, ...] = (),
    more: Arrays | None = None,
) -> tuple[Path, Path]:
    """The same tiny model as a quantised folder and as a float32 one. `float_modules` (of
    LINEAR) are stored as floats in both; `more` are further tensors of the first."""
    rng = np.random.default_rng(7)
    plain: Arrays = {
        "model.embed_tokens.weight": rng.normal(size=(24, 32)).astype(np.float32),
        "lm_head.weight": rng.normal(size=(24, 32)).astype(np.float32),
        "model.norm.weight": rng.normal(size=32).astype(np.float32),
    }
    quantized: Arrays = {}
    dtypes: dict[str, str] = {}
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            plain[f"{prefix}{norm}.weight"] = rng.normal(size=32).astype(np.float32)
        for module, (rows, cols) in LINEAR.items():
            stored = maker(rng, rows, cols)
            plain[f"{prefix}{module}.weight"] = stored.values
            if module in float_modules:
                continue
            quantized |= {f"{prefix}{module}.{part}": a for part, a in stored.parts.items()}
            dtypes |= {f"{prefix}{module}.{part}": tag for part, tag in stored.dtypes.items()}
    packed = {name.rpartition(".")[0] for name in quantized}
    kept = {name: a for name, a in plain.items() if name.removesuffix(".weight") not in packed}
    config = {**CONFIG, "quantization_config": quantization}
    return (
        write(path / "quantized", config, {**kept, **quantized, **(more or {})}, dtypes),
        write(path / "plain", CONFIG, plain, {}),
    )
