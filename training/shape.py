"""ModelConfig: the shape of the network, for whoever needs its numbers and not torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network; the words are those of Hugging Face's config.json."""

    vocab_size: int = 5120
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    max_position_embeddings: int = 1024
    rope_theta: float = 100000.0
    rms_norm_eps: float = 1e-6

    def to_dict(self) -> dict[str, int | float]:
        """The fields as a plain dictionary."""
        return asdict(self)
