"""Gemma 2 and the text part of Gemma 3: norms stored minus 1, norms after each sublayer too,
scaled embeddings, alternating windows, soft-capped scores (2) or normed q and k (3).

It must not know files.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onesec.core.errors import UnsupportedModel
from onesec.model.config import ModelConfig, Rope
from onesec.model.jsonfile import Fields
from onesec.model.tensor import Tensor, bfloat16_bits

from . import gguf_common, hf_common, rope
from .base import Architecture, GGUFHeader, Layout, Sources, layer_configs

_DEFAULTS = {  # of the families' own configuration classes: files leave these keys out
    "gemma2": {
        "vocab_size": 256000,
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "intermediate_size": 9216,
    },
    "gemma3": {
        "vocab_size": 262208,
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "intermediate_size": 9216,
    },
}
_LAST_SCALED_BY_HIDDEN = {"gemma2": 46, "gemma3": 62}  # layers of the 27B models


def embedding_scale(hidden: int, dtype: str) -> float:
    """sqrt(hidden), rounded as the weights are: transformers multiplies in their dtype."""
    exact = np.float32(math.sqrt(hidden))
    if dtype == "f16":
        return float(np.float16(exact))
    if dtype == "bf16":
        return float(Tensor("", "bf16", (), bfloat16_bits(exact)).float32())
    return float(exact)


def _config(name: str, dtype: str, positions: int, **values: Any) -> ModelConfig:
    windows: tuple[int, ...] = values.pop("windows")
    gemma3 = name == "gemma3"
    return ModelConfig(
        architecture=name,
        context_length=positions,
        layers=layer_configs(
            windows, positions, tuple(int(w > 0) for w in windows) if gemma3 else None
        ),
        embedding_scale=embedding_scale(values["hidden_size"], dtype),
        qk_norm=gemma3,
        post_norms=True,
        **values,
    )


def _ropes_gemma3(fields: Fields, head_dim: int, positions: int) -> tuple[Rope, Rope]:
    """For full layers, for sliding ones."""
    params = fields.inner("rope_parameters")
    full, sliding = fields.inner("rope_scaling"), None
    if params is not None:
        full, sliding = params.inner("full_attention"), params.inner("sliding_attention")
    local = fields.number("rope_local_base_freq", 1e4, low=1.001, high=rope.MAX_THETA)
    inside = Fields(fields.path, {})
    return (
        rope.from_fields(full, fields, theta=1e6, head_dim=head_dim, positions=positions),
        rope.from_fields(sliding, inside, theta=local, head_dim=head_dim, positions=positions),
    )


def _from_hf(name: str, fields: Fields, dtype: str) -> ModelConfig:
    inner = fields.inner("text_config")
    if inner is not None:  # a checkpoint that can also see: its text part, with the common ids
        ids = {key: fields.raw(key) for key in ("bos_token_id", "eos_token_id")}
        # The head belongs to the whole model, so its word on tying is the one that counts.
        tied = {key: fields.raw(key) for key in ("tie_word_embeddings",) if fields.has(key)}
        fields = Fields(fields.path, {**ids, **inner.values, **tied})
    hf_common.refuse_flags(fields, use_bidirectional_attention=False, attention_bias=False)
    sizes = hf_common.decoder_sizes(fields, tied=True, **_DEFAULTS[name])
    layers, head_dim = sizes["num_layers"], sizes["head_dim"]
    positions = hf_common.positions(fields, default=8192 if name == "gemma2" else 131072)
    window = hf_common.sliding_window(fields, 4096)
    scalar = fields.number("query_pre_attn_scalar", 256.0, low=1e-3, high=1e6)
    if name == "gemma2":
        params = fields.inner("rope_parameters") or fields.inner("rope_scaling")
        ropes: tuple[Rope, ...] = (
            rope.from_fields(params, fields, theta=1e4, head_dim=head_dim, positions=positions),
        )
        period, caps = 2, (50.0, 30.0)
    else:
        ropes = _ropes_gemma3(fields, head_dim, positions)
        period, caps = 6, (0.0, 0.0)
        for key in ("sliding_window_pattern", "_sliding_window_pattern"):
            period = fields.integer(key, period, low=1, high=1 << 16)
    return _config(
        name,
        dtype,
        positions,
        windows=hf_common.layer_windows(
            fields, window, tuple((i + 1) % period != 0 for i in range(layers))
        ),
        ropes=ropes,
        activation=hf_common.activation(fields, "hidden_activation", "gelu_pytorch_tanh"),
        attention_scale=scalar**-0.5,
        attention_softcap=_softcap(fields, "attn_logit_softcapping", caps[0]),
        final_softcap=_softcap(fields, "final_logit_softcapping", caps[1]),
        **sizes,
    )


def _softcap(fields: Fields, key: str, default: float) -> float:
    """A cap; where the file says null it means none, where it says nothing the family's own."""
    if key in fields and not fields.has(key):
        return 0.0
    return fields.number(key, default, low=0.0, high=1e6)


