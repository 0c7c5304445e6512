"""Architecture and Layout: how a family's config is read and what its tensors are called on disk.

It must not know how files are read or anything computed. Adding a family is adding a file that
makes one Architecture, and its name in the registry (__init__.py).

Canonical names. Matrices, all [out, in] row-major: embed, pos_embed, layers.{i}.qkv (rows q, k, v),
layers.{i}.o, layers.{i}.gate_up (rows gate, up) or layers.{i}.up, layers.{i}.down, head.
Vectors: layers.{i}.attn_norm, ... final_norm, each with `_bias` where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onesec.model.config import LayerConfig, ModelConfig
from onesec.model.jsonfile import Fields

MAX_CONTEXT = 1 << 24

# A canonical name's sources: alternatives, of which the first that the file has is used; each is a
# tuple of stored tensors whose rows follow one another. {p}: the prefix in use; {i}: the layer.
Sources = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a family's weights are in a file.

    vectors        required; `optional` ones (biases) are taken where the file has them
    ignored        patterns (regular expressions, full match after the prefix) of tensors without
                   meaning for the answer; any other tensor left over is refused
    conv1d         layer matrices are stored [in, out] (GPT-2) and are transposed
    norm_offset    added to norm weights (Gemma stores them minus 1)
    interleaved_qk q and k rows are stored for rotary pairs (2j, 2j + 1) (llama-type GGUF)
    fused          of several alternatives the one of fewest tensors is written (q, k, v in one)
    """

    matrices: Mapping[str, Sources]
    vectors: Mapping[str, Sources]
    optional: Mapping[str, Sources] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ("",)
    ignored: tuple[str, ...] = ()
    conv1d: bool = False
    norm_offset: float = 0.0
    interleaved_qk: bool = False
    fused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFHeader:
    """What a GGUF file says about its model, beside `fields` (the keys under its architecture)."""

    fields: Fields
    vocab_size: int
    tied: bool
    weights_dtype: str
    bos_id: int | None
    eos_ids: tuple[int, ...]
    rope_factors: Mapping[str, tuple[float, ...]]  # of rope_freqs, rope_factors_long, ..._short


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A family of models: how to read its config and where its tensors are.

    from_hf(fields of config.json, dtype of the weights) -> ModelConfig
    from_gguf(header) -> ModelConfig; None where GGUF has no such family
    """

    name: str
    from_hf: Callable[[Fields, str], ModelConfig]
    hf_layout: Layout
    from_gguf: Callable[[GGUFHeader], ModelConfig] | None = None
    gguf_layout: Layout | None = None


def layer_configs(
    windows: tuple[int, ...], context_length: int, ropes: tuple[int, ...] | None = None
) -> tuple[LayerConfig, ...]:
    """A LayerConfig a layer. A window that holds the whole context is no window (0)."""
    return tuple(
        LayerConfig(window=window if window < context_length else 0, rope=ropes[i] if ropes else 0)
        for i, window in enumerate(windows)
    )
