"""The decoder, top to bottom: one step of all rows, from tokens to logits.

It must not know how a step is computed (Ops are passed in), devices, files or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onesec.model.config import ModelConfig

from .ops import Heads, LayerCache, Matrix, Norm, Ops, Reader, Steps, Turn


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's weights. `up` is gate and up where the FFN is gated."""

    qkv: Matrix
    o: Matrix
    up: Matrix
    down: Matrix
    attn_norm: Norm
    ffn_norm: Norm
    post_attn_norm: Norm | None = None
    post_ffn_norm: Norm | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model's tensors on one device.

    rotary     one table a ModelConfig.ropes entry (see Turn)
    positions  float32 [context, hidden] where positions are learned
    """

    embed: Matrix
    head: Matrix
    layers: tuple[Layer, ...]
    final_norm: Norm
    rotary: tuple[Tensor, ...]
    positions: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LayerWidths:
    """Bits that a gear spends on a layer's matrices; 0 skips the sublayer."""

    qkv: int
    o: int
    up: int
    down: int

    @property
    def run_qkv(self) -> int:
        """Bits at which qkv is run: a skipped sublayer still writes its keys and values."""
        return self.qkv or 4


@dataclass(frozen=True, slots=True, eq=False)
class Widths:
    """Bits that a gear spends on every matrix; one object a gear, which graphs are kept by."""

    embed: int
    head: int
    layers: tuple[LayerWidths, ...]


def heads_of(config: ModelConfig) -> Heads:
    """Where the heads of this model lie in a row of qkv: segments begin at multiples of 16."""
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    k_offset = -(-q // 16) * 16
    return Heads(
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        k_offset=k_offset,
        v_offset=k_offset + -(-kv // 16) * 16,
        scale=config.attention_scale,
        softcap=config.attention_softcap,
    )


def hidden(
    config: ModelConfig,
    weights: Weights,
    cache: tuple[LayerCache, ...],
    ops: Ops,
    widths: Widths,
    steps: Steps,
) -> tuple[Tensor, Any]:
    """float32 [n, hidden]: the residual stream after the last layer, and what is ready of it for
    `logits`; keys and values are cached.

    A skipped attention sublayer still writes its keys and values, at 4 bits (at the reference's
    width where there are no planes): any gear can read any cache.
    """
    heads = heads_of(config)
    h = ops.embed(steps.tokens, weights.embed, widths.embed, config.embedding_scale)
    if weights.positions is not None:
        h = h + weights.positions[steps.positions.long()]
    ready: Any = None
    for i, layer in enumerate(weights.layers):
        width, about = widths.layers[i], config.layers[i]
        rotary = weights.rotary[about.rope] if weights.rotary else None
        turn = Turn(rotary, layer.q_norm, layer.k_norm)
        attends = width.qkv != 0
        qkv = ops.norm_matmul(
            h,
            layer.attn_norm,
            layer.qkv,
            width.run_qkv,
            first_row=0 if attends else heads.k_offset,
            ready=ready,
        )
        ready = None
        if attends:
            o = Reader(layer.o, width.o)
            seen = ops.attend(qkv, heads, turn, cache[i], steps, window=about.window, reader=o)
            reader = _next_reader(weights, widths, i, feeds=width.up != 0)
            ready = ops.matmul_add(seen, layer.o, width.o, h, layer.post_attn_norm, reader)
        else:
            ops.rope_and_store(qkv, heads, turn, cache[i], steps, with_queries=False)
        if width.up != 0:
            inner = ops.norm_feed(
                h,
                layer.ffn_norm,
                layer.up,
                width.up,
                config.activation,
                config.intermediate_size,
                ready,
            )
            reader = _next_reader(weights, widths, i, feeds=False)
            ready = ops.matmul_add(inner, layer.down, width.down, h, layer.post_ffn_norm, reader)
    return h, ready


def _next_reader(weights: Weights, widths: Widths, i: int, *, feeds: bool) -> Reader:
    """Who reads the residual stream next: layer i's FFN where that is still to come, else what is
    behind the layer."""
    if feeds:
        layer = weights.layers[i]
        return Reader(layer.up, widths.layers[i].up, layer.ffn_norm)
    if i + 1 < len(weights.layers):
        layer = weights.layers[i + 1]
        return Reader(layer.qkv, widths.layers[i + 1].run_qkv, layer.attn_norm)
    return Reader(weights.head, widths.head, weights.final_norm)


def logits(
    config: ModelConfig,
    weights: Weights,
    ops: Ops,
    widths: Widths,
    h: Tensor,
    ready: Any = None,
) -> Tensor:
    """float32 [n, vocab]: what follows each row of the residual stream."""
    raw = ops.norm_matmul(h, weights.final_norm, weights.head, widths.head, ready=ready)
    raw = raw[:, : config.vocab_size].float()
    if config.final_softcap > 0.0:
        raw = config.final_softcap * torch.tanh(raw / config.final_softcap)
    return raw
