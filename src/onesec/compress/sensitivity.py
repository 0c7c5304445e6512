"""Sensitivity: what each matrix loses at 4 bits, what it gains by finer activations, and what each
sublayer loses when it is skipped.

Each is measured alone, with every other matrix at 8 bits, as divergence from the reference.
It must not know time, or what is done with the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow, Float32Array, Int32Array
from onesec.core.gear import UNIFORM, Gear

from .evaluate import Reference, windows
from .journal import Journal
from .timing import Sublayer

WINDOW_TOKENS = 256  # read at once, so that all gears can use the same cache blocks
_ALL = "8"


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """Mean divergence from the reference in nats a token: with everything at 8 bits, what each
    matrix at 4 bits or each skipped sublayer (by its first matrix) adds to that, and what 16 bits
    of activations for one matrix take away."""

    all_8: float
    at_4: Mapping[str, float]
    fine: Mapping[str, float]
    skipped: Mapping[str, float]


def measure_sensitivities(
    backend: Backend,
    reference: Gear,
    tokens: Sequence[int],
    matrices: Sequence[str],
    sublayers: Sequence[Sublayer],
    *,
    journal: Journal,
    progress: Callable[[float], None] | None = None,
) -> Sensitivities:
    """Measure them on `tokens`, window by window; each finished window goes into the journal.

    Raises InvalidRequest where a window leaves nothing to score.
    """
    gears = {_ALL: UNIFORM[8]}
    gears |= {f"4 {name}": Gear(name, 8, {name: 4}) for name in matrices}
    gears |= {f"fine {name}": Gear(name, 8, fine=frozenset({name})) for name in matrices}
    gears |= {f"0 {pair[0]}": Gear(pair[0], 8, dict.fromkeys(pair, 0)) for pair in sublayers}
    parts = list(windows(tokens, min(WINDOW_TOKENS, backend.context_length)))
    sums = dict.fromkeys(gears, 0.0)
    count = 0
    for index, window in enumerate(parts):
        key = f"sensitivity {index}"
        found = journal.get(key)
        if found is None or found.keys() != gears.keys():
            found = {}
            base = Reference(_logits(backend, reference, window))
            for done, (name, gear) in enumerate(gears.items()):
                kld, _ = base.divergence(_logits(backend, gear, window))
                found[name] = float(kld.sum())
                if progress is not None:
                    progress((index + (done + 1) / len(gears)) / len(parts))
            journal.put(key, found)
        for name in gears:
            sums[name] += found[name]
        count += len(window) - 1
    mean = {name: total / count for name, total in sums.items()}
    all_8 = mean[_ALL]
    return Sensitivities(
        all_8,
        {name: max(0.0, mean[f"4 {name}"] - all_8) for name in matrices},
        {name: max(0.0, all_8 - mean[f"fine {name}"]) for name in matrices},
        {pair[0]: max(0.0, mean[f"0 {pair[0]}"] - all_8) for pair in sublayers},
    )


def _logits(backend: Backend, gear: Gear, window: Int32Array) -> Float32Array:
    """float32 [tokens - 1, vocab]: what the gear expects after each token but the last."""
    blocks = -(-len(window) // backend.block_size)
    row = BatchRow(tokens=window[:-1], start=0, block_table=np.arange(blocks, dtype=np.int32))
    return backend.logits(Batch(gear=gear, rows=[row], exact=True))
