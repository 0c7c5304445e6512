"""ModelConfig to and from JSON: the config.json of an artifact.

It must not know other formats. Reading is by allow-list, with types and ranges, as for any file.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .architectures import HF_ARCHITECTURES
from .architectures.base import MAX_CONTEXT
from .architectures.hf_common import MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH
from .architectures.rope import MIN_FREQUENCY
from .config import LayerConfig, LongContext, ModelConfig, Rope
from .jsonfile import Fields

_WORDS = {
    "architecture": tuple(sorted({a.name for a in HF_ARCHITECTURES.values()})),
    "norm": ("rms", "layer"),
    "activation": ("silu", "gelu_tanh", "gelu", "relu"),
    "position": ("rope", "learned"),
}
_SIZES = {
    "vocab_size": MAX_VOCAB,
    "hidden_size": MAX_WIDTH,
    "num_layers": MAX_LAYERS,
    "num_heads": MAX_HEADS,
    "num_kv_heads": MAX_HEADS,
    "head_dim": 4096,
    "intermediate_size": MAX_WIDTH,
    "context_length": MAX_CONTEXT,
}
_NUMBERS = (
    "norm_eps",
    "attention_scale",
    "attention_softcap",
    "final_softcap",
    "embedding_scale",
)
_FLAGS = ("gated", "qk_norm", "post_norms", "tie_embeddings")


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """Plain values; floats survive exactly.

    >>> config_to_json(config)["architecture"]  # doctest: +SKIP
    'llama'
    """
    return asdict(config)


def config_from_json(fields: Fields) -> ModelConfig:
    """The ModelConfig that config_to_json wrote. Raises CorruptFile for anything out of place."""
    values: dict[str, Any] = {
        key: fields.integer(key, low=1, high=high) for key, high in _SIZES.items()
    }
    for key, words in _WORDS.items():
        values[key] = fields.text(key)
        if values[key] not in words:
            fields.fail(key, f"is {values[key][:40]!r}, not one of {', '.join(words)}")
    values |= {key: fields.number(key, low=0.0, high=1e9) for key in _NUMBERS}
    values |= {key: fields.flag(key, False) for key in _FLAGS}
    if values["num_heads"] % values["num_kv_heads"]:
        fields.fail("num_kv_heads", f"does not divide {values['num_heads']} heads")
    ropes = _ropes(fields, values["head_dim"])
    if values["position"] == "rope" and not ropes:
        fields.fail("ropes", "is empty; rotary positions need one")
    layers = tuple(
        LayerConfig(
            window=item.integer("window", low=0, high=MAX_CONTEXT),
            rope=item.integer("rope", low=0, high=max(len(ropes) - 1, 0)),
        )
        for item in _objects(fields, "layers")
    )
    if len(layers) != values["num_layers"]:
        fields.fail("layers", f"has {len(layers)} entries; the model has {values['num_layers']}")
    vocab = values["vocab_size"]
    bos = fields.ids("bos_id", below=vocab)
    extra = fields.inner("extra")
    return ModelConfig(
        ropes=ropes,
        long=_long(fields, values["context_length"], values["head_dim"], len(ropes)),
        layers=layers,
        bos_id=bos[0] if bos else None,
        eos_ids=fields.ids("eos_ids", below=vocab),
        extra=dict(extra.values) if extra else {},
        **values,
    )


def _objects(fields: Fields, key: str) -> list[Fields]:
    value = fields.raw(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        fields.fail(key, "is not a list of objects")
    return [Fields(fields.path, item) for item in value]


def _ropes(fields: Fields, head_dim: int) -> tuple[Rope, ...]:
    return tuple(_rope(item, head_dim) for item in _objects(fields, "ropes"))


def _long(fields: Fields, short: int, head_dim: int, count: int) -> LongContext | None:
    inner = fields.inner("long")
    if inner is None:
        return None
    ropes = _ropes(inner, head_dim)
    if len(ropes) != count:
        inner.fail("ropes", f"has {len(ropes)} entries; the shorter context has {count}")
    length = inner.integer("context_length", low=short + 1, high=MAX_CONTEXT)
    return LongContext(context_length=length, ropes=ropes)


def _rope(item: Fields, head_dim: int) -> Rope:
    raw = item.raw("inv_freq")
    count = len(raw) if isinstance(raw, list) else 0
    if not 1 <= count <= head_dim // 2:
        item.fail("inv_freq", f"has {count} values; 1 to {head_dim // 2} are needed")
    return Rope(
        inv_freq=item.numbers("inv_freq", count=count, low=MIN_FREQUENCY, high=1e6),
        attention_factor=item.number("attention_factor", low=1e-3, high=1e3),
    )
