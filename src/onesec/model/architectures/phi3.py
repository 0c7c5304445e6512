"""Phi-3 and Phi-4: q, k, v and gate, up stored fused; partial rotary; LongRoPE.

It must not know files. LongRoPE has one set of factors for contexts within the original length and
one beyond it; both are read, and ModelConfig.for_context chooses. transformers chooses anew at each
step, by the length so far, which leaves the keys cached before the change turned by the wrong set.
"""

from __future__ import annotations

from collections.abc import Sequence

from onesec.core.errors import UnsupportedModel
from onesec.model.config import LongContext, ModelConfig, Rope
from onesec.model.jsonfile import Fields

from . import gguf_common, hf_common, rope
from .base import MAX_CONTEXT, Architecture, GGUFHeader, Layout, layer_configs

_ORIGINAL = "original_max_position_embeddings"


def _from_hf(fields: Fields, _: str) -> ModelConfig:
    sizes = hf_common.decoder_sizes(fields, tied=False)
    positions = hf_common.positions(fields, default=4096)
    params = fields.inner("rope_parameters") or fields.inner("rope_scaling")
    params = params or Fields(fields.path, {})
    kind = rope.rope_kind(params)
    if kind in ("longrope", "su", "yarn"):  # Phi-3 files call LongRoPE by all three names
        context, turn, long = _longrope_from_hf(fields, params, sizes["head_dim"], positions)
    elif kind == "default":
        context, long = positions, None
        turn = rope.from_fields(
            params, fields, theta=1e4, head_dim=sizes["head_dim"], positions=positions
        )
    else:
        raise UnsupportedModel(
            f"{fields.path}: rope scaling of the type {kind[:40]!r} is not supported for phi3.",
            hint="Supported: default, longrope.",
        )
    return ModelConfig(
        architecture="phi3",
        context_length=context,
        activation=hf_common.activation(fields, "hidden_act", "silu"),
        ropes=(turn,),
        long=long,
        layers=layer_configs((hf_common.sliding_window(fields),) * sizes["num_layers"], positions),
        attention_scale=sizes["head_dim"] ** -0.5,
        **sizes,
    )


def _longrope_from_hf(
    fields: Fields, params: Fields, head_dim: int, positions: int
) -> tuple[int, Rope, LongContext | None]:
    inside = params.integer(_ORIGINAL, 4096, low=2, high=MAX_CONTEXT)
    original = fields.integer(_ORIGINAL, inside, low=2, high=MAX_CONTEXT)  # the outer one rules
    dim = rope.rotary_dim(params, fields, head_dim)
    least, most = rope.MIN_FACTOR, rope.MAX_FACTOR
    stretch = params.number("factor", positions / original, low=least, high=most)
    return _longrope(
        rope.rope_theta(params, fields, 1e4),
        dim,
        short=params.numbers("short_factor", count=dim // 2, low=least, high=most),
        long=params.numbers("long_factor", count=dim // 2, low=least, high=most),
        attention=params.number(
            "attention_factor", rope.longrope_attention(stretch, original), low=1e-3, high=1e3
        ),
        original=original,
        positions=positions,
    )


def _longrope(
    theta: float,
    dim: int,
    *,
    short: Sequence[float],
    long: Sequence[float],
    attention: float,
    original: int,
    positions: int,
) -> tuple[int, Rope, LongContext | None]:
    """The plain context, its frequencies, and what longer contexts take (None: there are none).

    Both sets scale cos and sin alike, by how far the whole context was stretched."""
    turn = rope.divided(theta, dim, short, attention)
    if positions <= original:
        return positions, turn, None
    return original, turn, LongContext(positions, (rope.divided(theta, dim, long, attention),))


def _from_gguf(header: GGUFHeader) -> ModelConfig:
    fields, sizes = header.fields, gguf_common.decoder_sizes(header)
    positions, head_dim = gguf_common.positions(fields), sizes["head_dim"]
    if {"rope_factors_long", "rope_factors_short"} <= header.rope_factors.keys():
        context, turn, long = _longrope_from_gguf(header, head_dim, positions)
    else:
        context, turn, long = positions, gguf_common.scaled_rope(header, head_dim), None
    window = fields.integer("attention.sliding_window", 0, low=0, high=MAX_CONTEXT)
    return ModelConfig(
        architecture="phi3",
        context_length=context,
        norm_eps=gguf_common.rms_eps(fields),
        ropes=(turn,),
        long=long,
        layers=layer_configs((window,) * sizes["num_layers"], positions),
        attention_scale=head_dim**-0.5,
        **sizes,
    )


def _longrope_from_gguf(
    header: GGUFHeader, head_dim: int, positions: int
) -> tuple[int, Rope, LongContext | None]:
    fields, dim = header.fields, gguf_common.rotary_dim(header.fields, head_dim)
    key = "rope.scaling.original_context_length"
    original = fields.integer(key, 4096, low=2, high=MAX_CONTEXT)
    short, long = (
        gguf_common.rope_factors(header, f"rope_factors_{kind}", dim) for kind in ("short", "long")
    )
    return _longrope(
        gguf_common.theta(fields),
        dim,
        short=short,
        long=long,
        attention=fields.number(
            "rope.scaling.attn_factor",
            rope.longrope_attention(positions / original, original),
            low=1e-3,
            high=1e3,
        ),
        original=original,
        positions=positions,
    )


PHI3 = Architecture(
    name="phi3",
    from_hf=_from_hf,
    hf_layout=Layout(
        matrices={
            **hf_common.MATRICES,
            "layers.{i}.qkv": (("{p}layers.{i}.self_attn.qkv_proj.weight",),),
            "layers.{i}.gate_up": (("{p}layers.{i}.mlp.gate_up_proj.weight",),),
        },
        vectors=hf_common.VECTORS,
        prefixes=hf_common.PREFIXES,
        ignored=hf_common.IGNORED,
        optional={  # GPTQ writers store a bias (zeros) for every layer
            **hf_common.BIASES,
            "layers.{i}.qkv_bias": (("{p}layers.{i}.self_attn.qkv_proj.bias",),),
            "layers.{i}.gate_up_bias": (("{p}layers.{i}.mlp.gate_up_proj.bias",),),
        },
    ),
    from_gguf=_from_gguf,
    gguf_layout=Layout(
        matrices={
            **gguf_common.MATRICES,
            "layers.{i}.gate_up": (
                *gguf_common.MATRICES["layers.{i}.gate_up"],
                ("blk.{i}.ffn_up.weight",),
            ),
        },
        vectors=gguf_common.VECTORS,
        ignored=gguf_common.IGNORED,
        fused=True,
    ),
)
