"""GPT-2: layer norms, learned positions, an FFN without gate; matrices stored [in, out] (Conv1D).

It must not know files.
"""

from __future__ import annotations

from typing import Any

from onesec.model.config import ModelConfig
from onesec.model.jsonfile import Fields

from . import gguf_common, hf_common
from .base import Architecture, GGUFHeader, Layout, Sources, layer_configs


def _config(positions: int, **values: Any) -> ModelConfig:
    return ModelConfig(
        architecture="gpt2",
        context_length=positions,
        norm="layer",
        gated=False,
        position="learned",
        layers=layer_configs((0,) * values["num_layers"], positions),
        attention_scale=values["head_dim"] ** -0.5,
        **values,
    )


def _from_hf(fields: Fields, _: str) -> ModelConfig:
    hf_common.refuse_flags(
        fields,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    hidden = fields.integer("n_embd", low=1, high=hf_common.MAX_WIDTH)
    heads = fields.integer("n_head", low=1, high=hf_common.MAX_HEADS)
    if hidden % heads:
        fields.fail("n_embd", f"is {hidden}, not a multiple of {heads} heads")
    vocab = fields.integer("vocab_size", low=1, high=hf_common.MAX_VOCAB)
    return _config(
        hf_common.positions(fields, "n_positions", default=1024),
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=fields.integer("n_layer", low=1, high=hf_common.MAX_LAYERS),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=fields.integer("n_inner", 4 * hidden, low=1, high=hf_common.MAX_WIDTH),
        norm_eps=fields.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
        activation=hf_common.activation(fields, "activation_function", "gelu_new"),
        tie_embeddings=fields.flag("tie_word_embeddings", True),
        **hf_common.special_ids(fields, vocab),
    )


def _from_gguf(header: GGUFHeader) -> ModelConfig:
    fields = header.fields
    return _config(
        gguf_common.positions(fields),
        norm_eps=fields.number("attention.layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
        activation="gelu_tanh",
        **gguf_common.decoder_sizes(header),
    )


def _both(canonical: str, stored: str) -> dict[str, Sources]:
    return {
        canonical: ((f"{stored}.weight",),),
        f"{canonical}_bias": ((f"{stored}.bias",),),
    }


GPT2 = Architecture(
    name="gpt2",
    from_hf=_from_hf,
    hf_layout=Layout(
        matrices={
            "embed": (("{p}wte.weight",), ("lm_head.weight",)),
            "pos_embed": (("{p}wpe.weight",),),
            "layers.{i}.qkv": (("{p}h.{i}.attn.c_attn.weight",),),
            "layers.{i}.o": (("{p}h.{i}.attn.c_proj.weight",),),
            "layers.{i}.up": (("{p}h.{i}.mlp.c_fc.weight",),),
            "layers.{i}.down": (("{p}h.{i}.mlp.c_proj.weight",),),
            "head": (("lm_head.weight",),),
        },
        vectors={
            **_both("layers.{i}.attn_norm", "{p}h.{i}.ln_1"),
            **_both("layers.{i}.ffn_norm", "{p}h.{i}.ln_2"),
            **_both("final_norm", "{p}ln_f"),
            "layers.{i}.qkv_bias": (("{p}h.{i}.attn.c_attn.bias",),),
            "layers.{i}.o_bias": (("{p}h.{i}.attn.c_proj.bias",),),
            "layers.{i}.up_bias": (("{p}h.{i}.mlp.c_fc.bias",),),
            "layers.{i}.down_bias": (("{p}h.{i}.mlp.c_proj.bias",),),
        },
        prefixes=("transformer.", ""),
        ignored=(r"h\.\d+\.attn\.(masked_)?bias",),  # causal masks
        conv1d=True,
    ),
    from_gguf=_from_gguf,
    gguf_layout=Layout(
        matrices={
            "pos_embed": (("position_embd.weight",),),
            "layers.{i}.up": (("blk.{i}.ffn_up.weight",),),
            **{k: v for k, v in gguf_common.MATRICES.items() if k != "layers.{i}.gate_up"},
        },
        vectors={
            **_both("layers.{i}.attn_norm", "blk.{i}.attn_norm"),
            **_both("layers.{i}.ffn_norm", "blk.{i}.ffn_norm"),
            **_both("final_norm", "output_norm"),
            **gguf_common.QKV_BIAS,
            "layers.{i}.o_bias": (("blk.{i}.attn_output.bias",),),
            "layers.{i}.up_bias": (("blk.{i}.ffn_up.bias",),),
            "layers.{i}.down_bias": (("blk.{i}.ffn_down.bias",),),
        },
        fused=True,
    ),
)
