"""What the compressed-tensors package writes is read as what it reads itself, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantized_folders as forms

from onesec.model.checkpoints import open_checkpoint

pytest.importorskip("torch", reason="torch is not installed: see tests/model/test_quantized.py")
pytest.importorskip("compressed_tensors", reason="see tests/model/test_quantized.py")
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.entrypoints.convert import AutoAWQConverter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "int4-groups": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 16}),
    "int4-groups-zero-points": (
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 16, "symmetric": False},
    ),
    "int4-rows": ("pack-quantized", {"num_bits": 4, "strategy": "channel"}),
    "int8-groups": ("pack-quantized", {"num_bits": 8, "strategy": "group", "group_size": 32}),
    "int8-rows-zero-points-packed": (
        "pack-quantized",
        {"num_bits": 8, "strategy": "channel", "symmetric": False},
    ),
    "int8-rows": ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
    "int8-rows-zero-points": (
        "int-quantized",
        {"num_bits": 8, "strategy": "channel", "symmetric": False},
    ),
    "int8-matrix": ("naive-quantized", {"num_bits": 8, "strategy": "tensor"}),
    "float8-rows": ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}),
    "float8-matrix": ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"}),
    "float8-blocks": (
        "naive-quantized",
        {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 8]},
    ),
}


def _extremes(weight: torch.Tensor, args: QuantizationArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and largest values of what shares a scale, in the shape of the scales."""
    rows, cols = weight.shape
    tall, wide = {
        "tensor": (rows, cols),
        "channel": (1, cols),
        "group": (1, args.group_size),
        "block": tuple(args.block_structure or (1, 1)),
    }[str(args.strategy)]
    tiles = weight.reshape(rows // tall, tall, cols // wide, wide)
    low, high = tiles.amin(dim=(1, 3)), tiles.amax(dim=(1, 3))
    return (low.reshape(1), high.reshape(1)) if low.numel() == 1 else (low, high)


def _array(tensor: torch.Tensor) -> tuple[np.ndarray, str | None]:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16), "bf16"
    if tensor.dtype == torch.float8_e4m3fn:
        return tensor.view(torch.uint8).numpy(), "f8_e4m3"
    return tensor.numpy(), None


def _stored(state: dict[str, torch.Tensor], values: torch.Tensor) -> forms.Stored:
    arrays = {name: _array(tensor) for name, tensor in state.items()}
    dtypes = {name: tag for name, (_, tag) in arrays.items() if tag}
    parts = {name: array for name, (array, _) in arrays.items()}
    return forms.Stored(parts, values.to(torch.float32).numpy(), dtypes)


@pytest.mark.parametrize("scale_dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SCHEMES)
def test_same_values_as_its_own_decompressor(
    name: str, scale_dtype: torch.dtype, tmp_path: Path
) -> None:
    form, values = SCHEMES[name]
    args = QuantizationArgs(**values)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry(form)

    def maker(rng: np.random.Generator, rows: int, cols: int) -> forms.Stored:
        weight = torch.from_numpy(rng.normal(size=(rows, cols)).astype(np.float32))
        scale, zero = calculate_qparams(*_extremes(weight, args), args)
        state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
        packed = compressor.compress(state, scheme)
        packed["weight_scale"] = packed["weight_scale"].to(scale_dtype)
        # Its values in float32: it multiplies in the dtype of the scales.
        wide = {**packed, "weight_scale": packed["weight_scale"].to(torch.float32)}
        return _stored(packed, compressor.decompress(wide, scheme)["weight"])

    config = forms.compressed_tensors_config(form, **args.model_dump())
    _check(*forms.write_pair(tmp_path, config, maker))


def test_awq_is_read_as_its_converter_does(tmp_path: Path) -> None:
    converter = AutoAWQConverter(group_size=16)
    scheme = converter.update_config(None).config_groups["config_group_0"]
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")

    def maker(rng: np.random.Generator, rows: int, cols: int) -> forms.Stored:
        def words(*shape: int) -> torch.Tensor:
            return torch.from_numpy(rng.integers(-(2**31), 2**31, shape).astype(np.int32))

        scales = torch.from_numpy(rng.uniform(0.01, 0.1, (cols // 16, rows)).astype(np.float16))
        state = {
            "qweight": words(cols, rows // 8),
            "qzeros": words(cols // 16, rows // 8),
            "scales": scales,
        }
        named = {f"m.{part}": tensor for part, tensor in state.items()}
        converted = {k.removeprefix("m."): v for k, v in converter.process(named).items()}
        converted["weight_scale"] = converted["weight_scale"].to(torch.float32)
        return _stored(state, compressor.decompress(converted, scheme)["weight"])

    config = {"quant_method": "awq", "bits": 4, "group_size": 16}
    _check(*forms.write_pair(tmp_path, config, maker))


def _check(quantized: Path, plain: Path) -> None:
    with open_checkpoint(quantized) as ours, open_checkpoint(plain) as theirs:
        for name in theirs.matrix_names():
            for a, b in zip(ours.matrix(name), theirs.matrix(name), strict=True):
                np.testing.assert_array_equal(a.float32(), b.float32(), err_msg=name)
