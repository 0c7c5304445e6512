"""Tiny checkpoints with random weights, as the Hub has them, and what transformers says of them.

It needs torch and transformers, and must not know the package under test.
The configs are plain dictionaries in the wording of published checkpoints (`rope_theta` and
`rope_scaling` rather than the newer `rope_parameters`, which one of them uses on purpose). Weights
are strong enough that windows, rotary scaling, caps and biases each move the logits well beyond
the tolerance; norm weights and biases are never 1 or 0.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A checkpoint to make: its config.json, how its tensors are stored, and in how many files."""

    config: dict[str, Any]
    stored: str = "F32"
    shards: int = 1
    qk_gain: float = 1.2  # spread of q and k; less where the model does not scale q·k
    strip_prefix: str = ""  # taken off every tensor name, as the published GPT-2 has it
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)  # leftovers readers must ignore

    @property
    def vocab_size(self) -> int:
        return int(self.config["vocab_size"])


def _llama(**changes: Any) -> dict[str, Any]:
    """A Llama-shaped config.json; GQA 4:2, 2 layers, tied, unless `changes` say otherwise."""
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 160,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return config | changes


def _as(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    return _llama(architectures=[architecture], model_type=model_type, **changes)


def _without(config: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}


LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
QWEN2 = _as("Qwen2ForCausalLM", "qwen2", rms_norm_eps=1e-6, rope_theta=1e6, eos_token_id=[2, 3])
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 160,
    "n_embd": 64,
    "n_head": 4,
    "n_layer": 2,
    "n_inner": 96,
    "n_positions": 128,
    "n_ctx": 128,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT_NEO = {
    "architectures": ["GPTNeoForCausalLM"],
    "model_type": "gpt_neo",
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "num_layers": 2,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 8,
    "max_position_embeddings": 128,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA2 = _as(
    "Gemma2ForCausalLM",
    "gemma2",
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=48,
    rms_norm_eps=1e-6,
    hidden_activation="gelu_pytorch_tanh",
    sliding_window=16,
    query_pre_attn_scalar=32,
    attn_logit_softcapping=5.0,
    final_logit_softcapping=1.0,
    bos_token_id=2,
    eos_token_id=1,
    pad_token_id=0,
)
GEMMA3 = _as(
    "Gemma3ForCausalLM",
    "gemma3_text",
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    rms_norm_eps=1e-6,
    hidden_activation="gelu_pytorch_tanh",
    sliding_window=16,
    sliding_window_pattern=3,
    query_pre_attn_scalar=24,
    rope_theta=1e6,
    rope_local_base_freq=10000.0,
    bos_token_id=2,
    eos_token_id=1,
    pad_token_id=0,
)
PHI3 = _as(
    "Phi3ForCausalLM",
    "phi3",
    tie_word_embeddings=False,
    sliding_window=24,
    original_max_position_embeddings=128,
    rope_scaling=None,
    pad_token_id=2,
)


def _longrope(original: int) -> dict[str, Any]:
    """As Phi-4-mini: 12 of 16 dimensions turn; transformers takes the long factors beyond
    `original` positions."""
    return _as(
        "Phi3ForCausalLM",
        "phi3",
        tie_word_embeddings=False,
        sliding_window=None,
        partial_rotary_factor=0.75,
        original_max_position_embeddings=original,
        rope_scaling={
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5],
            "long_factor": [1.2, 2.0, 4.0, 8.0, 13.0, 20.0],
        },
        pad_token_id=2,
    )


GOLDEN: dict[str, Tiny] = {
    "llama2": Tiny(
        config=_llama(num_key_value_heads=4, tie_word_embeddings=False, intermediate_size=64),
        stored="F16",
        buffers={"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)},
    ),
    "llama3": Tiny(config=_llama(rope_theta=500000.0, rope_scaling=LLAMA3_SCALING), stored="F16"),
    "llama-tied": Tiny(
        config=_without(_llama(num_hidden_layers=3), "rope_theta")
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}},
        stored="BF16",
    ),
    "mistral": Tiny(
        config=_as("MistralForCausalLM", "mistral", sliding_window=16, tie_word_embeddings=False),
        stored="F16",
    ),
    "qwen2": Tiny(config=QWEN2),
    "qwen2-bf16": Tiny(config=QWEN2 | {"torch_dtype": "bfloat16"}, stored="BF16"),
    "qwen3": Tiny(
        config=_as("Qwen3ForCausalLM", "qwen3", head_dim=32, rms_norm_eps=1e-6, rope_theta=1e6),
        stored="F16",
    ),
    "gpt2": Tiny(config=GPT2, stored="F16", strip_prefix="transformer."),
    "gpt_neo": Tiny(
        config=GPT_NEO,
        qk_gain=0.64,
        buffers={
            "transformer.h.0.attn.attention.bias": torch.ones(1, 1, 32, 32, dtype=torch.bool),
            "transformer.h.0.attn.attention.masked_bias": torch.tensor(-1e9),
        },
    ),
    "gemma2": Tiny(config=GEMMA2, stored="BF16"),
    "gemma3": Tiny(config=GEMMA3, stored="BF16"),
    "phi3": Tiny(config=PHI3, stored="BF16"),
    # All that a fixture computes has 16 to 80 tokens: here within the original context, there not.
    "phi3-short": Tiny(config=_longrope(96), stored="BF16"),
    "phi3-long": Tiny(config=_longrope(12), stored="BF16"),
    "llama-sharded": Tiny(
        config=_llama(
            hidden_size=96, intermediate_size=160, num_attention_heads=6, tie_word_embeddings=False
        ),
        stored="BF16",
        shards=3,
    ),
}


