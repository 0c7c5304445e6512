"""Phi-3 and Phi-4: q, k, v and gate, up stored fused; partial rotary; LongRoPE.

It must not know files. LongRoPE has one set of factors for contexts within the original length and
one beyond it: the context length asked for decides (default: the original length), because a cache
written with one set cannot be read with the other.
"""

from __future__ import annotations

from onesec.core.errors import CorruptFile, UnsupportedModel
from onesec.model.config import ModelConfig
from onesec.model.jsonfile import Fields

from . import gguf_common, hf_common, rope
from .base import MAX_CONTEXT, Architecture, GGUFHeader, Layout, context_in_use, layer_configs


def _from_hf(fields: Fields, _: str, asked: int | None) -> ModelConfig:
    sizes = hf_common.decoder_sizes(fields, tied=False)
    positions = hf_common.positions(fields, default=4096)
    params = fields.inner("rope_parameters") or fields.inner("rope_scaling")
    params = params or Fields(fields.path, {})
    head_dim = sizes["head_dim"]
    kind = rope.rope_kind(params)
    if kind in ("longrope", "su", "yarn"):  # Phi-3 files call LongRoPE by all three names
        original = rope.original_positions(params, fields, 4096)
        context = context_in_use(positions, asked, default=original)
        dim = rope.rotary_dim(params, fields, head_dim)
        key = "long_factor" if context > original else "short_factor"
        factors = params.numbers(key, count=dim // 2, low=1e-3, high=rope.MAX_FACTOR)
        attention = params.number(
            "attention_factor", rope.longrope_attention(positions, original), low=1e-3, high=1e3
        )
        turn = rope.divided(rope.rope_theta(params, fields, 1e4), dim, factors, attention)
    elif kind == "default":
        context = context_in_use(positions, asked)
        turn = rope.from_fields(params, fields, theta=1e4, head_dim=head_dim, positions=positions)
    else:
        raise UnsupportedModel(
            f"{fields.path}: rope scaling of the type {kind[:40]!r} is not supported for phi3.",
            hint="Supported: default, longrope.",
        )
    window = hf_common.sliding_window(fields)
    return ModelConfig(
        architecture="phi3",
        context_length=context,
        activation=hf_common.activation(fields, "hidden_act", "silu"),
        ropes=(turn,),
        layers=layer_configs((window,) * sizes["num_layers"], context),
        attention_scale=head_dim**-0.5,
        **sizes,
    )


def _from_gguf(header: GGUFHeader, asked: int | None) -> ModelConfig:
    fields, sizes = header.fields, gguf_common.decoder_sizes(header)
    positions, head_dim = gguf_common.positions(fields), sizes["head_dim"]
    if "rope_factors_long" in header.rope_factors and "rope_factors_short" in header.rope_factors:
        original = fields.integer(
            "rope.scaling.original_context_length", 4096, low=2, high=MAX_CONTEXT
        )
        context = context_in_use(positions, asked, default=original)
        dim = gguf_common.rotary_dim(fields, head_dim)
        factors = header.rope_factors[f"rope_factors_{'long' if context > original else 'short'}"]
        if len(factors) != dim // 2 or min(factors) <= 0.0:
            raise CorruptFile(
                fields.path, f"{len(factors)} rope factors; {dim // 2} above 0 are needed"
            )
        attention = fields.number(
            "rope.scaling.attn_factor",
            rope.longrope_attention(positions, original),
            low=1e-3,
            high=1e3,
        )
        turn = rope.divided(gguf_common.theta(fields), dim, factors, attention)
    else:
        context = context_in_use(positions, asked)
        turn = gguf_common.scaled_rope(header, head_dim)
    window = fields.integer("attention.sliding_window", 0, low=0, high=MAX_CONTEXT)
    return ModelConfig(
        architecture="phi3",
        context_length=context,
        norm_eps=gguf_common.rms_eps(fields),
        ropes=(turn,),
        layers=layer_configs((window,) * sizes["num_layers"], context),
        attention_scale=head_dim**-0.5,
        **sizes,
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
    ),
)
