"""Sums of hidden states, as the native engine tells them, are those of the numpy reference, which
gives transformers' logits (see test_numpy_reference)."""

from __future__ import annotations

import numpy as np
import pytest
from engine_run import block_tables, pooled
from fixtures import GOLDEN_DIR, NAMES, SEQUENCE_TOKENS, TOLERANCE, expected, weights
from numpy_reference import hidden

from onesec.backend.base import Batch, BatchRow
from onesec.backend.cpu import CpuBackend
from onesec.core.gear import UNIFORM
from onesec.core.request import SamplingParams
from onesec.model.checkpoints import open_checkpoint


@pytest.mark.parametrize("name", NAMES)
def test_the_sums_are_the_references(name: str) -> None:
    tokens = expected(name).tokens
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        config = checkpoint.config.for_context(SEQUENCE_TOKENS)
        of_all = hidden(config, weights(checkpoint), tokens)
        backend = CpuBackend.load(
            checkpoint,
            context_tokens=512,
            sequence_tokens=SEQUENCE_TOKENS,
            threads=2,
            kv_dtype="f32",
            planes=False,
            reference=True,
        )
        for found, part in pooled(backend, UNIFORM[16], tokens):
            wanted = of_all[part].sum(axis=0)
            assert np.abs(found - wanted).max() <= TOLERANCE * wanted.std()
        backend.close()


def test_a_pooled_row_draws_nothing() -> None:
    with open_checkpoint(GOLDEN_DIR / "qwen2") as checkpoint:
        backend = CpuBackend.load(checkpoint, context_tokens=64, threads=1)
    [table] = block_tables(backend, [8])
    sampler = backend.sampler(SamplingParams(), eos_ids=())
    row = BatchRow(np.arange(4, dtype=np.int32), 0, table, sampler=sampler, pooled=True)
    with pytest.raises(ValueError, match="draws nothing"):
        backend.forward(Batch(UNIFORM[8], [row]))
    backend.close()
