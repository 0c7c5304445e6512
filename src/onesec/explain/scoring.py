"""Scoring: how likely an answer is after one prompt, and after others that begin like it.

It must not know text or time: prompts are token ids, the cache's blocks are numbers that are lent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow, Int32Array
from onesec.core.errors import InvalidRequest
from onesec.core.gear import Gear

_MOST_ROWS = 16
_BATCH_TOKENS = 512  # run at once, unless one prompt alone has more
_PIECE_TOKENS = 128  # of an answer, told at once


class Scorer:
    """Log-likelihoods (nats) of `answer` after prompts, in one gear, on cache blocks of its own.

    `whole` comes first; what the prompts after it have in common with that one is not computed
    again. The answer is scored by the decode arithmetic, as it would be drawn.

    >>> scorer = Scorer(cpu, gear8, blocks, answer=[7, 2])  # doctest: +SKIP
    >>> scorer.whole([1, 5, 9]), scorer.others([[1, 5], [1, 9]])  # doctest: +SKIP
    (-0.3, [-2.1, -0.4])

    Raises InvalidRequest where the answer is empty, or does not fit the blocks with a prompt.
    """

    def __init__(
        self, backend: Backend, gear: Gear, blocks: Sequence[int], *, answer: Sequence[int]
    ) -> None:
        if not answer:
            raise InvalidRequest("There is no answer to score.", hint="Give one with some text.")
        self._backend = backend
        self._gear = gear
        self._blocks = np.asarray(blocks, dtype=np.int32)
        self._answer = np.asarray(answer, dtype=np.int32)
        self._prompt: Int32Array = np.zeros(0, dtype=np.int32)
        self._kept = self._blocks[:0]  # blocks of the whole prompt, read by the others

    def whole(self, prompt: Sequence[int]) -> float:
        """The answer's log-likelihood after the prompt."""
        self._prompt, self._kept = np.zeros(0, dtype=np.int32), self._blocks[:0]
        [score] = self.others([prompt])
        size, count = self._backend.block_size, self._needed(prompt)
        # They can be kept only where another prompt as long has room beside them.
        if 2 * count <= len(self._blocks):
            self._prompt = np.asarray(prompt, dtype=np.int32)
            self._kept = self._blocks[: len(prompt) // size]
        return score

    def batches(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """How many of the prompts, in order, are run at once each time."""
        found: list[int] = []
        rows = tokens = blocks = 0
        for prompt in prompts:
            new, own = self.new_tokens(prompt), self._own(prompt)
            full = rows == _MOST_ROWS or tokens + new > _BATCH_TOKENS
            if rows and (full or blocks + own > len(self._blocks) - len(self._kept)):
                found.append(rows)
                rows = tokens = blocks = 0
            rows, tokens, blocks = rows + 1, tokens + new, blocks + own
        return [*found, rows] if rows else found

    def new_tokens(self, prompt: Sequence[int]) -> int:
        """Tokens that scoring after this prompt computes: of it, and of the answer."""
        return len(prompt) - self._shared(prompt) + len(self._answer)

    def others(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """The answer's log-likelihood after each prompt; as many at once as `batches` says."""
        scores: list[float] = []
        first = 0
        for count in self.batches(prompts):
            scores += self._run(prompts[first : first + count])
            first += count
        return scores

    def _run(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        free = self._blocks[len(self._kept) :]
        size, used = self._backend.block_size, 0
        reading, tables = [], []
        for prompt in prompts:
            ids = np.asarray(prompt, dtype=np.int32)
            start, own = self._shared(prompt), self._own(prompt)
            if not len(ids) or used + own > len(free):
                raise InvalidRequest(
                    f"A prompt of {len(ids)} tokens and an answer of {len(self._answer)} do not "
                    f"fit the cache: {len(free)} blocks of {size} tokens are free.",
                    hint="Use a larger context, or a shorter text.",
                )
            table = np.concatenate([self._kept[: start // size], free[used : used + own]])
            used += own
            if start < len(ids) - 1:
                reading.append(BatchRow(ids[start:-1], start, table))
            tables.append(table)
        if reading:
            self._backend.forward(Batch(self._gear, reading))
        lasts = [(len(prompt) - 1, prompt[-1]) for prompt in prompts]
        return self._told(lasts, tables)

    def _told(self, lasts: Sequence[tuple[int, int]], tables: Sequence[Int32Array]) -> list[float]:
        """The answer's log-likelihood behind prompts that are read up to their last tokens, each
        given with its place. A piece at a time: every token of it has a row of logits."""
        scores, whole = [0.0] * len(lasts), len(self._answer)
        for begin in range(0, whole, _PIECE_TOKENS):
            end = min(begin + _PIECE_TOKENS, whole)
            rows = [
                BatchRow(
                    np.array([self._answer[begin - 1] if begin else last,
                              *self._answer[begin : end - 1]], dtype=np.int32),
                    place + begin, table,
                    prompt_logprobs=True, next_token=int(self._answer[end - 1]),
                )
                for (place, last), table in zip(lasts, tables, strict=True)
            ]  # fmt: skip
            told = self._backend.forward(Batch(self._gear, rows, exact=True))
            for i, row in enumerate(told.rows):
                scores[i] += math.fsum(row.prompt_logprobs)
        return scores

    def _needed(self, prompt: Sequence[int]) -> int:
        return -(-(len(prompt) + len(self._answer)) // self._backend.block_size)

    def _own(self, prompt: Sequence[int]) -> int:
        return self._needed(prompt) - self._shared(prompt) // self._backend.block_size

    def _shared(self, prompt: Sequence[int]) -> int:
        """Leading tokens, in whole blocks, that it has in common with the whole prompt; its last
        token is always computed."""
        longest = min(len(prompt) - 1, len(self._kept) * self._backend.block_size)
        same = np.asarray(prompt[:longest], dtype=np.int32) == self._prompt[:longest]
        count = longest if same.all() else int(same.argmin())
        return count - count % self._backend.block_size
