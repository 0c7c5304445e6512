"""Qwen2 (and 2.5): biases on q, k, v. Qwen3: RMS norms of each q and k head instead.

It must not know files.
"""

from __future__ import annotations

from onesec.model.config import ModelConfig
from onesec.model.jsonfile import Fields

from . import gguf_common, hf_common
from .base import Architecture, GGUFHeader, Layout, layer_configs
from .rope import from_fields, stretched_positions


def _from_hf(name: str, fields: Fields) -> ModelConfig:
    qwen3 = name == "qwen3"
    sizes = hf_common.decoder_sizes(fields, tied=False, **({"head_dim": 128} if qwen3 else {}))
    positions = hf_common.positions(fields, default=32768)
    layers, window = sizes["num_layers"], 0
    if fields.flag("use_sliding_window", False):
        window = hf_common.sliding_window(fields, 4096)
    full = fields.integer("max_window_layers", 28, low=0, high=1 << 16)
    params = fields.inner("rope_parameters") or fields.inner("rope_scaling")
    head_dim = sizes["head_dim"]
    context = stretched_positions(params, fields, positions)
    return ModelConfig(
        architecture=name,
        context_length=context,
        activation=hf_common.activation(fields, "hidden_act", "silu"),
        ropes=(from_fields(params, fields, theta=1e4, head_dim=head_dim, positions=positions),),
        layers=layer_configs(
            hf_common.layer_windows(fields, window, tuple(i >= full for i in range(layers))),
            context,
        ),
        attention_scale=head_dim**-0.5,
        qk_norm=qwen3,
        **sizes,
    )


def _from_gguf(name: str, header: GGUFHeader) -> ModelConfig:
    sizes = gguf_common.decoder_sizes(header)
    positions = gguf_common.positions(header.fields)
    return ModelConfig(
        architecture=name,
        context_length=positions,
        norm_eps=gguf_common.rms_eps(header.fields),
        ropes=(gguf_common.scaled_rope(header, sizes["head_dim"]),),
        layers=layer_configs((0,) * sizes["num_layers"], positions),
        attention_scale=sizes["head_dim"] ** -0.5,
        qk_norm=name == "qwen3",
        **sizes,
    )


QWEN2 = Architecture(
    name="qwen2",
    from_hf=lambda fields, _: _from_hf("qwen2", fields),
    hf_layout=Layout(
        matrices=hf_common.MATRICES,
        vectors={**hf_common.VECTORS, **hf_common.QKV_BIAS},
        optional=hf_common.BIASES,  # GPTQ writers store a bias (zeros) for every layer
        prefixes=hf_common.PREFIXES,
        ignored=hf_common.IGNORED,
    ),
    from_gguf=lambda header: _from_gguf("qwen2", header),
    gguf_layout=Layout(
        matrices=gguf_common.MATRICES,
        vectors={**gguf_common.VECTORS, **gguf_common.QKV_BIAS},
        ignored=gguf_common.IGNORED,
    ),
)
QWEN3 = Architecture(
    name="qwen3",
    from_hf=lambda fields, _: _from_hf("qwen3", fields),
    hf_layout=Layout(
        matrices=hf_common.MATRICES,
        vectors={**hf_common.VECTORS, **hf_common.QK_NORMS},
        optional=hf_common.BIASES,
        prefixes=hf_common.PREFIXES,
        ignored=hf_common.IGNORED,
    ),
    from_gguf=lambda header: _from_gguf("qwen3", header),
    gguf_layout=Layout(
        matrices=gguf_common.MATRICES,
        vectors={**gguf_common.VECTORS, **gguf_common.QK_NORMS},
        optional=gguf_common.BIASES,
        ignored=gguf_common.IGNORED,
    ),
)