def _from_gguf(name: str, header: GGUFHeader) -> ModelConfig:
    fields, sizes = header.fields, gguf_common.decoder_sizes(header)
    layers, head_dim = sizes["num_layers"], sizes["head_dim"]
    gemma3 = name == "gemma3"
    if isinstance(fields.raw("attention.sliding_window_pattern"), list):
        raise UnsupportedModel(
            f"{fields.path}: windows listed layer by layer are not supported.",
            hint="Convert the checkpoint again, or use its Hugging Face folder.",
        )
    period = fields.integer(
        "attention.sliding_window_pattern", 6 if gemma3 else 2, low=1, high=1 << 16
    )
    window = fields.integer("attention.sliding_window", 4096, low=1, high=1 << 24)
    ropes = [gguf_common.scaled_rope(header, head_dim, default_theta=1e6 if gemma3 else 1e4)]
    if gemma3:
        local = gguf_common.theta(fields, 1e4, "rope.freq_base_swa")
        ropes.append(rope.plain(local, gguf_common.rotary_dim(fields, head_dim)))
    # GGUF does not store query_pre_attn_scalar; it is head_dim but in the largest models.
    scalar = head_dim
    if layers == _LAST_SCALED_BY_HIDDEN[name]:
        scalar = sizes["hidden_size"] // sizes["num_heads"]
    caps = (0.0, 0.0) if gemma3 else (50.0, 30.0)
    return _config(
        name,
        header.weights_dtype,
        gguf_common.positions(fields),
        windows=tuple(window if (i + 1) % period else 0 for i in range(layers)),
        ropes=tuple(ropes),
        norm_eps=gguf_common.rms_eps(fields),
        activation="gelu_tanh",
        attention_scale=scalar**-0.5,
        attention_softcap=_softcap(fields, "attn_logit_softcapping", caps[0]),
        final_softcap=_softcap(fields, "final_logit_softcapping", caps[1]),
        **sizes,
    )


_LAYER = "{p}layers.{i}."
_HF_VECTORS: dict[str, Sources] = {
    "layers.{i}.attn_norm": ((f"{_LAYER}input_layernorm.weight",),),
    "layers.{i}.post_attn_norm": ((f"{_LAYER}post_attention_layernorm.weight",),),
    "layers.{i}.ffn_norm": ((f"{_LAYER}pre_feedforward_layernorm.weight",),),
    "layers.{i}.post_ffn_norm": ((f"{_LAYER}post_feedforward_layernorm.weight",),),
    "final_norm": (("{p}norm.weight",),),
}
_HEAD_OF_TEXT_PART: dict[str, Sources] = {  # which checkpoints that can also see may have
    "embed": (*hf_common.MATRICES["embed"], ("language_model.lm_head.weight",)),
    "head": (*hf_common.MATRICES["head"], ("language_model.lm_head.weight",)),
}
_GGUF_VECTORS: dict[str, Sources] = {
    **gguf_common.VECTORS,
    "layers.{i}.post_attn_norm": (("blk.{i}.post_attention_norm.weight",),),
    "layers.{i}.post_ffn_norm": (("blk.{i}.post_ffw_norm.weight",),),
}

GEMMA2 = Architecture(
    name="gemma2",
    from_hf=lambda fields, dtype: _from_hf("gemma2", fields, dtype),
    hf_layout=Layout(
        matrices=hf_common.MATRICES,
        vectors=_HF_VECTORS,
        prefixes=hf_common.PREFIXES,
        ignored=hf_common.IGNORED,
        optional=hf_common.BIASES,  # GPTQ writers store a bias (zeros) for every layer
        norm_offset=1.0,
    ),
    from_gguf=lambda header: _from_gguf("gemma2", header),
    gguf_layout=Layout(
        matrices=gguf_common.MATRICES, vectors=_GGUF_VECTORS, ignored=gguf_common.IGNORED
    ),
)
GEMMA3 = Architecture(
    name="gemma3",
    from_hf=lambda fields, dtype: _from_hf("gemma3", fields, dtype),
    hf_layout=Layout(
        matrices={**hf_common.MATRICES, **_HEAD_OF_TEXT_PART},
        vectors={**_HF_VECTORS, **hf_common.QK_NORMS},
        prefixes=("model.", "language_model.model.", "model.language_model.", ""),
        ignored=hf_common.IGNORED,
        optional=hf_common.BIASES,
        norm_offset=1.0,
    ),
    from_gguf=lambda header: _from_gguf("gemma3", header),
    gguf_layout=Layout(
        matrices=gguf_common.MATRICES,
        vectors={**_GGUF_VECTORS, **gguf_common.QK_NORMS},
        ignored=gguf_common.IGNORED,
    ),
)
