"""ModelConfig: a decoder's architecture as plain numbers, whatever file it came from.

It must not know file formats (checkpoints.py fills it) nor how anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary frequencies. `inv_freq` [rotary_dim / 2], radians a position; `attention_factor`
    scales cos and sin
    (1 except for YaRN and LongRoPE). Pairs are (i, i + rotary_dim / 2): the Hugging Face
    half-split."""

    inv_freq: tuple[float, ...]
    attention_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """What may differ from layer to layer: `window` in tokens (0 = all), `rope` = index into
    ModelConfig.ropes."""

    window: int = 0
    rope: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A decoder-only transformer.

    h = embed[token] * embedding_scale (+ pos_embed[position] if position == "learned")
    per layer:
      a = attention(attn_norm(h));  h = h + (post_attn_norm(a) if post_norms else a)
      f = ffn(ffn_norm(h));         h = h + (post_ffn_norm(f) if post_norms else f)
    logits = softcap(head(final_norm(h)), final_softcap)
    ffn(x) = down(act(gate(x)) * up(x)) if gated else down(act(up(x)))

    Norm weights are stored as they are multiplied (Gemma's +1 is already added by the reader).
    """

    architecture: (
        str  # "llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neo", "gemma2", "gemma3", "phi3"
    )
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    context_length: int
    norm: str = "rms"  # "rms" or "layer"
    norm_eps: float = 1e-6
    activation: str = "silu"  # "silu", "gelu_tanh", "gelu", "relu"
    gated: bool = True
    position: str = "rope"  # "rope" or "learned"
    ropes: tuple[Rope, ...] = ()
    layers: tuple[LayerConfig, ...] = ()
    attention_scale: float = 0.0  # multiplies q·k
    attention_softcap: float = 0.0  # 0 = none; c·tanh(x/c)
    final_softcap: float = 0.0
    embedding_scale: float = 1.0
    qk_norm: bool = False  # RMS norm of each q and k head before RoPE
    post_norms: bool = False
    tie_embeddings: bool = False
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    extra: dict[str, object] = field(
        default_factory=dict
    )  # what a report may show; never computed with
