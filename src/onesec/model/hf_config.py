"""ModelConfig to a Hugging Face config.json, checked by reading it back.

It must not know weights or GGUF. A checkpoint that has a config.json of its own keeps that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from onesec.core.errors import UnsupportedModel

from .architectures import HF_ARCHITECTURES
from .architectures.rope import factors_of, plain_of
from .config import ModelConfig
from .config_same import differing
from .gguf_keys import gguf_keys
from .jsonfile import Fields

_TYPES = {  # family -> model_type and class
    "llama": ("llama", "LlamaForCausalLM"),
    "mistral": ("mistral", "MistralForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
}
_ACTIVATIONS = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh", "gelu": "gelu", "relu": "relu"}
# What a config.json says of biases, by family: those of the "" need no word.
_BIASES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "llama": {
        "attention_bias": frozenset({"qkv_bias", "o_bias"}),
        "mlp_bias": frozenset({"gate_up_bias", "down_bias"}),
    },
    "qwen2": {"": frozenset({"qkv_bias"})},
    "qwen3": {"attention_bias": frozenset({"qkv_bias", "o_bias"})},
}
_THETA = 10000.0
_FOLDER_HINT = (
    "Export from the Hugging Face folder that the model came from, to compressed-tensors."
)


def hf_config(
    config: ModelConfig, path: Path, biases: Collection[str] = frozenset()
) -> dict[str, Any]:
    """The values of a config.json; errors name `path`. `biases`: kinds that are not all zeros, such
    as "qkv_bias".

    Raises UnsupportedModel for families that are not written, and for models of which a config.json
    of their family cannot say everything: what is read back must be this config again.

    >>> hf_config(config, Path("out"))["model_type"]  # doctest: +SKIP
    'llama'
    """
    if config.architecture not in _TYPES:
        raise UnsupportedModel(
            f"{path}: models of the type {config.architecture} are not written in this format.",
            hint="Export them to GGUF." if _in_gguf(config, path, biases) else _FOLDER_HINT,
        )
    values = {**_common(config), **_windows(config), **_rotary(config)}
    known = _BIASES.get(config.architecture, {})
    values |= {flag: True for flag, kinds in known.items() if flag and kinds & set(biases)}
    if config.architecture.startswith("gemma"):
        values |= {
            "query_pre_attn_scalar": _scalar(config.attention_scale),
            "attn_logit_softcapping": config.attention_softcap or None,
            "final_logit_softcapping": config.final_softcap or None,
        }
    architecture = HF_ARCHITECTURES[values["model_type"]]
    odd = differing(config, architecture.from_hf(Fields(path, values), "f32"))
    odd += sorted(set(biases).difference(*known.values()))
    if odd:
        raise UnsupportedModel(
            f"{path}: a config.json of the type {values['model_type']} that is made anew cannot "
            f"say this model's {', '.join(odd)}.",
            hint=_FOLDER_HINT + (" Or to GGUF." if _in_gguf(config, path, biases) else ""),
        )
    return values


def _in_gguf(config: ModelConfig, path: Path, biases: Collection[str]) -> bool:
    """Whether GGUF can say the model, and has a place for the biases."""
    try:
        layout = gguf_keys(config, path).architecture.gguf_layout
    except UnsupportedModel:
        return False
    assert layout is not None  # gguf_keys refuses families without one
    places = {name.rpartition(".")[2] for name in (*layout.optional, *layout.vectors)}
    return places.issuperset(biases)


def _common(config: ModelConfig) -> dict[str, Any]:
    kind, name = _TYPES[config.architecture]
    gemma = config.architecture.startswith("gemma")
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_context,
        "rms_norm_eps": config.norm_eps,
        "hidden_activation" if gemma else "hidden_act": _ACTIVATIONS[config.activation],
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_id,
        "eos_token_id": list(config.eos_ids) if config.eos_ids else None,
        "torch_dtype": "float32",
    }


def _scalar(attention_scale: float) -> float:
    """What attention_scale is the inverse square root of; an int where it is whole: transformers
    opens no other."""
    whole = round(attention_scale**-2)
    exact = whole > 0 and whole**-0.5 == attention_scale
    return whole if exact else attention_scale**-2


def _windows(config: ModelConfig) -> dict[str, Any]:
    windows = [layer.window for layer in config.layers]
    kinds = ["sliding_attention" if window else "full_attention" for window in windows]
    values: dict[str, Any] = {"sliding_window": max(windows, default=0) or None}
    if config.architecture.startswith(("qwen", "gemma")):
        values["layer_types"] = kinds
    if config.architecture.startswith("qwen"):
        values["use_sliding_window"] = any(windows)
    return values


def _rotary(config: ModelConfig) -> dict[str, Any]:
    rope = config.ropes[0]
    values: dict[str, Any] = {}
    dim = 2 * len(rope.inv_freq)
    if dim != config.head_dim:
        values["partial_rotary_factor"] = dim / config.head_dim
    if config.long is not None:
        return values | {
            "rope_theta": _THETA,
            "original_max_position_embeddings": config.context_length,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": factors_of(rope, _THETA).tolist(),
                "long_factor": factors_of(config.long.ropes[0], _THETA).tolist(),
                "attention_factor": rope.attention_factor,
            },
        }
    values["rope_theta"], factor = plain_of(rope) or (_THETA, 1.0)
    if factor != 1.0:
        values["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    if len(config.ropes) > 1:
        local = plain_of(config.ropes[1])
        values["rope_local_base_freq"] = local[0] if local else _THETA
    return values
