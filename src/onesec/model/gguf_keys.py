"""ModelConfig to the keys of a GGUF file, checked by reading them back.

It must not know files, weights or tokenizers. The names of keys are llama.cpp's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.errors import UnsupportedModel

from .architectures import GGUF_ARCHITECTURES, Architecture, GGUFHeader
from .architectures.rope import factors_of, plain_of
from .config import ModelConfig
from .config_same import differing
from .jsonfile import Fields

Float32 = npt.NDArray[np.float32]
_THETA = 10000.0  # where factors a frequency say the rest, any would do
_PERIODS = {"gemma2": 2, "gemma3": 6}  # every so many layers one has no window; not written


@dataclass(frozen=True, slots=True)
class GGUFKeys:
    """What a file says about a model: `metadata`, `factors` (tensors of rotary factors by name)
    and the `architecture` whose gguf_layout names the weights."""

    metadata: Mapping[str, Any]
    factors: Mapping[str, Float32]
    architecture: Architecture


def gguf_keys(config: ModelConfig, path: Path) -> GGUFKeys:
    """The keys of a model; errors name `path`.

    Raises UnsupportedModel where GGUF has no such family, or has no key for something that this
    model computes with: what is read back from the keys must be this config again. The error has no
    next step: exporters know which formats are left.

    >>> gguf_keys(config, Path("m.gguf")).metadata["llama.block_count"]  # doctest: +SKIP
    30
    """
    kind = {"mistral": "llama"}.get(config.architecture, config.architecture)
    architecture = GGUF_ARCHITECTURES.get(kind)
    if architecture is None or architecture.from_gguf is None or architecture.gguf_layout is None:
        raise UnsupportedModel(f"{path}: GGUF has no models of the type {config.architecture}.")
    values, factors = _values(config, kind)
    metadata = {"general.architecture": kind}
    metadata |= {f"{kind}.{key}": _as_stored(value) for key, value in values.items()}
    header = GGUFHeader(
        fields=Fields(path, metadata, prefix=f"{kind}."),
        vocab_size=config.vocab_size,
        tied=config.tie_embeddings,
        weights_dtype="f32",
        bos_id=None,
        eos_ids=(),
        rope_factors={name: tuple(map(float, array)) for name, array in factors.items()},
    )
    odd = differing(config, architecture.from_gguf(header))
    if odd:
        raise UnsupportedModel(
            f"{path}: GGUF files of the type {kind} cannot say this model's {', '.join(odd)}."
        )
    tensors = {f"{name}.weight": array for name, array in factors.items()}
    return GGUFKeys(metadata, tensors, architecture)


def _as_stored(value: Any) -> Any:
    """Floats as the float32 that the file holds."""
    return float(np.float32(value)) if isinstance(value, float) else value


def _values(config: ModelConfig, kind: str) -> tuple[dict[str, Any], dict[str, Float32]]:
    rms = "_rms" if config.norm == "rms" else ""
    values: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_context,
        "block_count": config.num_layers,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        f"attention.layer_norm{rms}_epsilon": config.norm_eps,
    }
    for key, cap in (
        ("attn_logit_softcapping", config.attention_softcap),
        ("final_logit_softcapping", config.final_softcap),
    ):
        if cap:
            values[key] = cap
    values |= _windows(config, kind)
    rotary, factors = _rotary(config) if config.ropes else ({}, {})
    return values | rotary, factors


def _windows(config: ModelConfig, kind: str) -> dict[str, Any]:
    windows = [layer.window for layer in config.layers]
    if not any(windows):
        return {}
    values: dict[str, Any] = {"attention.sliding_window": max(windows)}
    whole = [i for i, window in enumerate(windows) if not window]
    period = whole[0] + 1 if whole else len(windows) + 1
    if kind in _PERIODS and period != _PERIODS[kind]:
        values["attention.sliding_window_pattern"] = period
    return values


def _rotary(config: ModelConfig) -> tuple[dict[str, Any], dict[str, Float32]]:
    rope = config.ropes[0]
    values: dict[str, Any] = {"rope.dimension_count": 2 * len(rope.inv_freq)}
    if config.long is not None:
        factors = {
            "rope_factors_short": factors_of(rope, _THETA),
            "rope_factors_long": factors_of(config.long.ropes[0], _THETA),
        }
        values |= {
            "rope.freq_base": _THETA,
            "rope.scaling.original_context_length": config.context_length,
            "rope.scaling.attn_factor": rope.attention_factor,
        }
        return values, factors
    found = plain_of(rope)
    if found is None:
        return {**values, "rope.freq_base": _THETA}, {"rope_freqs": factors_of(rope, _THETA)}
    values["rope.freq_base"], factor = found
    if factor != 1.0:
        values |= {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
    if len(config.ropes) > 1:
        local = plain_of(config.ropes[1])
        values |= {"rope.freq_base_swa": local[0]} if local else {}
    return values, {}
