"""The reader and the numpy reference together give transformers' logits; the fixtures are sharp.

Where this passes and test_golden.py fails, the engine is wrong; where both fail, the reader is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures import GOLDEN_DIR, NAMES, SEQUENCE_TOKENS, TOLERANCE, expected, weights
from numpy_reference import forward

from onesec.model.checkpoints import open_checkpoint
from onesec.model.config import LayerConfig, ModelConfig, Rope

# float64 against float32: what is left is transformers' own rounding.
REFERENCE_TOLERANCE = 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_logits_match(name: str) -> None:
    want = expected(name)
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        logits = forward(
            checkpoint.config.for_context(SEQUENCE_TOKENS), weights(checkpoint), want.tokens
        )
    assert want.deviation(logits) <= REFERENCE_TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answer_matches(name: str) -> None:
    want = expected(name)
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        logits = forward(
            checkpoint.config.for_context(SEQUENCE_TOKENS), weights(checkpoint), want.told
        )
    drawn = logits.argmax(axis=1)[len(want.prompt) - 1 :]
    np.testing.assert_array_equal(drawn, want.greedy)


def _changes(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Every feature that this config uses, got wrong in the way a reader or an engine would."""
    changes: dict[str, dict[str, Any]] = {
        "scale": {"attention_scale": config.attention_scale * 1.1},
        "eps": {"norm_eps": config.norm_eps + 0.01},
        "activation": {"activation": "gelu" if config.activation == "gelu_tanh" else "gelu_tanh"},
    }
    if config.activation == "gelu_tanh":
        changes["activation"] = {"activation": "silu"}
    windows = [layer.window for layer in config.layers]
    if any(windows):
        changes["window off"] = {"layers": _each_layer(config, window=0)}
        changes["window + 1"] = {
            "layers": tuple(
                replace(layer, window=layer.window and layer.window + 1) for layer in config.layers
            )
        }
    if len(set(windows)) > 1:
        changes["window everywhere"] = {"layers": _each_layer(config, window=max(windows))}
    if config.ropes:
        for what, wrong in _wrong_ropes(config.ropes[0]).items():
            changes[what] = {"ropes": (wrong, *config.ropes[1:])}
    if config.long:
        changes["the other context's rotation"] = {"ropes": config.long.ropes}
    if len(config.ropes) > 1:
        changes["one rope"] = {"layers": _each_layer(config, rope=0)}
    if config.attention_softcap:
        changes["attention softcap"] = {"attention_softcap": 0.0}
    if config.final_softcap:
        changes["final softcap"] = {"final_softcap": 0.0}
    if config.embedding_scale != 1.0:
        changes["embedding scale"] = {"embedding_scale": config.embedding_scale * 1.004}
    for flag in ("qk_norm", "post_norms"):
        if getattr(config, flag):
            changes[flag] = {flag: False}
    return changes


def _wrong_ropes(rope: Rope) -> dict[str, Rope]:
    first, second = rope.inv_freq[:2]
    unscaled = tuple(first * (second / first) ** i for i in range(len(rope.inv_freq)))
    wrong = {"rotation": replace(rope, inv_freq=tuple(f * 1.05 for f in rope.inv_freq))}
    if not np.allclose(unscaled, rope.inv_freq, rtol=1e-3):
        wrong["rotary scaling"] = replace(rope, inv_freq=unscaled)
    if rope.attention_factor != 1.0:
        wrong["attention factor"] = replace(rope, attention_factor=1.0)
    return wrong


def _each_layer(config: ModelConfig, **change: int) -> tuple[LayerConfig, ...]:
    return tuple(replace(layer, **change) for layer in config.layers)


@pytest.mark.parametrize("name", NAMES)
def test_every_feature_moves_the_logits(name: str) -> None:
    want = expected(name)
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        config, arrays = checkpoint.config.for_context(SEQUENCE_TOKENS), weights(checkpoint)
    for what, change in _changes(config).items():
        moved = want.deviation(forward(replace(config, **change), arrays, want.tokens))
        assert moved > 3 * TOLERANCE, f"{what} moves the logits by {moved:.1e} only"
    for vector in sorted(arrays):
        if vector.endswith("_bias"):
            without = {other: value for other, value in arrays.items() if other != vector}
            moved = want.deviation(forward(config, without, want.tokens))
            assert moved > 3 * TOLERANCE, f"{vector} moves the logits by {moved:.1e} only"


def test_inputs_are_shown_and_replaced() -> None:
    want = expected("llama3")
    seen: dict[str, tuple[int, ...]] = {}

    def watch(matrix: str, x: np.ndarray) -> np.ndarray:
        seen[matrix] = x.shape
        return x

    with open_checkpoint(GOLDEN_DIR / "llama3") as checkpoint:
        config, values = checkpoint.config.for_context(SEQUENCE_TOKENS), weights(checkpoint)
        plain = forward(config, values, want.tokens)
        assert np.array_equal(forward(config, values, want.tokens, watch), plain)
        layers = [name for name in checkpoint.matrix_names() if name.startswith("layers.")]
        silent = forward(config, values, want.tokens, lambda matrix, x: 0.0 * x)
    assert {name: (len(want.tokens), values[name].shape[1]) for name in layers} == seen
    # Without biases layers that see nothing add nothing: each token is left to itself.
    same = want.tokens == want.tokens[-1]
    assert (silent[same] == silent[-1]).all()
    assert not np.array_equal(silent, plain)
