"""What the families have in common in GGUF: keys and tensor names (llama.cpp's).

It must not know a single family's exceptions: those are in the family's own file.
"""

from __future__ import annotations

from typing import Any

from onesec.core.errors import CorruptFile, UnsupportedModel
from onesec.model.config import Rope
from onesec.model.jsonfile import Fields

from . import rope
from .base import MAX_CONTEXT, GGUFHeader, Sources
from .hf_common import MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, check_heads

# What else may be said of a scaling, and the values that change nothing.
_NEUTRAL = {
    "attn_factor": 1.0,
    "yarn_attn_factor": 1.0,
    "yarn_ext_factor": 1.0,
    "yarn_log_multiplier": 0.0,
}


def uniform(fields: Fields, key: str, default: int | None, *, high: int) -> int:
    """An integer that GGUF may give once or once a layer; UnsupportedModel if layers differ."""
    value = fields.raw(key)
    if not isinstance(value, list):
        return fields.integer(key, default, low=1, high=high)
    if len(set(map(str, value))) != 1:
        raise UnsupportedModel(
            f"{fields.path}: {key} differs from layer to layer, which is not supported.",
            hint="Choose a model with equal layers.",
        )
    return Fields(fields.path, {key: value[0]}).integer(key, low=1, high=high)


def decoder_sizes(header: GGUFHeader) -> dict[str, Any]:
    """Keyword arguments of ModelConfig that all GGUF families spell alike."""
    fields = header.fields
    if fields.integer("expert_count", 0, low=0, high=1 << 16):
        raise UnsupportedModel(
            f"{fields.path}: mixtures of experts are not supported.", hint="Choose a dense model."
        )
    hidden = fields.integer("embedding_length", low=1, high=MAX_WIDTH)
    heads = uniform(fields, "attention.head_count", None, high=MAX_HEADS)
    kv_heads = uniform(fields, "attention.head_count_kv", heads, high=MAX_HEADS)
    check_heads(fields, heads, kv_heads)
    head_dim = fields.integer("attention.key_length", max(hidden // heads, 1), low=1, high=4096)
    if fields.integer("attention.value_length", head_dim, low=1, high=4096) != head_dim:
        raise UnsupportedModel(
            f"{fields.path}: keys and values of different length are not supported.",
            hint="Choose another model.",
        )
    if not 1 <= header.vocab_size <= MAX_VOCAB:
        raise CorruptFile(fields.path, f"the embedding has {header.vocab_size} rows")
    return {
        "vocab_size": header.vocab_size,
        "hidden_size": hidden,
        "num_layers": fields.integer("block_count", low=1, high=MAX_LAYERS),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": uniform(fields, "feed_forward_length", None, high=MAX_WIDTH),
        "tie_embeddings": header.tied,
        "bos_id": header.bos_id,
        "eos_ids": header.eos_ids,
    }


def rms_eps(fields: Fields) -> float:
    """The epsilon of RMS norms."""
    return fields.number("attention.layer_norm_rms_epsilon", 1e-5, low=0.0, high=1.0)


def positions(fields: Fields) -> int:
    """How many positions the model has."""
    return fields.integer("context_length", low=1, high=MAX_CONTEXT)


def rotary_dim(fields: Fields, head_dim: int) -> int:
    """How many of a head's dimensions are turned."""
    dim = fields.integer("rope.dimension_count", head_dim, low=2, high=head_dim)
    if dim % 2:
        fields.fail("rope.dimension_count", f"is {dim}; an even number is needed")
    return dim


def theta(fields: Fields, default: float = 10000.0, key: str = "rope.freq_base") -> float:
    """The base of the rotary frequencies."""
    return fields.number(key, default, low=1.0 + 1e-6, high=rope.MAX_THETA)


def rope_factors(header: GGUFHeader, name: str, dim: int) -> tuple[float, ...]:
    """The factors under a name, one for each pair of `dim` rotary dimensions."""
    factors, least, most = header.rope_factors[name], rope.MIN_FACTOR, rope.MAX_FACTOR
    if len(factors) != dim // 2:
        raise CorruptFile(
            header.fields.path, f"{name} has {len(factors)} values; {dim // 2} are needed"
        )
    for value in factors:
        if not least <= value <= most:
            raise CorruptFile(
                header.fields.path, f"{name} holds {value:g}; it must lie in [{least:g}, {most:g}]"
            )
    return factors


def scaled_rope(header: GGUFHeader, head_dim: int, *, default_theta: float = 10000.0) -> Rope:
    """The Rope of a GGUF file: rope_freqs where it has them, else its rope.scaling keys."""
    fields = header.fields
    dim, base = rotary_dim(fields, head_dim), theta(fields, default_theta)
    if "rope_freqs" in header.rope_factors:
        return rope.divided(base, dim, rope_factors(header, "rope_freqs", dim), 1.0)
    kind = fields.text("rope.scaling.type", "linear")
    if kind == "none":
        return rope.plain(base, dim)
    for key, value in _NEUTRAL.items():
        if fields.number(f"rope.scaling.{key}", value, low=-1e6, high=1e6) != value:
            raise UnsupportedModel(
                f"{fields.path}: rope scaling with {key} is not supported.",
                hint="Use the model's Hugging Face folder.",
            )
    old = fields.number("rope.scale_linear", 1.0, low=1e-3, high=rope.MAX_FACTOR)
    factor = fields.number("rope.scaling.factor", old, low=1e-3, high=rope.MAX_FACTOR)
    if kind == "linear":
        return rope.plain(base, dim, factor=factor)
    if kind == "yarn":
        original = fields.integer(
            "rope.scaling.original_context_length", positions(fields), low=2, high=MAX_CONTEXT
        )
        fast, slow = (
            fields.number(f"rope.scaling.yarn_beta_{end}", turns, low=1e-3, high=rope.MAX_FACTOR)
            for end, turns in (("fast", 32.0), ("slow", 1.0))
        )
        return rope.yarn(
            base, dim, factor=factor, original=original, beta_fast=fast, beta_slow=slow
        )
    raise UnsupportedModel(
        f"{fields.path}: rope scaling of the type {kind[:40]!r} is not supported.",
        hint="Supported: none, linear, yarn.",
    )


IGNORED = (r"rope_freqs\.weight", r"rope_factors_(long|short)\.weight")
_BLOCK = "blk.{i}."


def _weight(name: str) -> Sources:
    return ((f"{_BLOCK}{name}.weight",),)


MATRICES: dict[str, Sources] = {
    "embed": (("token_embd.weight",),),
    "layers.{i}.qkv": (
        tuple(f"{_BLOCK}attn_{x}.weight" for x in "qkv"),
        (f"{_BLOCK}attn_qkv.weight",),
    ),
    "layers.{i}.o": _weight("attn_output"),
    "layers.{i}.gate_up": ((f"{_BLOCK}ffn_gate.weight", f"{_BLOCK}ffn_up.weight"),),
    "layers.{i}.down": _weight("ffn_down"),
    "head": (("output.weight",),),
}
VECTORS: dict[str, Sources] = {
    "layers.{i}.attn_norm": _weight("attn_norm"),
    "layers.{i}.ffn_norm": _weight("ffn_norm"),
    "final_norm": (("output_norm.weight",),),
}
QKV_BIAS: dict[str, Sources] = {
    "layers.{i}.qkv_bias": (
        tuple(f"{_BLOCK}attn_{x}.bias" for x in "qkv"),
        (f"{_BLOCK}attn_qkv.bias",),
    )
}
BIASES: dict[str, Sources] = {
    **QKV_BIAS,
    "layers.{i}.o_bias": ((f"{_BLOCK}attn_output.bias",),),
    "layers.{i}.gate_up_bias": ((f"{_BLOCK}ffn_gate.bias", f"{_BLOCK}ffn_up.bias"),),
    "layers.{i}.down_bias": ((f"{_BLOCK}ffn_down.bias",),),
    "head_bias": (("output.bias",),),
}
QK_NORMS: dict[str, Sources] = {f"layers.{{i}}.{x}_norm": _weight(f"attn_{x}_norm") for x in "qk"}
