"""Prompt logprobs, from the door down to the native engine, are transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doors import EOS, Characters
from fixtures import GOLDEN_DIR, NAMES, SEQUENCE_TOKENS, TOLERANCE, expected

from onesec import LLM
from onesec.backend.cpu import CpuBackend
from onesec.budget.latency import GearCost, LatencyModel
from onesec.loading import LoadedModel
from onesec.model.checkpoints import open_checkpoint


def _latency(b_ms: float) -> LatencyModel:
    return LatencyModel({"16": GearCost(b_ms=b_ms, q_ms=1.0)})


# A prompt that takes long is read in chunks: their seams must not show.
@pytest.mark.parametrize("b_ms", [0.01, 10.0])
@pytest.mark.parametrize("name", NAMES)
def test_prompt_logprobs_are_those_of_transformers(name: str, b_ms: float) -> None:
    want = expected(name)
    prompt = [int(token) for token in want.tokens]
    tokenizer: Any = Characters()
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        backend = CpuBackend.load(
            checkpoint,
            sequence_tokens=SEQUENCE_TOKENS,
            context_tokens=128,
            threads=2,
            kv_dtype="f32",
            planes=False,
            reference=True,
        )
        loaded = LoadedModel(
            name=name,
            path=Path(name),
            backend=backend,
            tokenizer=tokenizer,
            template=None,
            eos_ids=(EOS,),
            context_length=128,
            measure_latency=lambda *_: _latency(b_ms),
        )
        with LLM.over(loaded) as llm:
            output = llm.generate(prompt, max_tokens=1, prompt_logprobs=True)
            assert llm.generate(prompt, max_tokens=1).prompt_logprobs == ()
    first, *rest = output.prompt_logprobs
    assert (first, len(rest)) == (None, len(prompt) - 1)
    scaled = want.logits - want.logits.max(axis=1, keepdims=True)
    logprobs = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    follow = logprobs[np.arange(len(prompt) - 1), prompt[1:]]
    # A log-probability is a logit less their log-sum: off by at most twice what a logit may be.
    np.testing.assert_allclose(rest, follow, rtol=0, atol=2 * TOLERANCE * want.logits.std())
