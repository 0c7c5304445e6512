"""GPT-Neo: like GPT-2, with local attention in some layers and scores that are not scaled.

It must not know files. GGUF has no such family.
"""

from __future__ import annotations

from onesec.core.errors import UnsupportedModel
from onesec.model.config import ModelConfig
from onesec.model.jsonfile import Fields

from . import hf_common
from .base import MAX_CONTEXT, Architecture, Layout, layer_configs


def _attention_kinds(fields: Fields, layers: int) -> tuple[str, ...]:
    """global or local a layer: spelt out, or as [[pattern, repeats], ...]."""
    if fields.has("attention_layers"):
        return fields.texts("attention_layers", count=layers)
    kinds: list[str] = []
    value = fields.raw("attention_types") or [[["global", "local"], 12]]
    for item in value if isinstance(value, list) else [None]:
        if (
            not isinstance(item, list)
            or len(item) != 2
            or not isinstance(item[0], list)
            or not isinstance(item[1], int)
            or not 0 <= item[1] * len(item[0]) <= layers
        ):
            fields.fail("attention_types", "is not a list of [pattern, repeats]")
        kinds += [str(kind) for kind in item[0]] * item[1]
    if len(kinds) != layers:
        fields.fail("attention_types", f"spells {len(kinds)} layers; the model has {layers}")
    return tuple(kinds)


def _from_hf(fields: Fields, _: str) -> ModelConfig:
    hidden = fields.integer("hidden_size", low=1, high=hf_common.MAX_WIDTH)
    heads = fields.integer("num_heads", low=1, high=hf_common.MAX_HEADS)
    if hidden % heads:
        fields.fail("hidden_size", f"is {hidden}, not a multiple of {heads} heads")
    layers = fields.integer("num_layers", low=1, high=hf_common.MAX_LAYERS)
    vocab = fields.integer("vocab_size", low=1, high=hf_common.MAX_VOCAB)
    window = fields.integer("window_size", 256, low=1, high=MAX_CONTEXT)
    kinds = _attention_kinds(fields, layers)
    if not set(kinds) <= {"global", "local"}:
        raise UnsupportedModel(
            f"{fields.path}: attention of the types {sorted(set(kinds))[:4]} is not supported.",
            hint="Supported: global and local.",
        )
    positions = hf_common.positions(fields, default=2048)
    return ModelConfig(
        architecture="gpt_neo",
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=fields.integer(
            "intermediate_size", 4 * hidden, low=1, high=hf_common.MAX_WIDTH
        ),
        context_length=positions,
        norm="layer",
        norm_eps=fields.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
        activation=hf_common.activation(fields, "activation_function", "gelu_new"),
        gated=False,
        position="learned",
        layers=layer_configs(tuple(window if k == "local" else 0 for k in kinds), positions),
        attention_scale=1.0,
        tie_embeddings=fields.flag("tie_word_embeddings", True),
        **hf_common.special_ids(fields, vocab),
    )


_ATTENTION = "{p}h.{i}.attn.attention."

GPT_NEO = Architecture(
    name="gpt_neo",
    from_hf=_from_hf,
    hf_layout=Layout(
        matrices={
            "embed": (("{p}wte.weight",), ("lm_head.weight",)),
            "pos_embed": (("{p}wpe.weight",),),
            "layers.{i}.qkv": (tuple(f"{_ATTENTION}{x}_proj.weight" for x in "qkv"),),
            "layers.{i}.o": ((f"{_ATTENTION}out_proj.weight",),),
            "layers.{i}.up": (("{p}h.{i}.mlp.c_fc.weight",),),
            "layers.{i}.down": (("{p}h.{i}.mlp.c_proj.weight",),),
            "head": (("lm_head.weight",),),
        },
        vectors={
            f"{canonical}{suffix}": ((f"{stored}.{kind}",),)
            for canonical, stored in (
                ("layers.{i}.attn_norm", "{p}h.{i}.ln_1"),
                ("layers.{i}.ffn_norm", "{p}h.{i}.ln_2"),
                ("final_norm", "{p}ln_f"),
            )
            for suffix, kind in (("", "weight"), ("_bias", "bias"))
        }
        | {
            "layers.{i}.o_bias": ((f"{_ATTENTION}out_proj.bias",),),
            "layers.{i}.up_bias": (("{p}h.{i}.mlp.c_fc.bias",),),
            "layers.{i}.down_bias": (("{p}h.{i}.mlp.c_proj.bias",),),
        },
        prefixes=("transformer.", ""),
        ignored=(r"h\.\d+\.attn\.attention\.(masked_)?bias",),  # causal masks
    ),
)
