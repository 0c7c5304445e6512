"""Canonical names: which matrices and vectors a ModelConfig implies, and of which shapes.

It must not know files. The names are listed in architectures/base.py.
"""

from __future__ import annotations

import re

from .config import ModelConfig

LAYER = re.compile(r"layers\.(\d+)\.")


def segment_rows(config: ModelConfig, kind: str) -> tuple[int, ...]:
    """Rows of each segment of a matrix (or of its bias), in order; `kind` is without its layer.

    >>> segment_rows(config, "qkv")  # doctest: +SKIP
    (2048, 512, 512)
    """
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {
        "embed": (config.vocab_size,),
        "pos_embed": (config.context_length,),
        "qkv": (q, kv, kv),
        "o": (config.hidden_size,),
        "gate_up": (config.intermediate_size,) * 2,
        "up": (config.intermediate_size,),
        "down": (config.hidden_size,),
        "head": (config.vocab_size,),
    }[kind]


def matrix_shape(config: ModelConfig, name: str) -> tuple[int, int]:
    """[out, in] of a canonical matrix; KeyError if the name is not canonical."""
    kind = name.rpartition(".")[2]
    cols = {"o": config.num_heads * config.head_dim, "down": config.intermediate_size}
    return sum(segment_rows(config, kind)), cols.get(kind, config.hidden_size)


def matrix_names(config: ModelConfig) -> list[str]:
    """Canonical names of the matrices that a model of this config has, in the order of use."""
    ffn = "gate_up" if config.gated else "up"
    return [
        "embed",
        *(["pos_embed"] if config.position == "learned" else []),
        *(f"layers.{i}.{m}" for i in range(config.num_layers) for m in ("qkv", "o", ffn, "down")),
        *([] if config.tie_embeddings else ["head"]),
    ]


_LAYER_NORMS = ("attn_norm", "post_attn_norm", "ffn_norm", "post_ffn_norm")
_HEAD_NORMS = ("q_norm", "k_norm")
_BIASED = ("qkv", "o", "gate_up", "up", "down")


def vector_length(config: ModelConfig, name: str) -> int:
    """Length of a canonical vector; KeyError if the name is not canonical."""
    match = LAYER.match(name)
    kind = name.rpartition(".")[2]
    base = kind.removesuffix("_bias")
    if match is None:
        if name == "head_bias":
            return config.vocab_size
        if base == name or base + "_bias" == name:
            return {"final_norm": config.hidden_size}[base]
    elif name == f"layers.{int(match[1])}.{kind}" and int(match[1]) < config.num_layers:
        if kind in _HEAD_NORMS:
            return config.head_dim
        if base in _LAYER_NORMS:
            return config.hidden_size
        if base != kind and base in _BIASED:
            return sum(segment_rows(config, base))
    raise KeyError(name)


def required_vectors(config: ModelConfig) -> list[str]:
    """The norms that a model of this config cannot run without (matrices may lack biases)."""
    norms = ["attn_norm", "ffn_norm"]
    norms += ["post_attn_norm", "post_ffn_norm"] if config.post_norms else []
    suffixes = ("", "_bias") if config.norm == "layer" else ("",)
    kinds = [norm + suffix for norm in norms for suffix in suffixes]
    kinds += _HEAD_NORMS if config.qk_norm else ()
    return [
        *(f"layers.{i}.{kind}" for i in range(config.num_layers) for kind in kinds),
        *("final_norm" + suffix for suffix in suffixes),
    ]


def part_lengths(config: ModelConfig, name: str, parts: int) -> tuple[int, ...]:
    """Lengths of the `parts` tensors (1 or one a segment) that a vector is stored in.

    >>> part_lengths(config, "layers.0.qkv_bias", 3)  # doctest: +SKIP
    (2048, 512, 512)
    """
    if parts == 1:
        return (vector_length(config, name),)
    return segment_rows(config, name.rpartition(".")[2].removesuffix("_bias"))
