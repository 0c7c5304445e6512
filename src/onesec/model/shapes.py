"""Shapes: the architectures of a few public models as numbers, to measure speed without weights.

Speed depends on shapes, not on values: a backend with random weights of such a shape runs as fast
as the model itself. It must not know where weights come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesec.core.errors import InvalidRequest

from .architectures import rope
from .config import LayerConfig, ModelConfig
from .names import required_vectors, vector_length

RANDOM_DEVIATION = 0.02  # of random weights: the usual initialiser's
Float32 = npt.NDArray[np.float32]
CONTEXT_TOKENS = 4096  # of every shape; the models' own limits are longer


@dataclass(frozen=True, slots=True)
class _Shape:
    """`stretch`: how many times Llama 3 stretches waves longer than its first 8192 positions."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    theta: float
    stretch: float = 1.0
    tied: bool = True


_SHAPES = {
    "qwen2.5-0.5b": _Shape("qwen2", 24, 896, 14, 2, 64, 4864, 151_936, 1e6),
    "llama-3.2-1b": _Shape("llama", 16, 2048, 32, 8, 64, 8192, 128_256, 5e5, stretch=32.0),
    "llama-3.1-8b": _Shape(
        "llama", 32, 4096, 32, 8, 128, 14336, 128_256, 5e5, stretch=8.0, tied=False
    ),
    "smollm2-135m": _Shape("llama", 30, 576, 9, 3, 64, 1536, 49_152, 1e5),
    "qwen3-0.6b": _Shape("qwen3", 28, 1024, 16, 8, 128, 3072, 151_936, 1e6),
    "tiny": _Shape("llama", 2, 128, 4, 2, 32, 384, 2048, 1e4),
}
_SHORT = {
    "qwen0.5b": "qwen2.5-0.5b",
    "llama1b": "llama-3.2-1b",
    "llama8b": "llama-3.1-8b",
    "smol135m": "smollm2-135m",
}
SHAPES = tuple(_SHAPES)


def shape(name: str) -> ModelConfig:
    """The ModelConfig of a public shape, by its name or the short one that `bench/peers` uses.

    Raises InvalidRequest on other names.

    >>> shape("smollm2-135m").num_layers
    30
    """
    sizes = _SHAPES.get(_SHORT.get(name, name))
    if sizes is None:
        raise InvalidRequest(
            f"There is no shape {name!r}.", hint=f"Known shapes: {', '.join(SHAPES)}."
        )
    turn = rope.plain(sizes.theta, sizes.head_dim)
    if sizes.stretch > 1.0:
        turn = rope.llama3(
            sizes.theta, sizes.head_dim, factor=sizes.stretch, low=1.0, high=4.0, original=8192
        )
    return ModelConfig(
        architecture=sizes.architecture,
        vocab_size=sizes.vocab,
        hidden_size=sizes.hidden,
        num_layers=sizes.layers,
        num_heads=sizes.heads,
        num_kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        intermediate_size=sizes.ffn,
        context_length=CONTEXT_TOKENS,
        ropes=(turn,),
        layers=(LayerConfig(),) * sizes.layers,
        attention_scale=sizes.head_dim**-0.5,
        qk_norm=sizes.architecture == "qwen3",
        tie_embeddings=sizes.tied,
    )


def plain_vectors(config: ModelConfig) -> dict[str, Float32]:
    """Norms of one and biases of zero: the vectors of a shape with random weights."""
    names = required_vectors(config)
    if config.architecture == "qwen2":
        names += [f"layers.{i}.qkv_bias" for i in range(config.num_layers)]
    return {
        name: np.full(vector_length(config, name), float(name.endswith("norm")), np.float32)
        for name in names
    }


def weight_count(config: ModelConfig) -> int:
    """Weights in the matrices that one decode step reads: projections, FFNs and the output head.

    >>> round(weight_count(shape("qwen2.5-0.5b")) / 1e6)
    494
    """
    qkv = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    attention = config.hidden_size * (qkv + config.num_heads * config.head_dim)
    ffn = config.hidden_size * config.intermediate_size * (3 if config.gated else 2)
    return config.num_layers * (attention + ffn) + config.hidden_size * config.vocab_size
