"""Sampling: a sequence's sampling state, whichever backend computes its logits.

It must not know batches or devices. Only what is not plainly greedy needs the compiled engine.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

from onesec.core.request import SamplingParams

from .base import Float32Array, TokenMask

# token, its logprob (of the unmodified distribution), entropy, margin, likeliest alternatives
Drawn = tuple[int, float, float, float, list[tuple[int, float]]]


class HostSampler(Protocol):
    """A sampling state that draws from logits in the host's memory."""

    @property
    def wants_argmax(self) -> bool:
        """Whether the next token is the likeliest one, whatever the other logits are."""
        ...

    def observe(self, tokens: Sequence[int]) -> None: ...
    def force(self, tokens: Sequence[int]) -> None: ...
    def allow(self, words: TokenMask) -> None: ...
    def draw(self, logits: Float32Array, top: int) -> Drawn:
        """Draw from float32 [vocab], and count what is drawn; `top` alternatives are told.

        Raises ModelError where a logit is not finite, ValueError where the mask allows no token;
        the state is then as it was."""
        ...


def sampler(params: SamplingParams, *, eos_ids: tuple[int, ...]) -> HostSampler:
    """A fresh state; without a seed, one from the system's entropy. eos_ids (unless ignored) and
    the request's stop ids are banned until min_tokens are drawn."""
    import onesec._native as _native

    seed = params.seed if params.seed is not None else secrets.randbits(63)
    ends = tuple(params.stop_token_ids) + (() if params.ignore_eos else tuple(eos_ids))
    state: HostSampler = _native.Sampler(
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=list(params.logit_bias.items()),
        seed=seed,
        min_tokens=params.min_tokens,
        end_ids=list(ends),
    )
    return state
