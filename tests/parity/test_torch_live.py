"""Fresh random checkpoints against transformers, live: options that the fixtures leave out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_run import answer, tell
from fixtures import TOLERANCE

from onesec.backend.cpu import CpuBackend
from onesec.core.gear import UNIFORM
from onesec.model.checkpoints import open_checkpoint

pytest.importorskip("torch", reason="torch is not installed: parity is tested on tests/golden only")
pytest.importorskip("transformers", reason="transformers is not installed: see tests/golden")
import torch
from safetensors.torch import load_file, save_file
from tiny_models import GOLDEN, Reference, Tiny, write_checkpoint

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

EXACT = UNIFORM[16]
TOKENS = 80  # beyond every window and every original context below
GREEDY_FROM, GREEDY_TOKENS = 11, 40


def _vary(name: str, *, without: tuple[str, ...] = (), **changes: Any) -> Tiny:
    """The golden checkpoint `name` with some of its config changed or taken out; float32."""
    base = GOLDEN[name]
    config = {key: value for key, value in base.config.items() if key not in without}
    return Tiny(config=config | changes, qk_gain=base.qk_gain, strip_prefix=base.strip_prefix)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "factor": 4.0}

VARIANTS: dict[str, Tiny] = {
    "llama, biases everywhere": _vary("llama2", attention_bias=True, mlp_bias=True),
    "llama, linear rope": _vary("llama3", rope_scaling=LINEAR),
    "llama, older spelling of the rope type": _vary(
        "llama3", rope_scaling={"type": "linear", "factor": 2.0}
    ),
    "llama, one kv head, odd sizes": _vary(
        "llama2",
        hidden_size=80,
        intermediate_size=112,
        num_attention_heads=5,
        num_key_value_heads=1,
        vocab_size=173,
    ),
    "llama, wider heads": _vary("llama2", head_dim=40),
    "llama, three layers, 8 heads of 8": _vary(
        "llama-tied", num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=4
    ),
    "mistral, no window": _vary("mistral", sliding_window=None),
    "mistral, head_dim given": _vary("mistral", head_dim=24),
    "qwen2, yarn": _vary("qwen2", rope_scaling=YARN),
    "qwen2, windows in the upper layers": _vary(
        "qwen2",
        num_hidden_layers=3,
        use_sliding_window=True,
        sliding_window=12,
        max_window_layers=1,
    ),
    "qwen2, untied": _vary("qwen2", tie_word_embeddings=False),
    "qwen3, tied, biases": _vary("qwen3", attention_bias=True),
    "qwen3, yarn": _vary("qwen3", rope_scaling=YARN),
    "qwen3, yarn as model cards add it": _vary(
        "qwen3", rope_scaling=YARN, max_position_embeddings=32
    ),
    "gpt2, default FFN": _vary("gpt2", without=("n_inner",)),
    "gpt2, relu": _vary("gpt2", activation_function="relu"),
    "gpt2, exact gelu": _vary("gpt2", activation_function="gelu"),
    "gpt_neo, four layers": _vary(
        "gpt_neo", num_layers=4, attention_types=[[["global", "local"], 2]], window_size=5
    ),
    "gemma2, no caps": _vary("gemma2", attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma2, three layers": _vary("gemma2", num_hidden_layers=3, sliding_window=9),
    "gemma3, linear rope in full layers": _vary("gemma3", rope_scaling=LINEAR),
    "gemma3, layer types": _vary(
        "gemma3",
        without=("sliding_window_pattern",),
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
    ),
    "phi3, partial rotation": _vary("phi3", partial_rotary_factor=0.75, sliding_window=None),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Torch's own threads cost more than they give at these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _random_tokens(tiny: Tiny, seed: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.random.default_rng(seed).integers(0, tiny.vocab_size, TOKENS).astype(np.int32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant(variant: str, tmp_path: Path) -> None:
    tiny = VARIANTS[variant]
    seed = 1000 + list(VARIANTS).index(variant)
    write_checkpoint(tiny, tmp_path, seed=seed)
    reference = Reference(tmp_path)
    _compare(reference, tmp_path, _random_tokens(tiny, seed))


def test_gemma3_that_sees_too_with_a_head_of_its_own(tmp_path: Path) -> None:
    """The text part under the names that the whole model is saved with; only the outer config says
    that the head is not tied. The same text part alone is what it is held against."""
    tiny = _vary("gemma3", tie_word_embeddings=False)
    alone, whole = tmp_path / "alone", tmp_path / "whole"
    write_checkpoint(tiny, alone, seed=7)
    text = {key: value for key, value in tiny.config.items() if key != "tie_word_embeddings"}
    whole.mkdir()
    config = {"model_type": "gemma3", "tie_word_embeddings": False, "text_config": text}
    (whole / "config.json").write_text(json.dumps(config))
    tensors = load_file(alone / "model.safetensors")
    renamed = {f"language_model.{name}": value for name, value in tensors.items()}
    save_file(renamed, whole / "model.safetensors", {"format": "pt"})
    _compare(Reference(alone), whole, _random_tokens(tiny, 7))


@pytest.mark.parametrize("context", [64, 128])
def test_longrope(context: int, tmp_path: Path) -> None:
    """Phi-3's two sets of factors: the longest sequence allowed decides, as the sequence's length
    does in transformers."""
    factors = np.linspace(1.0, 3.0, 6).tolist()
    scaling = {
        "type": "longrope",
        "short_factor": factors,
        "long_factor": [4.0 * factor for factor in factors],
    }
    tiny = _vary(
        "phi3",
        partial_rotary_factor=0.75,
        sliding_window=None,
        original_max_position_embeddings=64,
        rope_scaling=scaling,
    )
    write_checkpoint(tiny, tmp_path, seed=context)
    tokens = _random_tokens(tiny, context)
    if context == 64:
        tokens = tokens[:60]
    with open_checkpoint(tmp_path) as checkpoint:
        backend = CpuBackend.load(
            checkpoint,
            context_tokens=128,
            sequence_tokens=context,
            kv_dtype="f32",
            planes=False,
            reference=True,
        )
        _check_logits(backend, tokens, Reference(tmp_path).logits(tokens))
        backend.close()


def _compare(
    reference: Reference,
    folder: Path,
    tokens: np.ndarray[Any, np.dtype[np.int32]],
) -> None:
    """Logits of `tokens`, whole and in chunks, and a greedy answer to their beginning."""
    with open_checkpoint(folder) as checkpoint:
        backend = CpuBackend.load(
            checkpoint, context_tokens=256, kv_dtype="f32", planes=False, reference=True
        )
        _check_logits(backend, tokens, reference.logits(tokens))
        greedy, gap = reference.greedy(tokens[:GREEDY_FROM], GREEDY_TOKENS)
        drawn = answer(backend, EXACT, [tokens[:GREEDY_FROM]], GREEDY_TOKENS, chunk=4, max_steps=8)
        backend.close()
    if gap > TOLERANCE:  # else either answer is right
        assert drawn == [greedy.tolist()]


def _check_logits(
    backend: CpuBackend,
    tokens: np.ndarray[Any, np.dtype[np.int32]],
    want: np.ndarray[Any, np.dtype[np.float32]],
) -> None:
    for chunk in (None, 13):
        (logits,) = tell(backend, EXACT, [tokens], chunk=chunk)
        assert np.abs(logits - want).max() <= TOLERANCE * want.std()
