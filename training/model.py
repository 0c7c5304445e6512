"""The network that `onesec-mini` is trained as: a small Qwen3-style decoder in plain torch.

Parameter names follow the Hugging Face layout, so a checkpoint is exported without renaming.
It must not know where text comes from, how it is weighed, or how long training lasts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shape import ModelConfig


def rope_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's rotation, each [positions, head_dim]."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(
        torch.arange(config.max_position_embeddings, dtype=torch.float32),
        config.rope_theta**-half,
    )
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of each head (`rotate_half`, the layout of Llama and Qwen)."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each position attends to itself and those before: q, k, v [rows, heads, length, head_dim].

    On a CPU in plain products: at a few hundred positions the way back of torch's fused attention
    takes twice to three times as long. Heads that share k and v are rows of one product.
    """
    rows, heads, length, width = q.shape
    shared = k.shape[1]
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    scores = q.reshape(rows, shared, -1, width) @ k.transpose(-1, -2)
    scores = scores.view(rows, heads, length, length) * width**-0.5
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(later, float("-inf")).softmax(-1, dtype=torch.float32).to(v.dtype)
    return (weights.view(rows, shared, -1, length) @ v).view(q.shape)


class PastKeys:
    """One layer's keys and values of rows that differ in length, for generation.

    Each row's new token overwrites the padding that follows the row; padding is never attended to.
    """

    def __init__(self, lengths: Tensor, room: int) -> None:
        self.lengths, self.room = lengths, room
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store new keys and values; return those to attend to, and the mask (None: causal)."""
        if self.keys is None or self.values is None:
            self.keys = F.pad(k, (0, 0, 0, self.room))
            self.values = F.pad(v, (0, 0, 0, self.room))
            return k, v, None
        rows = torch.arange(len(k))
        self.keys[rows, :, self.lengths] = k[:, :, 0]
        self.values[rows, :, self.lengths] = v[:, :, 0]
        self.lengths = self.lengths + 1
        seen = torch.arange(self.keys.shape[2]) < self.lengths[:, None]
        return self.keys, self.values, seen[:, None, None, :]

    def keep(self, rows: Tensor) -> None:
        """Forget every row but these."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = self.keys[rows], self.values[rows]
        self.lengths = self.lengths[rows]


class Attention(nn.Module):
    """Causal grouped-query attention with normalised queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.num_attention_heads * config.head_dim
        kv_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: PastKeys | None = None) -> Tensor:
        rows, length, _ = x.shape
        shape = (rows, length, -1, self.config.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(shape)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x).view(shape)).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(shape).transpose(1, 2)
        mask = None
        if past is not None:
            k, v, mask = past.extend(k, v)
        if mask is None:
            y = causal_attention(q, k, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(rows, length, -1))


class FeedForward(nn.Module):
    """The gated feed-forward sublayer (SiLU)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer: attention, then feed-forward, each on a normalised residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: PastKeys | None = None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, past)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class LanguageModel(nn.Module):
    """Token ids in, logits out; the output head is the embedding (tied)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        cos, sin = rope_tables(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        depth = (2 * config.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = depth if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(parameter, std=scale * 0.02)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The normalised last hidden states, [rows, length, hidden]."""
        length = tokens.shape[1]
        x = self.model.embed_tokens(tokens)
        cos, sin = self.cos[:length], self.sin[:length]
        if torch.is_autocast_enabled(x.device.type):
            x = x.bfloat16()
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of every position, [rows, length, vocab]."""
        return F.linear(self.hidden(tokens), self.model.embed_tokens.weight)

    def parameter_count(self) -> int:
        """How many numbers the model holds (the tied embedding once)."""
        return sum(p.numel() for p in self.parameters())


@torch.no_grad()
def generate(
    model: LanguageModel, prompts: Sequence[Sequence[int]], stop: int, limit: int
) -> list[list[int]]:
    """Greedy continuations of several prompts, each ended by `stop` (kept) or after `limit`."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    rows = torch.zeros((len(prompts), int(lengths.max())), dtype=torch.long)
    for row, prompt in zip(rows, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(list(prompt))
    decoder = model.model
    past = [PastKeys(lengths, limit) for _ in decoder.layers]
    answers: list[list[int]] = [[] for _ in prompts]
    x, places = decoder.embed_tokens(rows), torch.arange(rows.shape[1])[None].expand(rows.shape)
    live, last = torch.arange(len(prompts)), lengths - 1
    for step in range(limit):
        cos, sin = model.cos[places][:, None], model.sin[places][:, None]
        for layer, kept in zip(decoder.layers, past, strict=True):
            x = layer(x, cos, sin, kept)
        x = decoder.norm(x[torch.arange(len(x)), last])
        best = F.linear(x, decoder.embed_tokens.weight).argmax(dim=-1)
        for index, token in zip(live.tolist(), best.tolist(), strict=True):
            answers[index].append(token)
        going = torch.nonzero(best != stop).flatten()
        if not len(going):
            break
        live, best = live[going], best[going]
        for kept in past:
            kept.keep(going)
        x, places = decoder.embed_tokens(best)[:, None], (lengths[live] + step)[:, None]
        last = torch.zeros_like(live)
    return answers
