"""Blocks that are written: Q8_0 and Q4_0 bit for bit as the gguf package writes them, Q4_K by what
it loses."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from onesec.model.gguf_encode import KIND_OF, encode
from onesec.model.gguf_quants import BLOCK_FORMATS, dequantize


def _samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(40, 512)).astype(np.float32)
    ties = rng.integers(-20, 21, (8, 512)).astype(np.float32) / 2
    signs = np.where(rng.random((8, 512)) < 0.5, -1, 1).astype(np.float32)
    return {
        "normal": normal,
        "heavy": rng.standard_t(2, (40, 512)).astype(np.float32),
        "small": normal * np.float32(1e-6),
        "subnormal-scales": normal * np.float32(1e-9),
        "large": normal * np.float32(1e4),
        "positive": np.abs(normal),
        "ties": ties,
        "equal-sizes": signs,  # the largest is found twice, with both signs
        "zeros": np.zeros((4, 512), np.float32),
        "one-spike": np.eye(16, 512, dtype=np.float32),
        "negative-zero": np.full((1, 512), -0.0, np.float32),
    }


@pytest.mark.parametrize("sample", _samples())
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_same_bits_as_the_gguf_package(kind: str, sample: str) -> None:
    values = _samples()[sample]
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(encode(kind.lower(), values), expected)


def test_rows_that_do_not_lie_together_are_taken() -> None:
    values = np.random.default_rng(1).normal(size=(64, 96)).astype(np.float32)
    np.testing.assert_array_equal(encode("q4_0", values.T), encode("q4_0", values.T.copy()))


def test_large_matrices_are_encoded_in_parts() -> None:
    values = np.random.default_rng(2).normal(size=(3, 1 << 20)).astype(np.float32)
    whole = encode("q8_0", values)
    np.testing.assert_array_equal(whole[2], encode("q8_0", values[2:])[0])


def _read(kind: str, values: np.ndarray) -> np.ndarray:
    named = gguf.GGMLQuantizationType[kind]
    return gguf.quants.dequantize(encode(kind.lower(), values), named).reshape(values.shape)


def _loss(kind: str, values: np.ndarray) -> float:
    difference = (_read(kind, values) - values).astype(np.float64)
    return float((difference**2).mean() / (values.astype(np.float64) ** 2).mean())


@pytest.mark.parametrize("sample", ["normal", "heavy", "positive", "large"])
def test_q4_k_loses_less_than_plain_rounding_of_each_range(sample: str) -> None:
    values = _samples()[sample]
    groups = values.reshape(-1, 32).astype(np.float64)
    low = np.minimum(groups.min(axis=1, keepdims=True), 0)
    step = (groups.max(axis=1, keepdims=True) - low) / 15
    rounded = np.rint((groups - low) / step) * step + low
    plain = ((rounded - groups) ** 2).mean() / (groups**2).mean()
    assert _loss("Q4_K", values) < 1.05 * plain  # although steps and offsets have six bits
    assert _loss("Q4_K", values) < 0.9 * _loss("Q4_0", values)


def test_q4_k_is_exact_where_it_can_be() -> None:
    """Sixteen levels of one step and offset in every group."""
    codes = np.random.default_rng(3).integers(0, 16, (2, 8, 32))
    codes[..., :2] = 0, 15
    values = (codes * 0.5 - 2.0).reshape(2, 256).astype(np.float32)
    np.testing.assert_allclose(_read("Q4_K", values), values, atol=2e-3)


def test_q4_k_of_weights_below_float16_is_zero() -> None:
    """Steps of 1e-9 cannot be said; half a matrix of offsets would be worse than nothing."""
    assert not _read("Q4_K", _samples()["small"]).any()


def test_q4_k_of_zeros_is_zero_and_of_constants_near() -> None:
    assert not _read("Q4_K", np.zeros((1, 256), np.float32)).any()
    for value in (3.0, -3.0):
        constant = np.full((1, 256), value, np.float32)
        np.testing.assert_allclose(_read("Q4_K", constant), constant, rtol=0.01)


@pytest.mark.parametrize("name", KIND_OF)
def test_own_decoder_gives_what_was_written(name: str) -> None:
    values = np.random.default_rng(4).normal(size=(5, 256)).astype(np.float32)
    raw = encode(name, values)
    ours = dequantize(BLOCK_FORMATS[KIND_OF[name]], raw.reshape(-1)).reshape(values.shape)
    np.testing.assert_array_equal(ours, _read(name.upper(), values))


def test_part_of_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="48 columns are not whole blocks of 32"):
        encode("q8_0", np.zeros((1, 48), np.float32))
