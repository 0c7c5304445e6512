"""GpuRunner: a batch's rows through graphs and prompt products, and what is drawn after them.

It must not know gears' names, files, text or requests: a gear comes as the widths of its matrices.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from onesec.backend.base import Batch, BatchRow, RowResult
from onesec.model.config import ModelConfig

from .ops import LayerCache, Ops, Picked, Steps
from .ops_plain import normed
from .prompt_replay import PROMPT_SIZES, PromptReplay, prompt_size
from .replay import SIZES, PickedRows, StepReplay, StepRow, size_for
from .rows import BLOCK_TOKENS, Progress, check_batch, prompt_steps
from .transformer import Weights, Widths, hidden, logits

_MAX_ROWS = SIZES[-1]
_MAX_AHEAD = 32  # steps of one call that need no host between them
_LONG_PROMPT = 2048  # tokens; too many for a graph
_NOTHING = torch.empty(4, 0, dtype=torch.int32)  # picked of no row
_IN_FLIGHT = 2  # steps that are launched before the host looks at the first of them


class GpuRunner:
    """Owns the cache and the graphs of one model on one device."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        ops: Ops,
        prompt_ops: Ops,
        *,
        num_blocks: int,
        cache_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._config, self._weights, self._device = config, weights, device
        self._ops, self._prompt_ops = ops, prompt_ops
        self.num_blocks = num_blocks
        self.context_length = min(config.context_length, num_blocks * BLOCK_TOKENS)
        # One block more than sequences have: rows of a graph that are not used write there.
        shape = (num_blocks + 1, config.num_kv_heads, BLOCK_TOKENS, config.head_dim)
        self._cache = tuple(
            LayerCache(*(torch.zeros(shape, dtype=cache_dtype, device=device) for _ in range(2)))
            for _ in range(config.num_layers)
        )
        self._replays: dict[tuple[Widths, int], StepReplay] = {}
        self._prompts: dict[tuple[Widths, int], PromptReplay] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def replay(self, widths: Widths, rows: int) -> StepReplay:
        """The graph of this gear for so many rows; captured when first asked for."""
        size = size_for(rows)
        found = self._replays.get((widths, size))
        if found is None:
            found = StepReplay(
                partial(self._step, widths),
                size,
                table_blocks=-(-self.context_length // BLOCK_TOKENS),
                spare_block=self.num_blocks,
                max_ahead=_MAX_AHEAD,
                device=self._device,
                pool=self._pool,
            )
            self._replays[widths, size] = found
        return found

    def _prompt_replay(self, widths: Widths, size: int) -> PromptReplay:
        """As replay, for prompts' chunks of one of PROMPT_SIZES."""
        found = self._prompts.get((widths, size))
        if found is None:
            found = PromptReplay(
                partial(self._chunk, widths),
                size,
                table_blocks=-(-self.context_length // BLOCK_TOKENS),
                spare_block=self.num_blocks,
                device=self._device,
                pool=self._pool,
            )
            self._prompts[widths, size] = found
        return found

    def _chunk(self, widths: Widths, steps: Steps, last: Tensor) -> tuple[Tensor, Picked]:
        h = hidden(self._config, self._weights, self._cache, self._prompt_ops, widths, steps)
        # What is drawn from has the arithmetic of the steps.
        row = h.index_select(0, last)
        values = logits(self._config, self._weights, self._ops, widths, row)
        return values, self._ops.pick(values)

    def _step(self, widths: Widths, steps: Steps) -> tuple[Tensor, Picked]:
        h = hidden(self._config, self._weights, self._cache, self._ops, widths, steps)
        values = logits(self._config, self._weights, self._ops, widths, h)
        return values, self._ops.pick(values, steps)

    def warm(self, widths: Widths) -> None:
        """Capture the graphs of these widths, the largest first, whose memory the others share; and
        then run a prompt without one, since a capture empties the allocator's cache. Kernels are
        compiled or loaded when they are first called, and no request shall wait for that."""
        count = min(_LONG_PROMPT, self.context_length)
        largest = prompt_size(count) or PROMPT_SIZES[-1]
        for size in reversed(PROMPT_SIZES):
            if size <= largest:
                self._prompt_replay(widths, size)
        for size in reversed(SIZES):
            self.replay(widths, size)
        spare = np.full(-(-count // BLOCK_TOKENS), self.num_blocks, np.int32)
        h = self._prompt([Progress(BatchRow(np.zeros(count, np.int32), 0, spare))], widths)
        logits(self._config, self._weights, self._ops, widths, h[-1:])

    def run(self, batch: Batch, widths: Widths) -> tuple[list[RowResult], list[float]]:
        """Run a batch; what each row drew, and the milliseconds of each step."""
        self._check(batch)
        start = time.perf_counter()
        rows = [Progress(row) for row in batch.rows]
        step_ms: list[float] = []
        stopped = False
        if any(len(r.tokens) > 1 or r.prompt_logprobs or r.sampler is None for r in batch.rows):
            stopped = self._first(batch, widths, rows)
            step_ms.append((time.perf_counter() - start) * 1e3)
        if not stopped:
            self._decode(batch, widths, rows, step_ms)
        return [p.result for p in rows], step_ms

    def _decode(
        self, batch: Batch, widths: Widths, rows: list[Progress], step_ms: list[float]
    ) -> None:
        """Steps of one token a row, until max_steps are told of in step_ms, or there is a stop."""
        ahead = len(rows) <= _MAX_ROWS and all(p.on_device for p in rows)
        while len(step_ms) < batch.max_steps:
            if step_ms and batch.until_ns is not None and time.monotonic_ns() >= batch.until_ns:
                return
            if ahead:
                if self._decode_ahead(batch, widths, rows, step_ms):
                    return
                continue
            start = time.perf_counter()
            stopped = False
            for i in range(0, len(rows), _MAX_ROWS):
                some = rows[i : i + _MAX_ROWS]
                replay = self.replay(widths, len(some))
                replay.load([p.step() for p in some])
                replay.launch(0)
                picked = replay.wait(0)
                for j, p in enumerate(some):
                    drawn = picked.row(j) if p.on_device else p.draw(replay.logits[j])
                    stopped |= p.take(drawn)
            step_ms.append((time.perf_counter() - start) * 1e3)
            if stopped:
                return

    def _decode_ahead(
        self, batch: Batch, widths: Widths, rows: list[Progress], step_ms: list[float]
    ) -> bool:
        """Steps that need nothing of the host: the next is launched before the last is looked at.
        True when a row drew a stop id, or time is up; what was launched beyond that is forgotten.
        """
        replay = self.replay(widths, len(rows))
        replay.load([p.step() for p in rows])
        count = min(batch.max_steps - len(step_ms), _MAX_AHEAD)
        launched, before = 0, time.perf_counter()
        for slot in range(count):
            while launched < min(count, slot + _IN_FLIGHT):
                replay.launch(launched)
                launched += 1
            picked = replay.wait(slot)
            now = time.perf_counter()
            step_ms.append((now - before) * 1e3)
            before = now
            stopped = False
            for j, p in enumerate(rows):
                stopped |= p.take(picked.row(j))
            late = batch.until_ns is not None and time.monotonic_ns() >= batch.until_ns
            if stopped or late:
                replay.wait(launched - 1)  # the next load must not overtake it
                return True
        return False

    def _first(self, batch: Batch, widths: Widths, rows: list[Progress]) -> bool:
        """Prompt chunks and drafts, and the tokens drawn after them; True at a stop id. A graph is
        for a lone prompt: several run together, over weights that are opened and read once."""
        stopped = False
        others: list[Progress] = []
        lone = not batch.exact and sum(p.is_prompt for p in rows) == 1
        for p in rows:
            size = prompt_size(len(p.row.tokens))
            if lone and p.is_prompt and size is not None:
                stopped |= self._take_chunk(p, self._prompt_replay(widths, size))
            else:
                others.append(p)
        if others:
            counts = [p.logit_rows for p in others]
            values = self._logits(batch, widths, others, counts).split(counts)
            stopped |= self._take(others, values)
        return stopped

    def _take(self, rows: list[Progress], values: Sequence[Tensor]) -> bool:
        """What follows rows, from the logits [logit_rows, vocab] of each; True at a stop id."""
        drawn = [part[len(part) - p.drawn_rows :] for p, part in zip(rows, values, strict=True)]
        firsts = np.cumsum([0, *(len(part) for part in drawn[:-1])]).tolist()
        chosen = torch.cat(drawn)
        picked = PickedRows.of(self._ops.pick(chosen).packed.cpu() if len(chosen) else _NOTHING)
        stops = [
            p.take_first(part, picked, first)
            for p, part, first in zip(rows, values, firsts, strict=True)
        ]
        return any(stops)

    def _take_chunk(self, p: Progress, replay: PromptReplay) -> bool:
        """Run a prompt's chunk by its graph, and take what follows it; True at a stop id."""
        picked = replay.run(p.row.tokens, p.row.start, p.row.block_table)
        return p.take_first(replay.logits[: p.logit_rows], picked, 0)

    def _logits(
        self, batch: Batch, widths: Widths, rows: list[Progress], counts: list[int]
    ) -> Tensor:
        """[sum of counts, vocab]: run all tokens of all rows without prompts' graphs, and tell the
        logits after the last so many of each."""
        pooled = any(p.row.pooled for p in rows)
        few = all(p.row.drafted or len(p.row.tokens) == 1 for p in rows)
        if not pooled and (batch.exact or few):
            return self._stepwise(widths, rows, counts)
        h = self._prompt(rows, widths)
        if pooled:
            self._tell_hidden(rows, h)
        if not any(counts):
            return torch.empty(0, self._config.vocab_size, device=self._device)
        parts = h.split([len(p.row.tokens) for p in rows])
        h = torch.cat([part[len(part) - n :] for part, n in zip(parts, counts, strict=True)])
        # What is drawn from has the arithmetic of the steps.
        ops = self._ops if len(h) <= _MAX_ROWS else self._prompt_ops
        return logits(self._config, self._weights, ops, widths, h)

    def _tell_hidden(self, rows: list[Progress], h: Tensor) -> None:
        """Tell pooled rows the sums of what the output head reads, from the residual stream."""
        for p, part in zip(rows, h.split([len(p.row.tokens) for p in rows]), strict=True):
            if p.row.pooled:
                read = normed(part.float(), self._weights.final_norm)
                p.result.hidden = read.double().sum(0).tolist()

    def _prompt(self, rows: list[Progress], widths: Widths) -> Tensor:
        """float32 [tokens, hidden]: the residual stream of prompts, many rows at once."""
        steps = prompt_steps(rows, self._device)
        return hidden(self._config, self._weights, self._cache, self._prompt_ops, widths, steps)

    def _stepwise(self, widths: Widths, rows: list[Progress], counts: list[int]) -> Tensor:
        """As _logits, in the arithmetic of the decode steps, a few tokens at a time."""
        kept: list[Tensor] = []
        steps: list[StepRow] = []
        chosen: set[int] = set()
        for p, count in zip(rows, counts, strict=True):
            steps += p.steps()
            chosen.update(range(len(steps) - count, len(steps)))
        for i in range(0, len(steps), _MAX_ROWS):
            part = steps[i : i + _MAX_ROWS]
            replay = self.replay(widths, len(part))
            replay.load(part)
            replay.launch(0)
            replay.wait(0)
            kept += [replay.logits[j].clone() for j in range(len(part)) if i + j in chosen]
        empty = torch.empty(0, self._config.vocab_size, device=self._device)
        return torch.stack(kept) if kept else empty

    def logits(self, batch: Batch, widths: Widths) -> Tensor:
        """float32 [total tokens, vocab]: logits after every token of every row."""
        self._check(batch)
        rows = [Progress(row) for row in batch.rows]
        return self._logits(batch, widths, rows, [len(row.tokens) for row in batch.rows])

    def _check(self, batch: Batch) -> None:
        check_batch(
            batch,
            context_length=self.context_length,
            num_blocks=self.num_blocks,
            vocab_size=self._config.vocab_size,
        )
