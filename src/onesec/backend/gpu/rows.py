"""Rows of a batch on their way: what each has drawn, where its next token goes, what is refused.

It must not know models, graphs or devices' kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onesec.backend.base import Batch, BatchRow, Float32Array, RowResult, TokenMask
from onesec.backend.sampling import Drawn, HostSampler, sampler
from onesec.core.errors import InvalidRequest, ModelError
from onesec.core.request import SamplingParams

from .ops import Steps
from .replay import PickedRows, StepRow, staged

BLOCK_TOKENS = 32  # of the cache


class Greedy:
    """The state of a sequence whose next token is the likeliest one, whatever came before."""

    wants_argmax = True

    def observe(self, tokens: Sequence[int]) -> None:
        """Nothing to remember."""

    def force(self, tokens: Sequence[int]) -> None:
        """Nothing to remember."""

    def check(self) -> None:
        """Nothing that would keep it from its token."""

    def allow(self, words: TokenMask) -> None:
        """Masks are for states that draw on the host."""
        raise InvalidRequest("A plainly greedy state takes no mask.", hint="Set response_format.")


class Host:
    """A state that draws on the host, which knows before it draws whether its mask lets it."""

    def __init__(self, state: HostSampler, vocab_size: int) -> None:
        self._state, self._vocab_size = state, vocab_size
        self._some = True

    @property
    def wants_argmax(self) -> bool:
        """See HostSampler."""
        return self._state.wants_argmax

    def observe(self, tokens: Sequence[int]) -> None:
        """See Sampler."""
        self._state.observe(tokens)

    def force(self, tokens: Sequence[int]) -> None:
        """See Sampler."""
        self._state.force(tokens)

    def allow(self, words: TokenMask) -> None:
        """See Sampler."""
        self._state.allow(words)
        whole, rest = divmod(self._vocab_size, 32)
        last = int(words[whole]) if len(words) > whole else 0
        self._some = bool(words[:whole].any()) or bool(last & ((1 << rest) - 1))

    def check(self) -> None:
        """Raise ValueError where the mask allows no token."""
        if not self._some:
            raise ValueError("no token is allowed")

    def draw(self, logits: Float32Array, top: int) -> Drawn:
        """See HostSampler."""
        drawn = self._state.draw(logits, top)
        self._some = True  # a mask is of one token
        return drawn


class Progress:
    """A row on its way through a batch: its last token, that one's position, and its result."""

    def __init__(self, row: BatchRow) -> None:
        self.row = row
        self.token = int(row.tokens[-1])
        self.position = row.start + len(row.tokens) - 1
        self.result = RowResult()

    @property
    def on_device(self) -> bool:
        """Whether its next token is the argmax, with nothing told of other tokens."""
        state: Any = self.row.sampler
        return state is not None and state.wants_argmax and not self.row.top_logprobs

    @property
    def drawn_rows(self) -> int:
        """After how many of its last tokens one is drawn, or may be."""
        if self.row.sampler is None:
            return 0
        return len(self.row.tokens) if self.row.drafted else 1

    @property
    def logit_rows(self) -> int:
        """Of how many of its last tokens the logits are needed."""
        return len(self.row.tokens) if self.row.prompt_logprobs else self.drawn_rows

    @property
    def is_prompt(self) -> bool:
        """Whether it is a chunk of which no more is asked than what follows its last token."""
        row = self.row
        return len(row.tokens) > 1 and not (row.prompt_logprobs or row.drafted or row.pooled)

    def step(self) -> StepRow:
        """Its last token, to be run."""
        return StepRow(self.token, self.position, self.row.block_table)

    def steps(self) -> list[StepRow]:
        """All its tokens, to be run."""
        row = self.row
        tokens = enumerate(row.tokens.tolist())
        return [StepRow(token, row.start + i, row.block_table) for i, token in tokens]

    def check(self, picked: PickedRows, i: int) -> None:
        """Raise what keeps a token from being drawn where row i of `picked` was, before any row of
        the step has drawn: ModelError where logits are not finite, ValueError of an empty mask."""
        if not picked.finite(i):
            raise not_finite()
        state: Any = self.row.sampler
        state.check()

    def check_first(self, logits: Tensor, picked: PickedRows, first: int) -> None:
        """As check, of what take_first takes."""
        if self.row.prompt_logprobs and not torch.stack(torch.aminmax(logits)).isfinite().all():
            raise not_finite()
        if self.row.sampler is not None:
            self.check(picked, first)

    def take(self, drawn: Drawn) -> bool:
        """Append a drawn token; True if it is one of the row's stop ids."""
        self.token, logprob, entropy, margin, top = drawn
        self.position += 1
        result = self.result
        result.tokens.append(self.token)
        if self.row.statistics:
            result.logprobs.append(logprob)
            result.entropies.append(entropy)
            result.margins.append(margin)
        if self.row.top_logprobs:
            result.top.append(top)
        return self.token in self.row.stop_ids

    def draw(self, logits: Tensor) -> Drawn:
        """A token from logits [vocab], by its sampler, in the host's memory."""
        state: Any = self.row.sampler
        if isinstance(state, Greedy):  # which asks for alternatives
            state = sampler(SamplingParams(), eos_ids=())
        drawn: Drawn = state.draw(logits.float().cpu().numpy(), self.row.top_logprobs)
        return drawn

    def take_first(self, logits: Tensor, picked: PickedRows, first: int) -> bool:
        """Take in the logits [logit_rows, vocab] of a prompt or a draft, and what was picked of its
        drawn_rows, from `first` on: log-probabilities told, tokens drawn, of a draft as far as it
        was right and one more. Logits behind a guess that are not finite are left to a step that
        begins with them. True at a stop id."""
        row, count = self.row, len(logits)
        if row.prompt_logprobs:
            self.result.prompt_logprobs += prompt_logprobs(row, logits)
        if row.sampler is None:
            return False
        begin = count - self.drawn_rows
        self.position -= count - 1 - begin
        for j in range(begin, count):
            i = first + j - begin
            if self.take(picked.row(i) if self.on_device else self.draw(logits[j])):
                return True
            if j + 1 == count or self.token != int(row.tokens[j + 1]) or not picked.finite(i + 1):
                break
        return False


