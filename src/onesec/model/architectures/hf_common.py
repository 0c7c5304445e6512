"""What most families' config.json and tensor names have in common.

It must not know a single family's exceptions: those are in the family's own file.
"""

from __future__ import annotations

from typing import Any

from onesec.core.errors import UnsupportedModel
from onesec.model.jsonfile import Fields

from .base import MAX_CONTEXT, Sources

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
MAX_LAYERS = 1024
MAX_WIDTH = 1 << 20
MAX_VOCAB = 1 << 22
MAX_HEADS = 1 << 12


def activation(fields: Fields, key: str, default: str) -> str:
    """The FFN's activation in ModelConfig's words; UnsupportedModel for any other."""
    name = fields.text(key, default)
    if name not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{fields.path}: the activation {name[:40]!r} is not supported.",
            hint=f"Supported: {', '.join(sorted(ACTIVATIONS))}.",
        )
    return ACTIVATIONS[name]


def refuse_flags(fields: Fields, **wanted: bool) -> None:
    """UnsupportedModel if a flag is there and differs from the value that this version runs."""
    for key, value in wanted.items():
        if fields.flag(key, value) != value:
            raise UnsupportedModel(
                f"{fields.path}: {key} = {str(not value).lower()} is not supported.",
                hint="Choose a checkpoint of a plain text decoder.",
            )


def check_heads(fields: Fields, heads: int, kv_heads: int) -> None:
    """CorruptFile unless the query heads divide evenly among the key-value heads."""
    if heads % kv_heads:
        fields.fail("num_key_value_heads", f"is {kv_heads}, which does not divide {heads} heads")


def decoder_sizes(fields: Fields, *, tied: bool, **defaults: int) -> dict[str, Any]:
    """Keyword arguments of ModelConfig that the llama-like families spell alike.

    `defaults` are the family's, for keys that its own library leaves out of the file.
    """

    def size(key: str, high: int) -> int:
        return fields.integer(key, defaults.get(key), low=1, high=high)

    hidden, heads = size("hidden_size", MAX_WIDTH), size("num_attention_heads", MAX_HEADS)
    kv_heads = fields.integer(
        "num_key_value_heads", defaults.get("num_key_value_heads", heads), low=1, high=MAX_HEADS
    )
    check_heads(fields, heads, kv_heads)
    if not fields.has("head_dim") and "head_dim" not in defaults and hidden % heads:
        fields.fail("hidden_size", f"is {hidden}, not a multiple of {heads} heads")
    vocab = size("vocab_size", MAX_VOCAB)
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_layers": size("num_hidden_layers", MAX_LAYERS),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": fields.integer(
            "head_dim", defaults.get("head_dim", hidden // heads), low=1, high=4096
        ),
        "intermediate_size": size("intermediate_size", MAX_WIDTH),
        "norm_eps": fields.number("rms_norm_eps", 1e-6, low=0.0, high=1.0),
        "tie_embeddings": fields.flag("tie_word_embeddings", tied),
        **special_ids(fields, vocab),
    }


def special_ids(fields: Fields, vocab: int) -> dict[str, Any]:
    """bos_id and eos_ids; ids outside the vocabulary (tiny test models have some) are left out."""
    bos = fields.ids("bos_token_id", below=vocab)
    return {"bos_id": bos[0] if bos else None, "eos_ids": fields.ids("eos_token_id", below=vocab)}


def positions(fields: Fields, key: str = "max_position_embeddings", **default: int) -> int:
    """How many positions the model has."""
    return fields.integer(key, default.get("default"), low=1, high=MAX_CONTEXT)


def layer_windows(
    fields: Fields, window: int, default: tuple[bool, ...], key: str = "layer_types"
) -> tuple[int, ...]:
    """Window a layer (0 = all): from `layer_types` where the file has it, else where `default`."""
    if not fields.has(key):
        return tuple(window if sliding else 0 for sliding in default)
    kinds = fields.texts(key, count=len(default))
    for kind in kinds:
        if kind not in ("sliding_attention", "full_attention"):
            raise UnsupportedModel(
                f"{fields.path}: layers of the type {kind[:40]!r} are not supported.",
                hint="Supported: full_attention and sliding_attention.",
            )
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)


def sliding_window(fields: Fields, default: int = 0) -> int:
    """`sliding_window` in tokens, the current one included; `default` where the file has none."""
    return fields.integer("sliding_window", default, low=1, high=MAX_CONTEXT)


PREFIXES = ("model.", "")
IGNORED = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq")
_ATTENTION = "{p}layers.{i}.self_attn."
_FFN = "{p}layers.{i}.mlp."

MATRICES: dict[str, Sources] = {
    # Tied checkpoints may hold the shared matrix under either name.
    "embed": (("{p}embed_tokens.weight",), ("lm_head.weight",)),
    "layers.{i}.qkv": (tuple(f"{_ATTENTION}{x}_proj.weight" for x in "qkv"),),
    "layers.{i}.o": ((f"{_ATTENTION}o_proj.weight",),),
    "layers.{i}.gate_up": ((f"{_FFN}gate_proj.weight", f"{_FFN}up_proj.weight"),),
    "layers.{i}.down": ((f"{_FFN}down_proj.weight",),),
    "head": (("lm_head.weight",),),
}
VECTORS: dict[str, Sources] = {
    "layers.{i}.attn_norm": (("{p}layers.{i}.input_layernorm.weight",),),
    "layers.{i}.ffn_norm": (("{p}layers.{i}.post_attention_layernorm.weight",),),
    "final_norm": (("{p}norm.weight",),),
}
QKV_BIAS: dict[str, Sources] = {
    "layers.{i}.qkv_bias": (tuple(f"{_ATTENTION}{x}_proj.bias" for x in "qkv"),)
}
BIASES: dict[str, Sources] = {
    **QKV_BIAS,
    "layers.{i}.o_bias": ((f"{_ATTENTION}o_proj.bias",),),
    "layers.{i}.gate_up_bias": ((f"{_FFN}gate_proj.bias", f"{_FFN}up_proj.bias"),),
    "layers.{i}.down_bias": ((f"{_FFN}down_proj.bias",),),
    "head_bias": (("lm_head.bias",),),
}
QK_NORMS: dict[str, Sources] = {
    f"layers.{{i}}.{x}_norm": ((f"{_ATTENTION}{x}_norm.weight",),) for x in "qk"
}
