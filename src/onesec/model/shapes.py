"""Shapes: the architectures of a few public models as numbers, to measure speed without weights.

Speed depends on shapes, not on values: a backend with random weights of such a shape runs as fast
as the model itself. It must not know where weights come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from onesec.core.errors import InvalidRequest

from .config import LayerConfig, ModelConfig, Rope

CONTEXT_TOKENS = 4096  # of every shape; the models' own limits are longer


def _rope(theta: float, dim: int) -> Rope:
    return Rope(tuple(theta ** (-2.0 * i / dim) for i in range(dim // 2)))


def _llama3_rope(dim: int) -> Rope:
    """Llama 3.2's: theta 5e5; waves longer than 8192 positions are stretched 32 times, those longer
    than a quarter of that in part."""
    factor, low, high, original = 32.0, 1.0, 4.0, 8192.0
    scaled = []
    for inv_freq in _rope(500_000.0, dim).inv_freq:
        turns = original * inv_freq / (2.0 * math.pi)
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        scaled.append(inv_freq * (share + (1.0 - share) / factor))
    return Rope(tuple(scaled))


def _decoder(
    *,
    architecture: str,
    layers: int,
    head_dim: int,
    rope: Rope,
    qk_norm: bool = False,
    **sizes: int,
) -> ModelConfig:
    return ModelConfig(
        architecture=architecture,
        vocab_size=sizes["vocab"],
        hidden_size=sizes["hidden"],
        num_layers=layers,
        num_heads=sizes["heads"],
        num_kv_heads=sizes["kv_heads"],
        head_dim=head_dim,
        intermediate_size=sizes["ffn"],
        context_length=CONTEXT_TOKENS,
        ropes=(rope,),
        layers=(LayerConfig(),) * layers,
        attention_scale=head_dim**-0.5,
        qk_norm=qk_norm,
        tie_embeddings=True,
    )


def _qwen2_5_0_5b() -> ModelConfig:
    return _decoder(
        architecture="qwen2",
        layers=24,
        hidden=896,
        heads=14,
        kv_heads=2,
        head_dim=64,
        ffn=4864,
        vocab=151_936,
        rope=_rope(1e6, 64),
    )


def _llama3_2_1b() -> ModelConfig:
    return _decoder(
        architecture="llama",
        layers=16,
        hidden=2048,
        heads=32,
        kv_heads=8,
        head_dim=64,
        ffn=8192,
        vocab=128_256,
        rope=_llama3_rope(64),
    )


def _smollm2_135m() -> ModelConfig:
    return _decoder(
        architecture="llama",
        layers=30,
        hidden=576,
        heads=9,
        kv_heads=3,
        head_dim=64,
        ffn=1536,
        vocab=49_152,
        rope=_rope(1e5, 64),
    )


def _qwen3_0_6b() -> ModelConfig:
    return _decoder(
        architecture="qwen3",
        layers=28,
        hidden=1024,
        heads=16,
        kv_heads=8,
        head_dim=128,
        ffn=3072,
        vocab=151_936,
        rope=_rope(1e6, 128),
        qk_norm=True,
    )


def _tiny() -> ModelConfig:
    return _decoder(
        architecture="llama",
        layers=2,
        hidden=128,
        heads=4,
        kv_heads=2,
        head_dim=32,
        ffn=384,
        vocab=2048,
        rope=_rope(1e4, 32),
    )


_SHAPES: dict[str, Callable[[], ModelConfig]] = {
    "qwen2.5-0.5b": _qwen2_5_0_5b,
    "llama-3.2-1b": _llama3_2_1b,
    "smollm2-135m": _smollm2_135m,
    "qwen3-0.6b": _qwen3_0_6b,
    "tiny": _tiny,
}
_SHORT = {"qwen0.5b": "qwen2.5-0.5b", "llama1b": "llama-3.2-1b", "smol135m": "smollm2-135m"}
SHAPES = tuple(_SHAPES)


def shape(name: str) -> ModelConfig:
    """The ModelConfig of a public shape, by its name or the short one that `bench/peers` uses.

    Raises InvalidRequest on other names.

    >>> shape("smollm2-135m").num_layers
    30
    """
    make = _SHAPES.get(_SHORT.get(name, name))
    if make is None:
        raise InvalidRequest(
            f"There is no shape {name!r}.", hint=f"Known shapes: {', '.join(SHAPES)}."
        )
    return make()


def weight_count(config: ModelConfig) -> int:
    """Weights in the matrices that one decode step reads: projections, FFNs and the output head.

    >>> round(weight_count(shape("qwen2.5-0.5b")) / 1e6)
    494
    """
    qkv = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    attention = config.hidden_size * (qkv + config.num_heads * config.head_dim)
    ffn = config.hidden_size * config.intermediate_size * (3 if config.gated else 2)
    return config.num_layers * (attention + ffn) + config.hidden_size * config.vocab_size