def not_finite() -> ModelError:
    """In the CPU engine's words."""
    return ModelError(
        "The model's logits are not finite.",
        hint="Its files may be damaged: fetch or pack it again.",
    )


def prompt_logprobs(row: BatchRow, logits: Tensor) -> list[float]:
    """log p of each token after the first, and of `next_token`, from logits [tokens, vocab]."""
    following = row.tokens[1:].tolist()
    following += [] if row.next_token is None else [row.next_token]
    logs = logits[: len(following)].log_softmax(-1)
    index = torch.tensor(following, dtype=torch.int64, device=logits.device)
    told: list[float] = logs.gather(1, index[:, None])[:, 0].tolist()
    return told


def prompt_steps(rows: Sequence[Progress], device: torch.device) -> Steps:
    """All tokens of all rows, sequence after sequence; they reach the device in one copy."""
    counts = [len(p.row.tokens) for p in rows]
    total, widest = sum(counts), max(len(p.row.block_table) for p in rows)
    # Multiples of 16: kernels are compiled for inputs that begin at such places.
    part, width = (-(-size // 16) * 16 for size in (total, widest))
    length = 3 * part + len(rows) * width
    sent = staged(length, device=device)
    host = sent.numpy()
    host[:total] = np.concatenate([p.row.tokens for p in rows])
    host[part : part + total] = np.concatenate(
        [np.arange(p.row.start, p.row.start + n) for p, n in zip(rows, counts, strict=True)]
    )
    host[2 * part : 2 * part + total] = np.repeat(np.arange(len(rows)), counts)
    for table, p in zip(host[3 * part :].reshape(len(rows), width), rows, strict=True):
        table[: len(p.row.block_table)] = p.row.block_table
    inputs = sent.to(device, non_blocking=True)
    tables = inputs[3 * part :].view(len(rows), width)
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    return Steps(
        inputs[:total],
        inputs[part : part + total],
        tables.index_select(0, inputs[2 * part : 2 * part + total]),
        runs=tuple(zip(firsts, counts, strict=True)),
    )


def check_batch(batch: Batch, *, context_length: int, num_blocks: int, vocab_size: int) -> None:
    """Refuse what would read or write outside the model's tensors: kernels do not check."""
    if not batch.rows or batch.max_steps < 1:
        raise InvalidRequest("a batch needs rows and steps.")
    for row in batch.rows:
        end = row.start + len(row.tokens) + batch.max_steps - 1
        used = row.block_table[: -(-end // BLOCK_TOKENS)]
        if not len(row.tokens) or row.start < 0:
            raise InvalidRequest("a row needs tokens and a start of at least 0.")
        if end > context_length:
            raise InvalidRequest(f"position {end - 1} passes the context of {context_length}.")
        if len(used) * BLOCK_TOKENS < end:
            raise InvalidRequest(f"{len(used)} blocks do not hold {end} positions.")
        if used.min() < 0 or used.max() >= num_blocks:
            raise InvalidRequest(f"a block id is outside [0, {num_blocks}).")
        if row.tokens.min() < 0 or row.tokens.max() >= vocab_size:
            raise InvalidRequest(f"a token id is outside [0, {vocab_size}).")
        if row.sampler is None and (batch.max_steps > 1 or row.drafted):
            raise InvalidRequest("several steps, and drafts, need a sampler in every row.")
