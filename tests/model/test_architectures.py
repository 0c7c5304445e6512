"""config.json of every family, as published, to ModelConfig; and values that must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onesec.core.errors import CorruptFile, OneSecError, UnsupportedModel
from onesec.model.architectures import HF_ARCHITECTURES
from onesec.model.config import ModelConfig
from onesec.model.jsonfile import Fields

LLAMA31 = {  # Llama 3.1 8B
    "model_type": "llama",
    "attention_bias": False,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}
MISTRAL = {  # Mistral 7B v0.1
    "model_type": "mistral",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
QWEN25 = {  # Qwen2.5 0.5B
    "model_type": "qwen2",
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3 = QWEN25 | {  # Qwen3 0.6B
    "model_type": "qwen3",
    "head_dim": 128,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rope_scaling": None,
    "sliding_window": None,
}
GPT2 = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "layer_norm_epsilon": 1e-05,
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
}
GPT_NEO = {  # GPT-Neo 125M
    "model_type": "gpt_neo",
    "activation_function": "gelu_new",
    "attention_types": [[["global", "local"], 6]],
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "hidden_size": 768,
    "intermediate_size": None,
    "layer_norm_epsilon": 1e-05,
    "max_position_embeddings": 2048,
    "num_heads": 12,
    "num_layers": 12,
    "vocab_size": 50257,
    "window_size": 256,
}
GEMMA2 = {  # Gemma 2 2B
    "model_type": "gemma2",
    "attn_logit_softcapping": 50.0,
    "bos_token_id": 2,
    "eos_token_id": [1, 107],
    "final_logit_softcapping": 30.0,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "max_position_embeddings": 8192,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
GEMMA3 = {  # Gemma 3 1B
    "model_type": "gemma3_text",
    "attn_logit_softcapping": None,
    "bos_token_id": 2,
    "eos_token_id": [1, 106],
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "vocab_size": 262144,
}
GEMMA3_4B = {  # sees too; most keys of its text part are left to the defaults
    "model_type": "gemma3",
    "eos_token_id": [1, 106],
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {"model_type": "siglip_vision_model"},
}
PHI3 = {  # Phi-3 mini 128k, with a quarter of its heads' length
    "model_type": "phi3",
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "long_factor": [2.0 + i for i in range(48)],
        "short_factor": [1.0 + i / 48 for i in range(48)],
        "type": "longrope",
    },
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "tie_word_embeddings": False,
    "vocab_size": 32064,
}
ALL = {
    "llama3.1": LLAMA31,
    "mistral": MISTRAL,
    "qwen2.5": QWEN25,
    "qwen3": QWEN3,
    "gpt2": GPT2,
    "gpt_neo": GPT_NEO,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "gemma3-4b": GEMMA3_4B,
    "phi3": PHI3,
}


def _read(config: dict[str, Any], *, dtype: str = "bf16", **changes: Any) -> ModelConfig:
    values = {**config, **changes}
    fields = Fields(Path("config.json"), values)
    return HF_ARCHITECTURES[values["model_type"]].from_hf(fields, dtype)


def _windows(config: ModelConfig) -> list[int]:
    return [layer.window for layer in config.layers]


def test_llama() -> None:
    config = _read(LLAMA31)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (32, 8, 128)
    assert config.eos_ids == (128001, 128008, 128009)
    assert config.attention_scale == 128**-0.5
    assert not config.tie_embeddings
    plain = _read(LLAMA31, rope_scaling=None).ropes[0].inv_freq
    scaled = config.ropes[0].inv_freq
    assert len(scaled) == 64
    assert scaled[:20] == plain[:20]
    np.testing.assert_allclose(scaled[-20:], np.array(plain[-20:]) / 8, rtol=1e-6)
    assert all(p / 8 <= s <= p for s, p in zip(scaled, plain, strict=True))
    new = {k: v for k, v in LLAMA31.items() if k not in ("rope_scaling", "rope_theta")}
    new["rope_parameters"] = {**LLAMA31["rope_scaling"], "rope_theta": 500000.0}  # type: ignore[dict-item]
    assert _read(new) == config


def test_llama_linear_scaling_and_tiny_llama() -> None:
    linear = _read(LLAMA31, rope_scaling={"type": "linear", "factor": 2.0})
    plain = _read(LLAMA31, rope_scaling=None)
    np.testing.assert_allclose(linear.ropes[0].inv_freq, np.array(plain.ropes[0].inv_freq) / 2)
    dynamic = _read(LLAMA31, rope_scaling={"type": "dynamic", "factor": 2.0})
    assert dynamic.ropes == plain.ropes
    old = {k: v for k, v in LLAMA31.items() if k not in ("num_key_value_heads", "rope_scaling")}
    assert _read(old).num_kv_heads == 32


def test_yarn() -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = _read(QWEN25, rope_scaling=scaling, max_position_embeddings=131072)
    plain = np.array(_read(QWEN25).ropes[0].inv_freq)
    ratio = plain / np.array(config.ropes[0].inv_freq)
    assert ratio[0] == 1.0
    assert ratio[-1] == pytest.approx(4.0, rel=1e-6)
    assert (np.diff(ratio) >= -1e-6).all()
    assert config.ropes[0].attention_factor == pytest.approx(0.1 * np.log(4) + 1)
    given = _read(QWEN25, rope_scaling={**scaling, "attention_factor": 1.5, "beta_fast": 16})
    assert given.ropes[0].attention_factor == 1.5
    as_in_model_cards = _read(QWEN25, rope_scaling=scaling)  # the positions are left at 32768
    assert as_in_model_cards == config
    assert as_in_model_cards.context_length == 131072
    unsaid = {
        key: value for key, value in scaling.items() if key != "original_max_position_embeddings"
    }
    assert _read(QWEN25, rope_scaling=unsaid).context_length == 32768
    wide = _read(QWEN25, rope_scaling=scaling, max_position_embeddings=200_000)
    assert wide.context_length == 200_000
    assert _read(LLAMA31, rope_scaling={**scaling, "factor": 8}).context_length == 8 * 32768
    assert _read(QWEN25, rope_scaling={**scaling, "truncate": True}) == config  # the default
    with pytest.raises(UnsupportedModel, match="YaRN with truncate = false"):
        _read(QWEN25, rope_scaling={**scaling, "truncate": False})
    with pytest.raises(UnsupportedModel, match="YaRN with mscale"):
        _read(QWEN25, rope_scaling={**scaling, "mscale": 1.0})


def test_mistral() -> None:
    assert _windows(_read(MISTRAL)) == [4096] * 32
    assert _windows(_read(MISTRAL, sliding_window=None)) == [0] * 32
    unsaid = {key: value for key, value in MISTRAL.items() if key != "sliding_window"}
    assert _windows(_read(unsaid)) == [4096] * 32
    assert (
        _windows(_read(MISTRAL, max_position_embeddings=4096)) == [0] * 32
    )  # the window holds all of it
    assert _read(MISTRAL, head_dim=160).head_dim == 160


def test_qwen2() -> None:
    config = _read(QWEN25)
    assert config.tie_embeddings
    assert _windows(config) == [0] * 24
    sliding = _read(QWEN25, use_sliding_window=True, sliding_window=1000)
    assert _windows(sliding) == [0] * 21 + [1000] * 3
    kinds = ["full_attention", "sliding_attention"] * 12
    listed = _read(QWEN25, use_sliding_window=True, sliding_window=1000, layer_types=kinds)
    assert _windows(listed) == [0, 1000] * 12
    with pytest.raises(UnsupportedModel, match="'chunked'"):
        _read(QWEN25, layer_types=["chunked"] * 24)


def test_qwen3() -> None:
    config = _read(QWEN3)
    assert config.qk_norm
    assert (config.head_dim, config.num_heads, config.hidden_size) == (128, 16, 1024)


def test_gpt2() -> None:
    config = _read(GPT2)
    assert (config.norm, config.position, config.gated) == ("layer", "learned", False)
    assert (config.intermediate_size, config.activation) == (3072, "gelu_tanh")
    assert config.tie_embeddings
    assert config.ropes == ()


def test_gpt_neo() -> None:
    config = _read(GPT_NEO)
    assert config.attention_scale == 1.0
    assert _windows(config) == [0, 256] * 6
    layers = ["local"] * 12
    assert _windows(_read(GPT_NEO, attention_layers=layers)) == [256] * 12
    assert _windows(_read(GPT_NEO, attention_types=None, num_layers=24)) == [0, 256] * 12


def test_gemma2() -> None:
    config = _read(GEMMA2)
    assert _windows(config)[:4] == [4096, 0, 4096, 0]
    assert (config.attention_softcap, config.final_softcap) == (50.0, 30.0)
    assert (config.post_norms, config.tie_embeddings, config.qk_norm) == (True, True, False)
    assert config.attention_scale == 1 / 16
    assert config.embedding_scale == 48.0
    assert _read(GEMMA2, attn_logit_softcapping=None).attention_softcap == 0.0


def test_gemma3() -> None:
    config = _read(GEMMA3)
    assert _windows(config)[:7] == [512] * 5 + [0, 512]
    assert [layer.rope for layer in config.layers[:7]] == [1] * 5 + [0, 1]
    full, local = config.ropes
    assert full.inv_freq[1] == pytest.approx(1e6 ** (-2 / 256))
    assert local.inv_freq[1] == pytest.approx(1e4 ** (-2 / 256))
    assert config.attention_softcap == config.final_softcap == 0.0
    assert config.qk_norm
    new = {k: v for k, v in GEMMA3.items() if not k.startswith("rope_")}
    new["rope_parameters"] = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    assert _read(new) == config
    kinds = ["full_attention"] * 26
    assert _windows(_read(GEMMA3, layer_types=kinds)) == [0] * 26


def test_gemma3_that_sees_too() -> None:
    config = _read(GEMMA3_4B)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (8, 4, 256)
    assert config.vocab_size == 262208
    full, local = config.ropes
    assert full.inv_freq[0] == 1 / 8  # linear scaling is for full layers alone
    assert local.inv_freq[0] == 1.0
    assert config.tie_embeddings
    assert not _read(GEMMA3_4B, tie_word_embeddings=False).tie_embeddings
    text = GEMMA3_4B["text_config"] | {"tie_word_embeddings": True}  # type: ignore[operator]
    assert not _read(GEMMA3_4B, tie_word_embeddings=False, text_config=text).tie_embeddings


@pytest.mark.parametrize(
    ("dtype", "expected"), [("f32", 33.941125), ("f16", 33.9375), ("bf16", 34.0)]
)
def test_gemmas_embedding_scale_is_rounded_as_the_weights(dtype: str, expected: float) -> None:
    assert _read(GEMMA3, dtype=dtype).embedding_scale == pytest.approx(expected, rel=1e-7)


def test_phi3_factors_follow_the_context() -> None:
    short = _read(PHI3)
    assert short.for_context(4096) == short
    long = short.for_context(4097)
    assert (short.context_length, long.context_length) == (4096, 131072)
    assert short.ropes[0].inv_freq[0] == 1.0
    assert long.ropes[0].inv_freq[0] == 0.5
    attention = (1 + np.log(32) / np.log(4096)) ** 0.5
    assert short.ropes[0].attention_factor == long.ropes[0].attention_factor
    assert short.ropes[0].attention_factor == pytest.approx(attention)
    scaling = {**PHI3["rope_scaling"], "type": "su"}  # type: ignore[dict-item]
    assert _read(PHI3, rope_scaling=scaling) == short


def test_phi3_partial_rotary_and_plain() -> None:
    plain = _read(PHI3, rope_scaling=None, max_position_embeddings=4096)
    assert len(plain.ropes[0].inv_freq) == 48
    assert plain.ropes[0].attention_factor == 1.0
    part = _read(PHI3, rope_scaling=None, partial_rotary_factor=0.75)
    assert len(part.ropes[0].inv_freq) == 36
    with pytest.raises(UnsupportedModel, match="for phi3"):
        _read(PHI3, rope_scaling={"type": "linear", "factor": 2})


@pytest.mark.parametrize("name", ALL)
def test_ids_outside_the_vocabulary_are_left_out(name: str) -> None:
    config = _read(ALL[name], bos_token_id=10**7, eos_token_id=[5, 10**7, -1])
    assert config.bos_id is None
    assert config.eos_ids == (5,)


_BAD: list[tuple[str, Any]] = [
    ("vocab_size", 0),
    ("vocab_size", 10**9),
    ("vocab_size", "many"),
    ("vocab_size", True),
    ("vocab_size", [1]),
    ("bos_token_id", "one"),
    ("eos_token_id", [1] * 65),
    ("eos_token_id", [None]),
]
_BAD_HIDDEN: list[tuple[str, Any]] = [
    ("hidden_size", -1),
    ("hidden_size", 2**40),
    ("hidden_size", 1.5),
    ("hidden_size", None),
    ("num_hidden_layers", 10**6),
    ("num_attention_heads", 0),
    ("num_key_value_heads", 7),
    ("head_dim", 10**5),
    ("head_dim", 3),
    ("rms_norm_eps", "tiny"),
    ("rms_norm_eps", -1e-6),
    ("rope_theta", 0),
    ("rope_theta", float("inf")),
    ("rope_scaling", "llama3"),
    ("rope_scaling", {"rope_type": "magic", "factor": 2.0}),
    ("rope_scaling", {"rope_type": "linear"}),
    ("rope_scaling", {"rope_type": "linear", "factor": 0.0}),
    ("rope_scaling", {"rope_type": "linear", "factor": "2"}),
    ("rope_scaling", {"rope_type": 3}),
    (
        "rope_scaling",
        {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1},
    ),
    ("partial_rotary_factor", 0.0),
    ("max_position_embeddings", 0),
    ("tie_word_embeddings", "yes"),
    ("hidden_act", "sigmoid"),
    ("hidden_act", "x" * 300),
]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [(name, *bad) for name in ALL if name != "gemma3-4b" for bad in _BAD]
    + [("llama3.1", *bad) for bad in _BAD_HIDDEN]
    + [
        ("llama3.1", "hidden_size", 4097),
        ("mistral", "sliding_window", 0),
        ("qwen2.5", "layer_types", ["full_attention"]),
        ("qwen2.5", "layer_types", [1] * 24),
        ("qwen2.5", "use_sliding_window", 1),
        ("gpt2", "n_embd", 769),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "add_cross_attention", True),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt_neo", "hidden_size", 769),
        ("gpt_neo", "attention_types", "global"),
        ("gpt_neo", "attention_types", [[["global"], 10**9]]),
        ("gpt_neo", "attention_types", [["global", 12]]),
        ("gpt_neo", "attention_types", [[["global"], 3]]),
        ("gpt_neo", "attention_layers", ["sideways"] * 12),
        ("gemma2", "use_bidirectional_attention", True),
        ("gemma2", "attention_bias", True),
        ("gemma2", "query_pre_attn_scalar", 0),
        ("gemma3", "rope_local_base_freq", -1),
        ("gemma3", "sliding_window_pattern", 0),
        ("gemma3", "text_config", [1]),
        ("phi3", "rope_scaling", {"type": "longrope", "short_factor": [1.0]}),
        ("phi3", "rope_scaling", {"type": "longrope", "short_factor": [0.0] * 48}),
        ("phi3", "rope_scaling", {"type": "longrope", "short_factor": ["1"] * 48}),
        ("phi3", "original_max_position_embeddings", 0),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, key: str, value: Any) -> None:
    with pytest.raises((CorruptFile, UnsupportedModel)) as caught:
        _read(ALL[name], **{key: value})
    assert isinstance(caught.value, OneSecError)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gemma3-4b", "phi3"])
def test_biases_that_writers_of_gptq_add_have_a_place(name: str) -> None:
    layout = HF_ARCHITECTURES[ALL[name]["model_type"]].hf_layout
    stored = {
        part.format(p=layout.prefixes[0], i=0)
        for sources in layout.optional.values()
        for group in sources
        for part in group
    }
    matrices = [
        part.format(p=layout.prefixes[0], i=0)
        for key, sources in layout.matrices.items()
        if key.startswith("layers.")
        for part in sources[0]
    ]
    assert matrices
    assert {part.replace(".weight", ".bias") for part in matrices} <= stored
