"""Quantised folders are read as the values that their codes, zero points and scales stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantized_folders as forms
from quantized_folders import compressed_tensors_config, float8_value, write_pair

from onesec.core.errors import CorruptFile, ModelError, UnsupportedModel
from onesec.model.checkpoints import open_checkpoint

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm", "zero_point": True}
_PACKED = {"num_bits": 4, "type": "int", "group_size": 16, "strategy": "group"}
_INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
_FLOAT8 = {"num_bits": 8, "type": "float"}


def _unused_order(rng: np.random.Generator, rows: int, cols: int) -> forms.Stored:
    """A table of groups that says of every column that it says nothing."""
    stored = forms.pack_quantized()(rng, rows, cols)
    stored.parts["weight_g_idx"] = np.full(cols, -1, np.int32)
    return stored


CASES: dict[str, tuple[dict[str, Any], forms.Maker]] = {
    "gptq": (GPTQ, forms.gptq()),
    "gptq-8-bits": ({**GPTQ, "bits": 8}, forms.gptq(8)),
    "gptq-v2": ({**GPTQ, "checkpoint_format": "gptq_v2"}, forms.gptq(v2=True)),
    "gptq-v2-zero-0": (
        {**GPTQ, "checkpoint_format": "gptq_v2"},
        forms.gptq(v2=True, zero_points=(0, 1)),
    ),
    "gptq-zero-0": (GPTQ, forms.gptq(zero_points=(0, 1))),
    "gptq-8-bits-v2": ({**GPTQ, "bits": 8, "format": "gptq_v2"}, forms.gptq(8, v2=True)),
    "gptq-act-order": ({**GPTQ, "desc_act": True}, forms.gptq(ordered=True)),
    "gptq-8-bits-act-order": ({**GPTQ, "bits": 8, "desc_act": True}, forms.gptq(8, ordered=True)),
    "gptq-without-g_idx": (GPTQ, forms.gptq(g_idx=False)),
    "gptq-one-group": ({**GPTQ, "group_size": -1}, forms.gptq(group=-1)),
    "gptq-part-of-a-group": ({**GPTQ, "group_size": 24}, forms.gptq(group=24)),
    "gptq-modules-named-as-plain": ({**GPTQ, "dynamic": {"-:.*lm_head": {}}}, forms.gptq()),
    "gptq-float32-scales": (GPTQ, forms.gptq(scale_dtype=np.float32)),
    "awq": (AWQ, forms.awq()),
    "awq-one-group": ({**AWQ, "group_size": -1}, forms.awq(-1)),
    "awq-version-in-capitals": ({**AWQ, "version": "GEMM"}, forms.awq()),
    "packed-4": (compressed_tensors_config("pack-quantized", **_PACKED), forms.pack_quantized()),
    "packed-8": (
        compressed_tensors_config("pack-quantized", **{**_PACKED, "num_bits": 8}),
        forms.pack_quantized(8),
    ),
    "packed-4-a-row": (
        compressed_tensors_config("pack-quantized", num_bits=4, group_size=-1),
        forms.pack_quantized(group=0),
    ),
    "packed-4-zero-points": (
        compressed_tensors_config("pack-quantized", **_PACKED, symmetric=False),
        forms.pack_quantized(symmetric=False),
    ),
    "packed-8-zero-points": (
        compressed_tensors_config("pack-quantized", **{**_PACKED, "num_bits": 8}, symmetric=False),
        forms.pack_quantized(8, symmetric=False),
    ),
    "packed-4-plain-zero-points": (
        compressed_tensors_config("pack-quantized", **_PACKED, symmetric=False),
        forms.pack_quantized(symmetric=False, plain_zeros=True),
    ),
    "packed-4-act-order": (
        compressed_tensors_config("pack-quantized", **_PACKED, actorder="group"),
        forms.pack_quantized(ordered=True),
    ),
    "packed-4-unused-order": (
        compressed_tensors_config("pack-quantized", **_PACKED),
        _unused_order,
    ),
    "int8": (compressed_tensors_config("int-quantized", **_INT8), forms.plain_quantized()),
    "int8-zero-points": (
        compressed_tensors_config("int-quantized", **_INT8, symmetric=False),
        forms.plain_quantized(symmetric=False),
    ),
    "int8-a-matrix": (
        compressed_tensors_config("naive-quantized", num_bits=8, strategy="tensor"),
        forms.plain_quantized(scales="matrix"),
    ),
    "float8": (
        compressed_tensors_config("float-quantized", **_FLOAT8, strategy="channel"),
        forms.plain_quantized("f8"),
    ),
    "float8-a-matrix": (
        compressed_tensors_config("float-quantized", **_FLOAT8, strategy="tensor"),
        forms.plain_quantized("f8", "matrix"),
    ),
    "float8-blocks": (
        compressed_tensors_config(
            "float-quantized", **_FLOAT8, strategy="block", block_structure=[24, 20]
        ),
        forms.plain_quantized("f8", "block", block=(24, 20)),
    ),
}


def _check_same(quantized: Path, plain: Path) -> None:
    with open_checkpoint(quantized) as ours, open_checkpoint(plain) as theirs:
        assert ours.matrix_names() == theirs.matrix_names()
        for name in theirs.matrix_names():
            for a, b in zip(ours.matrix(name), theirs.matrix(name), strict=True):
                np.testing.assert_array_equal(
                    a.float32().view(np.uint32), b.float32().view(np.uint32), err_msg=name
                )
                assert a.data.flags.c_contiguous
            ours.release(name)
        for name in theirs.vector_names():
            np.testing.assert_array_equal(ours.vector(name), theirs.vector(name))
        assert 0 < ours.nbytes < theirs.nbytes


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_format_bit_for_bit(case: str, tmp_path: Path) -> None:
    _check_same(*write_pair(tmp_path, *CASES[case]))


@pytest.mark.parametrize("case", ["gptq", "awq", "packed-4", "int8", "float8"])
def test_modules_that_were_left_out_stay_floats(case: str, tmp_path: Path) -> None:
    quantization, maker = CASES[case]
    left_out = ("self_attn.q_proj", "mlp.down_proj")
    quantization = {**quantization, "modules_to_not_convert": ["q_proj", "down_proj"]}
    _check_same(*write_pair(tmp_path, quantization, maker, float_modules=left_out))


def test_float8_values() -> None:
    from onesec.model.quantized.compressed import _FLOAT8

    np.testing.assert_array_equal(_FLOAT8, [float8_value(code) for code in range(256)])
    assert (_FLOAT8[1], _FLOAT8[126], _FLOAT8[0x38]) == (2.0**-9, 448.0, 1.0)
    assert np.signbit(_FLOAT8[128])


def test_large_matrices_are_decoded_in_parts() -> None:
    from onesec.model.quantized.base import dequantize, group_index

    rows, cols = 24, 1 << 19  # eight rows at a time
    asked: list[tuple[int, int]] = []

    def codes(begin: int, end: int) -> np.ndarray:
        asked.append((begin, end))
        return np.broadcast_to(np.arange(begin, end, dtype=np.uint8)[:, None], (end - begin, cols))

    ones = np.ones((rows, 2), np.float32)
    values = dequantize((rows, cols), codes, 2 * ones, ones, group_index(cols, cols // 2))
    assert asked == [(0, 8), (8, 16), (16, 24)]
    np.testing.assert_array_equal(values[:, [0, -1]], 2 * (np.arange(rows)[:, None] - ones))


def test_activation_and_cache_scales_are_passed_over(tmp_path: Path) -> None:
    quantization, maker = CASES["float8"]
    layer = "model.layers.0.self_attn."
    more = {f"{layer}{name}": np.ones(1, np.float32) for name in _STATIC_SCALES}
    _check_same(*write_pair(tmp_path, quantization, maker, more=more))


_STATIC_SCALES = ("q_proj.input_scale", "q_proj.output_scale", "k_scale", "v_scale")


def test_two_schemes_in_one_checkpoint(tmp_path: Path) -> None:
    """Which scheme a module has is seen from its tensors."""
    wide, narrow = forms.pack_quantized(8, group=0), forms.pack_quantized(4, 16, symmetric=False)

    def maker(rng: np.random.Generator, rows: int, cols: int) -> forms.Stored:
        return (wide if cols == 64 else narrow)(rng, rows, cols)

    both = compressed_tensors_config("mixed-precision", **_PACKED, symmetric=False)
    both["config_groups"]["group_0"]["format"] = "pack-quantized"
    both["config_groups"]["group_1"] = {
        "targets": ["re:.*down_proj"],
        "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
    }
    _check_same(*write_pair(tmp_path, both, maker))


def test_the_older_key_of_the_config(tmp_path: Path) -> None:
    quantized, plain = write_pair(tmp_path, *CASES["packed-4"])
    config = json.loads((quantized / "config.json").read_text())
    config["compression_config"] = config.pop("quantization_config")
    (quantized / "config.json").write_text(json.dumps(config))
    _check_same(quantized, plain)


def test_biases_of_layers_that_had_none_are_read(tmp_path: Path) -> None:
    """GPTQ writers store a bias for every layer; Qwen 2 has one for q, k and v alone."""
    biases = {
        f"model.layers.{layer}.{module}.bias": np.full(rows, 0.5, np.float32)
        for layer in range(2)
        for module, (rows, _) in forms.LINEAR.items()
    }
    quantized, _ = write_pair(tmp_path, *CASES["gptq"], more=biases)
    config = json.loads((quantized / "config.json").read_text())
    (quantized / "config.json").write_text(json.dumps(config | {"model_type": "qwen2"}))
    with open_checkpoint(quantized) as checkpoint:
        for kind in ("qkv", "o", "gate_up", "down"):
            assert (checkpoint.vector(f"layers.1.{kind}_bias") == 0.5).all()


@pytest.mark.parametrize(
    ("case", "changes", "error", "words"),
    [
        ("gptq", {"bits": 3}, UnsupportedModel, "GPTQ with 3 bits"),
        ("gptq", {"bits": 2}, UnsupportedModel, "GPTQ with 2 bits"),
        ("gptq", {"bits": None}, CorruptFile, "bits is missing"),
        ("gptq", {"bits": 8}, CorruptFile, "shape"),
        ("gptq", {"group_size": 0}, CorruptFile, "group_size is 0"),
        ("gptq", {"group_size": 8}, CorruptFile, "shape"),
        ("gptq", {"checkpoint_format": "marlin"}, UnsupportedModel, "'marlin'"),
        ("gptq", {"is_marlin_format": True}, UnsupportedModel, "'marlin'"),
        ("gptq", {"checkpoint_format": "gptq_p"}, UnsupportedModel, "'gptq_p'"),
        ("gptq", {"dynamic": {"+:.*down.*": {"bits": 8}}}, UnsupportedModel, "dynamic"),
        ("gptq-without-g_idx", {"desc_act": True}, CorruptFile, "g_idx is missing"),
        ("gptq", {"quant_method": "bitsandbytes"}, UnsupportedModel, "'bitsandbytes'"),
        ("gptq", {"quant_method": None}, UnsupportedModel, "method ''"),
        ("gptq", {"quant_method": "awq"}, CorruptFile, "whole groups of 16"),
        ("awq", {"bits": 8}, UnsupportedModel, "AWQ of 8 bits"),
        ("awq", {"version": "gemv"}, UnsupportedModel, "version 'gemv'"),
        ("awq", {"zero_point": False}, UnsupportedModel, "without zero points"),
        ("awq", {"group_size": 0}, CorruptFile, "group_size is 0"),
        ("awq", {"group_size": 24}, CorruptFile, "whole groups of 24"),
        ("packed-4", {"format": "marlin-24"}, UnsupportedModel, "'marlin-24'"),
        ("packed-4", {"config_groups": None}, CorruptFile, "config_groups is missing"),
        ("packed-4", {"config_groups": {}}, CorruptFile, "fits no scheme"),
        ("packed-4", {"sparsity_config": {"format": "sparse-24-bitmask"}}, UnsupportedModel, "24"),
        (
            "packed-4",
            {"transform_config": {"config_groups": {"u": {}}}},
            UnsupportedModel,
            "rotated",
        ),
        ("int8", {"format": "nvfp4-pack-quantized"}, UnsupportedModel, "'nvfp4"),
    ],
)
def test_what_cannot_be_read_is_refused(
    case: str,
    changes: dict[str, Any],
    error: type[ModelError],
    words: str,
    tmp_path: Path,
) -> None:
    quantization, maker = CASES[case]
    if "format" in changes:
        quantization = json.loads(json.dumps(quantization))
        quantization["config_groups"]["group_0"].pop("format")
    changed = {k: v for k, v in {**quantization, **changes}.items() if v is not None}
    quantized, _ = write_pair(tmp_path, changed, maker)
    with pytest.raises(error, match=words) as caught:
        open_checkpoint(quantized)
    assert caught.value.hint
    assert str(quantized) in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        ({"num_bits": 3}, UnsupportedModel, "3 bits"),
        ({"num_bits": 4, "type": "float"}, UnsupportedModel, "4 bits"),
        ({"num_bits": 8}, CorruptFile, "fits no scheme"),
        ({"num_bits": 4, "group_size": 8}, CorruptFile, "fits no scheme"),
        ({"num_bits": 4, "group_size": 24}, CorruptFile, "fits no scheme"),
        ({"num_bits": 4, "group_size": 16, "symmetric": False}, CorruptFile, "fits no scheme"),
        ({"num_bits": 4, "block_structure": [16]}, CorruptFile, "list of 2"),
    ],
)
def test_schemes_that_do_not_fit_their_tensors(
    weights: dict[str, Any], error: type[ModelError], words: str, tmp_path: Path
) -> None:
    config = compressed_tensors_config("pack-quantized", **weights)
    quantized, _ = write_pair(tmp_path, config, forms.pack_quantized())
    with pytest.raises(error, match=words):
        open_checkpoint(quantized)


def test_groups_beyond_the_scales_are_found_when_read(tmp_path: Path) -> None:
    def maker(rng: np.random.Generator, rows: int, cols: int) -> forms.Stored:
        stored = forms.gptq(ordered=True)(rng, rows, cols)
        stored.parts["g_idx"][3] = 99
        return stored

    quantized, _ = write_pair(tmp_path, {**GPTQ, "desc_act": True}, maker)
    with (
        open_checkpoint(quantized) as checkpoint,
        pytest.raises(CorruptFile, match="names groups from 0 to 99; there are 2"),
    ):
        checkpoint.matrix("layers.0.qkv")


def test_a_matrix_both_plain_and_quantised(tmp_path: Path) -> None:
    more = {"model.layers.0.self_attn.q_proj.weight": np.zeros((32, 32), np.float32)}
    quantized, _ = write_pair(tmp_path, *CASES["gptq"], more=more)
    with pytest.raises(CorruptFile, match="both plain and quantised"):
        open_checkpoint(quantized)


def test_gpt2_is_refused_since_its_matrices_lie_the_other_way(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "quantization_config": GPTQ}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match="quantised models of the type gpt2"):
        open_checkpoint(tmp_path)
