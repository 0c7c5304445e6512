"""A small converter from the golden Hugging Face folders to GGUF, by the gguf package's writer.

Written from llama.cpp's naming rules, and without any code of the readers that it tests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors import deserialize

_RENAMES = (
    (r"model\.embed_tokens|(?:transformer\.)?wte", "token_embd"),
    (r"(?:transformer\.)?wpe", "position_embd"),
    (r"model\.norm|(?:transformer\.)?ln_f", "output_norm"),
    (r"lm_head", "output"),
    (r"(?:model\.layers|(?:transformer\.)?h)\.(\d+)\.", r"blk.\1."),
    (r"self_attn\.([qkv])_proj|self_attn\.(qkv)_proj", r"attn_\1\2"),
    (r"self_attn\.o_proj|attn\.c_proj", "attn_output"),
    (r"self_attn\.([qk])_norm", r"attn_\1_norm"),
    (r"attn\.c_attn", "attn_qkv"),
    (r"mlp\.gate_up_proj|mlp\.up_proj|mlp\.c_fc", "ffn_up"),
    (r"mlp\.gate_proj", "ffn_gate"),
    (r"mlp\.(?:down_proj|c_proj)", "ffn_down"),
    (r"input_layernorm|ln_1", "attn_norm"),
    (r"pre_feedforward_layernorm|ln_2", "ffn_norm"),
    (r"post_feedforward_layernorm", "post_ffw_norm"),
)


def _rename(name: str, architecture: str) -> str:
    after = "post_attention_norm" if architecture.startswith("gemma") else "ffn_norm"
    name = re.sub("post_attention_layernorm", after, name)
    for pattern, new in _RENAMES:
        name = re.sub(pattern, new, name)
    return name


def _load(file: Path) -> dict[str, npt.NDArray[Any]]:
    """All tensors; bf16, which numpy has not, as float32."""
    tensors = {}
    for name, entry in deserialize(file.read_bytes()):
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(entry["data"], np.uint16).astype(np.uint32) << 16
            array = bits.view(np.float32)
        else:
            dtype = {"F32": np.float32, "F16": np.float16}[entry["dtype"]]
            array = np.frombuffer(entry["data"], dtype)
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def _interleave(weight: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Rotary pairs (i, i + half) of each head -> neighbouring rows, as llama.cpp stores them."""
    half = weight.shape[0] // heads // 2
    order = [h * 2 * half + j * half + i for h in range(heads) for i in range(half) for j in (0, 1)]
    return weight[order]


def _llama3_factors(config: dict[str, Any], dim: int) -> npt.NDArray[np.float32] | None:
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if scaling.get("rope_type") != "llama3":
        return None
    theta = scaling.get("rope_theta", config.get("rope_theta"))
    factor, old = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for j in range(dim // 2):
        wavelength = 2 * np.pi * theta ** (2 * j / dim)
        if wavelength < old / high:
            factors.append(1.0)
        elif wavelength > old / low:
            factors.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def convert(folder: Path, out: Path, *, quant: gguf.GGMLQuantizationType | None = None) -> None:
    """Write the folder's model as GGUF; matrices quantised to `quant` where it is given."""
    config = json.loads((folder / "config.json").read_text())
    kind = config["model_type"]
    architecture = {"mistral": "llama", "gemma3_text": "gemma3"}.get(kind, kind)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= _load(file)
    writer = gguf.GGUFWriter(out, architecture)
    if kind == "gpt2":
        heads = kv_heads = config["n_head"]
        hidden, ffn = config["n_embd"], config["n_inner"] or 4 * config["n_embd"]
        writer.add_context_length(config["n_positions"])
        writer.add_block_count(config["n_layer"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        kv_heads, ffn = config.get("num_key_value_heads") or heads, config["intermediate_size"]
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        head_dim = config.get("head_dim") or hidden // heads
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        _write_rope(writer, config, head_dim)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, weight in tensors.items():
        if re.search(r"inv_freq$|\.attn\.(masked_)?bias$", name):
            continue
        if name == "lm_head.weight" and "model.embed_tokens.weight" not in tensors:
            name = "model.embed_tokens.weight"  # tied, stored once under the head's name
        elif name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        stored = _rename(name, architecture)
        if kind == "gpt2" and weight.ndim == 2 and stored.startswith("blk."):
            weight = weight.T
        if architecture == "llama" and re.search(r"attn_[qk]\.", stored):
            weight = _interleave(weight, heads if "attn_q." in stored else kv_heads)
        if architecture.startswith("gemma") and "norm" in stored:
            weight = weight + 1
        weight = np.ascontiguousarray(weight)
        if quant is not None and weight.ndim == 2 and "position" not in stored:
            writer.add_tensor(stored, gguf.quants.quantize(weight, quant), raw_dtype=quant)
        else:
            writer.add_tensor(stored, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_rope(writer: gguf.GGUFWriter, config: dict[str, Any], head_dim: int) -> None:
    params = config.get("rope_parameters") or config.get("rope_scaling") or {}
    full = params.get("full_attention", params)
    writer.add_rope_freq_base(full.get("rope_theta") or config.get("rope_theta") or 1e4)
    partial = params.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    writer.add_rope_dimension_count(int(head_dim * partial))
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        writer.add_sliding_window(config["sliding_window"])
    if config.get("sliding_window_pattern"):
        writer.add_sliding_window_pattern(config["sliding_window_pattern"])
    kind = full.get("rope_type") or full.get("type")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
    factors = _llama3_factors(config, head_dim)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    if kind in ("longrope", "su"):
        original = full.get("original_max_position_embeddings") or config.get(
            "original_max_position_embeddings"
        )
        writer.add_rope_scaling_orig_ctx_len(original)
        for which in ("long", "short"):
            values = np.array(full[f"{which}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{which}.weight", values)
    for key, add in (
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
    ):
        if config.get(key):
            add(config[key])
