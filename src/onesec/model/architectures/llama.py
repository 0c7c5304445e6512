"""Llama 2 and 3.x (and what shares their form: SmolLM2, TinyLlama), and Mistral.

It must not know files. In GGUF both are called llama, with q and k rows interleaved.
"""

from __future__ import annotations

from onesec.model.config import ModelConfig
from onesec.model.jsonfile import Fields

from . import gguf_common, hf_common
from .base import Architecture, GGUFHeader, Layout, layer_configs
from .rope import from_fields, stretched_positions


def _from_hf(name: str, fields: Fields) -> ModelConfig:
    sizes = hf_common.decoder_sizes(fields, tied=False)
    positions = hf_common.positions(fields, default=2048 if name == "llama" else 131072)
    window = 0
    if name == "mistral":  # in its library a missing key means 4096, and null no window
        window = hf_common.sliding_window(fields, 0 if "sliding_window" in fields else 4096)
    params = fields.inner("rope_parameters") or fields.inner("rope_scaling")
    head_dim = sizes["head_dim"]
    context = stretched_positions(params, fields, positions)
    return ModelConfig(
        architecture=name,
        context_length=context,
        activation=hf_common.activation(fields, "hidden_act", "silu"),
        ropes=(from_fields(params, fields, theta=1e4, head_dim=head_dim, positions=positions),),
        layers=layer_configs((window,) * sizes["num_layers"], context),
        attention_scale=head_dim**-0.5,
        **sizes,
    )


def _from_gguf(header: GGUFHeader) -> ModelConfig:
    sizes = gguf_common.decoder_sizes(header)
    positions = gguf_common.positions(header.fields)
    return ModelConfig(
        architecture="llama",
        context_length=positions,
        norm_eps=gguf_common.rms_eps(header.fields),
        ropes=(gguf_common.scaled_rope(header, sizes["head_dim"]),),
        layers=layer_configs((0,) * sizes["num_layers"], positions),
        attention_scale=sizes["head_dim"] ** -0.5,
        **sizes,
    )


_HF = Layout(
    matrices=hf_common.MATRICES,
    vectors=hf_common.VECTORS,
    optional=hf_common.BIASES,
    prefixes=hf_common.PREFIXES,
    ignored=hf_common.IGNORED,
)

LLAMA = Architecture(
    name="llama",
    from_hf=lambda fields, _: _from_hf("llama", fields),
    hf_layout=_HF,
    from_gguf=_from_gguf,
    gguf_layout=Layout(
        matrices=gguf_common.MATRICES,
        vectors=gguf_common.VECTORS,
        optional=gguf_common.BIASES,
        ignored=gguf_common.IGNORED,
        interleaved_qk=True,
    ),
)
MISTRAL = Architecture(
    name="mistral",
    from_hf=lambda fields, _: _from_hf("mistral", fields),
    hf_layout=_HF,
)