def _random_value(
    name: str, shape: torch.Size, tiny: Tiny, generator: torch.Generator
) -> torch.Tensor:
    """A random tensor whose spread suits its role, by name; float32."""
    normal = torch.randn(shape, generator=generator)
    if "norm" in name or ".ln_" in name:
        if name.endswith("bias"):
            return normal * 0.1
        centre = 0.0 if tiny.config["model_type"].startswith("gemma") else 1.0
        return torch.rand(shape, generator=generator) + (centre - 0.5)
    if name.endswith("bias"):
        return normal * 0.3
    if "wpe" in name:
        return normal * 0.15
    if "embed" in name or "wte" in name or "lm_head" in name:
        # Gemma multiplies by sqrt(hidden) and ties: more would drown the layers and echo the input.
        return normal * (0.05 if tiny.config["model_type"].startswith("gemma") else 0.2)
    # Conv1D of GPT-2 stores [in, out]; everything else [out, in].
    conv = tiny.config["model_type"] == "gpt2"
    fan_in = shape[0] if conv else shape[1]
    queries = any(part in name for part in ("q_proj", "k_proj", "c_attn", "qkv_proj"))
    return normal * ((tiny.qk_gain if queries else 1.2) / math.sqrt(fan_in))


def write_checkpoint(tiny: Tiny, folder: Path, *, seed: int) -> None:
    """Write config.json and the safetensors file or shards of `tiny` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(tiny.config, indent=1) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, parameter in sorted(model.named_parameters()):  # a tied head is named once
        value = _random_value(name, parameter.shape, tiny, generator)
        tensors[name.removeprefix(tiny.strip_prefix)] = value.to(DTYPES[tiny.stored])
    tensors.update(tiny.buffers)
    _write_tensors(tensors, folder, tiny.shards)


def _write_tensors(tensors: dict[str, torch.Tensor], folder: Path, shards: int) -> None:
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata)
        return
    names = sorted(tensors)
    files = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]  # interleaved: a layer's tensors lie in different files
        save_file({name: tensors[name] for name in part}, folder / file, metadata)
        files.update(dict.fromkeys(part, file))
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def _round_to_8_bit(x: torch.Tensor) -> torch.Tensor:
    groups = x.unflatten(-1, (-1, 32))
    scale = (groups.abs().amax(dim=-1, keepdim=True) / 127.0).half().float().clamp(min=1e-12)
    return ((groups / scale).round() * scale).flatten(-2)


class Reference:
    """transformers' answer for a folder: float32 throughout, eager attention, no cache."""

    def __init__(self, folder: Path) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def round_to_8_bit(self) -> None:
        """From now on every linear layer rounds its weights and inputs to 8 bits: symmetric, groups
        of 32 along the input, one 16-bit scale each, as plain 8-bit formats do."""
        for module in self._model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data = _round_to_8_bit(module.weight.data)
                module.register_forward_pre_hook(lambda _, inputs: (_round_to_8_bit(inputs[0]),))

    @torch.no_grad()
    def logits(self, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """float32 [n, vocab] after each of the n tokens (int32 [n])."""
        ids = torch.from_numpy(tokens.astype(np.int64))[None]
        return self._model(input_ids=ids, use_cache=False).logits[0].float().numpy()

    def greedy(
        self, prompt: npt.NDArray[np.int32], count: int
    ) -> tuple[npt.NDArray[np.int32], float]:
        """The `count` tokens (int32) that follow greedily, end tokens included, and the smallest
        distance between the best and the second-best logit on the way."""
        tokens, gap = prompt, math.inf
        for _ in range(count):
            last = self.logits(tokens)[-1]
            second, best = np.partition(last, -2)[-2:]
            gap = min(gap, float(best - second))
            tokens = np.append(tokens, np.int32(last.argmax()))
        return tokens[len(prompt) :].astype(np.int32), gap
