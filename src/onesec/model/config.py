"""ModelConfig: a decoder's architecture as plain numbers, whatever file it came from.

It must not know file formats (checkpoints.py fills it) nor how anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


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


@dataclass(frozen=True, slots=True)
class LongContext:
    """How a model with two sets of rotary frequencies (LongRoPE) runs contexts beyond
    ModelConfig.context_length: up to `context_length` tokens, with `ropes` in place of the others.
    """

    context_length: int
    ropes: tuple[Rope, ...]


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
    long: LongContext | None = None
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

    @property
    def max_context(self) -> int:
        """The longest context, in tokens, that the model can be run with."""
        return self.long.context_length if self.long else self.context_length

    def for_context(self, tokens: int) -> ModelConfig:
        """The config to run sequences of up to `tokens` tokens with.

        Keys are cached as they were turned, and a cache written with one set of frequencies cannot
        be read with the other: so the set is chosen once, by the longest sequence that is allowed,
        and not anew as a sequence grows. Contexts within `context_length` run with the short set,
        longer ones with the long set from their first token on.
        """
        if self.long is None or tokens <= self.context_length:
            return self
        return replace(
            self, context_length=self.long.context_length, ropes=self.long.ropes, long=None
        )
