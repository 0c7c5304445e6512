"""A decoder in plain numpy, float64, one sequence at a time: the answer that any engine must give.

It is written from ModelConfig's description alone and shares no code with the package: slow,
without cache, chunks, batches or quantization. `weights` are float arrays under the canonical names
of onesec.model.architectures.base: matrices [out, in], vectors [n].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from onesec.model.config import ModelConfig, Rope

Float64Array = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[np.floating]]
Inputs = Callable[[str, Float64Array], Float64Array]

_erf = np.vectorize(math.erf)


def forward(
    config: ModelConfig,
    weights: Weights,
    tokens: npt.NDArray[np.int32],
    inputs: Inputs | None = None,
) -> Float64Array:
    """float64 [n, vocab]: logits after each of `tokens` (int32 [n]), the first at position 0.

    `inputs` takes a layer matrix's name and its inputs [n, in]; the matrix sees what it gives.

    >>> forward(config, weights, np.array([5, 3], np.int32)).shape  # doctest: +SKIP
    (2, 160)
    """
    w = _Wide(weights)
    head = w["embed"] if config.tie_embeddings else w["head"]
    h = hidden(config, weights, tokens, inputs)
    return _softcap(h @ head.T + w.bias("head"), config.final_softcap)


def hidden(
    config: ModelConfig,
    weights: Weights,
    tokens: npt.NDArray[np.int32],
    inputs: Inputs | None = None,
) -> Float64Array:
    """float64 [n, hidden]: what the output head reads, behind the final norm; see `forward`."""
    w = _Wide(weights)
    h = w["embed"][tokens] * config.embedding_scale
    if config.position == "learned":
        h = h + w["pos_embed"][: len(tokens)]
    for i in range(config.num_layers):
        layer = _Layer(config, w, i, inputs)
        a = layer.attention(layer.norm("attn_norm", h))
        h = h + (layer.norm("post_attn_norm", a) if config.post_norms else a)
        f = layer.ffn(layer.norm("ffn_norm", h))
        h = h + (layer.norm("post_ffn_norm", f) if config.post_norms else f)
    return _norm(config, h, w["final_norm"], w.get("final_norm_bias"))


class _Wide:
    """The weights in float64; biases that are absent are 0."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Float64Array:
        return self._weights[name].astype(np.float64)

    def get(self, name: str) -> Float64Array | None:
        return self[name] if name in self._weights else None

    def bias(self, matrix: str) -> Float64Array:
        found = self.get(f"{matrix}_bias")
        return np.zeros(1) if found is None else found


class _Layer:
    """One layer's two sublayers; x is float64 [n, hidden]."""

    def __init__(
        self, config: ModelConfig, weights: _Wide, index: int, inputs: Inputs | None
    ) -> None:
        self._config = config
        self._weights = weights
        self._index = index
        self._inputs = inputs

    def norm(self, name: str, x: Float64Array) -> Float64Array:
        path = f"layers.{self._index}.{name}"
        return _norm(self._config, x, self._weights[path], self._weights.get(f"{path}_bias"))

    def _project(self, name: str, x: Float64Array) -> Float64Array:
        path = f"layers.{self._index}.{name}"
        if self._inputs is not None:
            x = self._inputs(path, x)
        return x @ self._weights[path].T + self._weights.bias(path)

    def attention(self, x: Float64Array) -> Float64Array:
        config, n = self._config, len(x)
        heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
        qkv = self._project("qkv", x).reshape(n, heads + 2 * kv_heads, dim)
        q, k, v = np.split(qkv, [heads, heads + kv_heads], axis=1)
        if config.qk_norm:
            path = f"layers.{self._index}."
            q = _rms(q, config.norm_eps) * self._weights[f"{path}q_norm"]
            k = _rms(k, config.norm_eps) * self._weights[f"{path}k_norm"]
        this = config.layers[self._index]
        if config.position == "rope":
            q, k = _rotate(q, config.ropes[this.rope]), _rotate(k, config.ropes[this.rope])
        out = np.empty((n, heads, dim))
        seen = _visible(n, this.window)
        for head in range(heads):
            shared = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, shared].T * config.attention_scale
            scores = _softcap(scores, config.attention_softcap)
            scores = np.where(seen, scores, -np.inf)
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[:, head] = p / p.sum(axis=1, keepdims=True) @ v[:, shared]
        return self._project("o", out.reshape(n, heads * dim))

    def ffn(self, x: Float64Array) -> Float64Array:
        if not self._config.gated:
            return self._project("down", _activate(self._config.activation, self._project("up", x)))
        gate, up = np.split(self._project("gate_up", x), 2, axis=1)
        return self._project("down", _activate(self._config.activation, gate) * up)


def _norm(
    config: ModelConfig, x: Float64Array, weight: Float64Array, bias: Float64Array | None
) -> Float64Array:
    if config.norm == "rms":
        return _rms(x, config.norm_eps) * weight
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(centred.var(axis=-1, keepdims=True) + config.norm_eps)
    return scaled * weight + (0.0 if bias is None else bias)


def _rms(x: Float64Array, eps: float) -> Float64Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)


def _rotate(x: Float64Array, rope: Rope) -> Float64Array:
    """x [n, heads, dim]: pairs (i, i + rotary / 2) turned by position * inv_freq, the rest kept."""
    half = len(rope.inv_freq)
    angle = np.arange(len(x))[:, None, None] * np.array(rope.inv_freq)
    cos, sin = np.cos(angle) * rope.attention_factor, np.sin(angle) * rope.attention_factor
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = (first * cos - second * sin, second * cos + first * sin, rest)
    return np.concatenate(turned, axis=-1)


def _visible(n: int, window: int) -> npt.NDArray[np.bool_]:
    """bool [n, n]: may row's token look at column's; the window counts the token itself."""
    back = np.arange(n)[:, None] - np.arange(n)[None, :]
    return (back >= 0) & ((back < window) if window else True)


def _softcap(x: Float64Array, cap: float) -> Float64Array:
    return cap * np.tanh(x / cap) if cap else x


def _activate(name: str, x: Float64Array) -> Float64Array:
    if name == "silu":
        return x / (1.0 + np.exp(-x))
    if name == "relu":
        return np.maximum(x, 0.0)
    if name == "gelu":
        return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))
    if name == "gelu_tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"no activation {name!r}")
