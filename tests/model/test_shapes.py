"""The public shapes, against their published sizes."""

from __future__ import annotations

import math

import pytest

from onesec.core.errors import InvalidRequest
from onesec.model.architectures.rope import inverse_frequencies
from onesec.model.shapes import SHAPES, shape, weight_count


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("qwen2.5-0.5b", 494),
        ("llama-3.2-1b", 1236),
        ("smollm2-135m", 135),
        ("qwen3-0.6b", 596),
    ],
)
def test_weights_are_as_many_as_published(name: str, millions: int) -> None:
    # Norms and biases are not counted: well below half a per cent.
    assert weight_count(shape(name)) / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize("name", SHAPES)
def test_every_layer_has_its_rope(name: str) -> None:
    config = shape(name)
    assert len(config.layers) == config.num_layers
    assert all(
        len(config.ropes[layer.rope].inv_freq) == config.head_dim // 2 for layer in config.layers
    )
    assert config.attention_scale == pytest.approx(1 / math.sqrt(config.head_dim))
    assert config.num_heads % config.num_kv_heads == 0


def test_llama3_rope_keeps_short_waves_and_stretches_long_ones() -> None:
    found = shape("llama-3.2-1b").ropes[0].inv_freq
    plain = inverse_frequencies(500_000.0, 64).tolist()
    assert found[0] == plain[0]
    assert found[-1] == pytest.approx(plain[-1] / 32)
    assert all(p / 32 <= f <= p for f, p in zip(found, plain, strict=True))


def test_short_names_and_unknown_names() -> None:
    assert shape("qwen0.5b") == shape("qwen2.5-0.5b")
    with pytest.raises(InvalidRequest, match=r"qwen2\.5-0\.5b"):
        shape("gpt-5")
