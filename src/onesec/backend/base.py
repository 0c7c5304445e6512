"""Batch, BatchResult and the Backend protocol: all that the loop knows of whatever computes.

It must not know requests, deadlines' meaning, text, or any library that computes.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]
TokenMask = npt.NDArray[
    np.uint32
]  # [(vocab + 31) // 32]: bit t % 32 of word t // 32 allows token t


class Sampler(Protocol):
    """A sequence's sampling state: parameters, token counts for penalties, random stream."""

    def observe(self, tokens: Seq[int]) -> None:
        """Count the prompt's tokens: for the repetition penalty alone."""
        ...

    def force(self, tokens: Seq[int]) -> None:
        """Count tokens of the answer that nobody drew, for every penalty and for min_tokens. What
        is drawn after them has the random numbers that it would have had without them."""
        ...

    def allow(self, words: TokenMask) -> None:
        """The next token alone is one of a mask's; the log-probabilities that are told of it stay
        those of the unmodified distribution."""
        ...


@dataclass(slots=True)
class BatchRow:
    """One sequence's part of a batch.

    tokens       int32 [n]: new tokens to run (a prompt chunk, or the last token drawn)
    start        position of tokens[0]; positions < start are in the cache already
    block_table  int32 [blocks]: covers positions < start + n + (max_steps - 1)
    sampler      draws the next token after tokens[-1]; None for a chunk that does not end the
                 prompt
    stop_ids     tokens that end this sequence; the drawn one is still returned
    top_logprobs alternatives to report with each drawn token
    prompt_logprobs   report log p(tokens[i+1] | ...) for this chunk, and for `next_token` after
                      the last
    drafted      tokens after the first are a draft: guesses of what will be drawn. All are run at
                 once; tokens are drawn as if one by one, as far as the draft was right, and one
                 more. The cache's positions behind the tokens drawn hold what nobody may read
    pooled       report the sum of the tokens' hidden states; the row draws nothing
    statistics   report logprobs, entropies and margins of the drawn tokens; without them a greedy
                 row needs no more of the distribution than its likeliest token
    """

    tokens: Int32Array
    start: int
    block_table: Int32Array
    sampler: Sampler | None = None
    stop_ids: tuple[int, ...] = ()
    top_logprobs: int = 0
    prompt_logprobs: bool = False
    next_token: int | None = None
    statistics: bool = True
    drafted: bool = False
    pooled: bool = False


@dataclass(slots=True)
class Batch:
    """What one call computes: `rows` at one `gear`, and then up to `max_steps` - 1 further decode
    steps.

    The call returns early after the step in which any row draws one of its stop_ids, and before a
    step that would start after `until_ns` (monotonic clock). max_steps > 1 needs every row to
    sample.

    At `watch_ns` (the same clock) the call returns though a step has not ended, with those that
    have: the result is `overdue`. That step goes on behind, with these rows' samplers and blocks,
    and `Backend.rest` tells what it did. A backend that cannot leave a step alone ignores it.
    """

    gear: Gear
    rows: list[BatchRow]
    max_steps: int = 1
    until_ns: int | None = None
    # The decode arithmetic for every token: decode steps, and prompts whose quality is measured.
    # Else the rows are prompt chunks, and the first step may use another one: its bits differ, but
    # depend on the chunking no more than these do. Further steps and all logits' head are exact.
    exact: bool = False
    watch_ns: int | None = None


@dataclass(slots=True)
class RowResult:
    """tokens drawn (one a step run, more from a draft), and for each of them, where the row asked
    for statistics: its logprob (of the unmodified distribution), the distribution's entropy in nats
    and margin (p1 - p2); and top alternatives. hidden, of a pooled row: [hidden size], the sum over
    its tokens of what the output head reads (behind the final norm)."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    top: list[list[tuple[int, float]]] = field(default_factory=list)
    prompt_logprobs: list[float] = field(default_factory=list)
    hidden: list[float] = field(default_factory=list)


@dataclass(slots=True)
class BatchResult:
    """Per row results, and what the call cost: wall time of each step (the first one includes all
    prompt tokens), CPU time of all threads, weight and cache bytes read. `overdue`: a step of it
    goes on."""

    rows: list[RowResult]
    step_ms: list[float]
    cpu_ms: float
    bytes_read: int
    overdue: bool = False


class Backend(Protocol):
    """The one interface that computes. Not thread-safe: one owner calls it."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def block_size(self) -> int:
        """Tokens a cache block holds."""
        ...

    @property
    def num_blocks(self) -> int: ...
    @property
    def leaves_steps(self) -> bool:
        """Whether a call comes back at `watch_ns` though its step goes on."""
        ...

    @property
    def gears(self) -> tuple[Gear, ...]:
        """From the cheapest to the best."""
        ...

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> Sampler:
        """A fresh sampling state (eos_ids are banned until min_tokens are drawn)."""
        ...

    def forward(self, batch: Batch) -> BatchResult: ...
    def rest(self, until_ns: int | None) -> BatchResult | None:
        """What an overdue call did after it was left alone; None where its step has not ended at
        `until_ns` (monotonic clock; None: wait for it). Told once. Every other call waits for the
        step, and what nobody asked for is lost."""
        ...

    def logits(self, batch: Batch) -> Float32Array:
        """float32 [total tokens, vocab]: logits after every token of every row; for evaluation."""
        ...

    def bytes_per_token(self, gear: Gear) -> int:
        """Weight bytes that one decode step reads in this gear, at most: where a row needs only its
        likeliest token it may be less. BatchResult.bytes_read says what was read."""
        ...

    def close(self) -> None: ...
