"""Whether two ModelConfigs compute the same, for formats that may not be able to say a config.

It must not know formats.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from .config import LongContext, ModelConfig, Rope

# Names and tokens are not computed with; a tokenizer says the tokens.
_NOT_COMPUTED = {"architecture", "bos_id", "eos_ids", "extra"}
_TOLERANCES = {
    "embedding_scale": 1 / 256,  # Gemma's is rounded to the weights' dtype, GGUF's is not
}
_TOLERANCE = 1e-5  # of what formats store as float32


def differing(mine: ModelConfig, other: ModelConfig) -> list[str]:
    """Names of the fields in which `other` would compute otherwise than `mine`.

    >>> differing(config, replace(config, num_layers=9))  # doctest: +SKIP
    ['num_layers']
    """
    return [
        field.name
        for field in fields(ModelConfig)
        if field.name not in _NOT_COMPUTED
        and not _same(
            getattr(mine, field.name),
            getattr(other, field.name),
            _TOLERANCES.get(field.name, _TOLERANCE),
        )
    ]


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= tolerance * max(abs(a), abs(b))
    if isinstance(a, Rope) and isinstance(b, Rope):
        return (
            len(a.inv_freq) == len(b.inv_freq)
            and np.allclose(a.inv_freq, b.inv_freq, rtol=1e-6, atol=0.0)
            and _same(a.attention_factor, b.attention_factor, 1e-6)
        )
    if isinstance(a, LongContext) and isinstance(b, LongContext):
        return a.context_length == b.context_length and _same(a.ropes, b.ropes, tolerance)
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)
