"""GpuRunner: a batch's rows through graphs and prompt products, and what is drawn after them.

It must not know gears' names, files, text or requests: a gear comes as the widths of its matrices.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from onesec.backend.base import Batch, BatchRow, RowResult
from onesec.core.errors import ModelError
from onesec.model.config import ModelConfig

from .ops import LayerCache, Ops, Picked, Steps, floats
from .ops_plain import normed
from .prompt_replay import PROMPT_SIZES, PromptReplay, prompt_size
from .replay import SIZES, PickedRows, StepReplay, StepRow, size_for
from .rows import BLOCK_TOKENS, Progress, check_batch, prompt_steps
from .transformer import Weights, Widths, hidden, logits

_MAX_ROWS = SIZES[-1]
_MAX_AHEAD = 32  # steps of one call that need no host between them
LONG_PROMPT = 2048  # tokens; too many for a graph
_NOTHING = torch.empty(4, 0, dtype=torch.int32, device="cpu")  # picked of no row
_IN_FLIGHT = 2  # steps that are launched before the host looks at the first of them

_After = tuple[Progress, Tensor, PickedRows, int]  # a row, and what its take_first takes


def _refusal(after: Sequence[tuple[Progress, PickedRows, int]]) -> Exception | None:
    """What keeps a step of rows, each with its row of what was picked, from drawing a token."""
    try:
        for p, picked, i in after:
            p.check(picked, i)
    except (ModelError, ValueError) as error:
        return error
    return None


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

    def close(self) -> None:
        """Let the graphs go, which hold on to the runner as it does to them."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._replays.clear()
        self._prompts.clear()

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
        h, _ = hidden(self._config, self._weights, self._cache, self._prompt_ops, widths, steps)
        # What is drawn from has the arithmetic of the steps.
        row = h.index_select(0, last)
        values = logits(self._config, self._weights, self._ops, widths, row)
        return values, self._ops.pick(values)

    def _step(self, widths: Widths, steps: Steps) -> tuple[Tensor, Picked]:
        h, ready = hidden(self._config, self._weights, self._cache, self._ops, widths, steps)
        values = logits(self._config, self._weights, self._ops, widths, h, ready)
        return values, self._ops.pick(values, steps)

    def warm(self, widths: Widths) -> None:
        """Capture the graphs of these widths, the largest first, whose memory the others share; and
        then run a prompt without one, and what follows some of its rows, since a capture empties
        the allocator's cache. Kernels are compiled or loaded when they are first called, and no
        request shall wait for that."""
        count = min(LONG_PROMPT, self.context_length)
        largest = prompt_size(count) or PROMPT_SIZES[-1]
        for size in reversed(PROMPT_SIZES):
            if size <= largest:
                self._prompt_replay(widths, size)
        for size in reversed(SIZES):
            self.replay(widths, size)
        spare = np.full(-(-count // BLOCK_TOKENS), self.num_blocks, np.int32)
        h = self._prompt([Progress(BatchRow(np.zeros(count, np.int32), 0, spare))], widths)
        for size in SIZES:
            self._pick([self._head(widths, h[-1:].repeat(size, 1))])

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
            if step_ms and not self._in_time(batch):
                return
            if ahead:
                if self._decode_ahead(batch, widths, rows, step_ms):
                    return
                continue
            start = time.perf_counter()
            after: list[tuple[Progress, PickedRows, int, Tensor | None]] = []
            for i in range(0, len(rows), _MAX_ROWS):
                some = rows[i : i + _MAX_ROWS]
                replay = self.replay(widths, len(some))
                replay.load([p.step() for p in some])
                replay.launch(0)
                picked = replay.wait(0)
                for j, p in enumerate(some):  # the next rows' step writes over these logits
                    after.append((p, picked, j, None if p.on_device else replay.logits[j].cpu()))
            error = _refusal([each[:3] for each in after])
            if error is not None:
                if not step_ms:
                    raise error
                return  # the next call begins with this step
            stops = [
                p.take(picked.row(j) if values is None else p.draw(values))
                for p, picked, j, values in after
            ]
            step_ms.append((time.perf_counter() - start) * 1e3)
            if any(stops):
                return

    def _in_time(self, batch: Batch, ahead_ns: int = 0) -> bool:
        """Whether a step may begin in so many nanoseconds."""
        if batch.until_ns is None or self._ops.joined:
            return True
        return time.monotonic_ns() + ahead_ns < batch.until_ns

    def _decode_ahead(
        self, batch: Batch, widths: Widths, rows: list[Progress], step_ms: list[float]
    ) -> bool:
        """Steps that need nothing of the host: the next is launched before the last is looked at,
        where it would begin in time. True when a row drew a stop id or cannot draw, or time is up;
        what was launched beyond that is forgotten."""
        replay = self.replay(widths, len(rows))
        replay.load([p.step() for p in rows])
        count = min(batch.max_steps - len(step_ms), _MAX_AHEAD)
        launched, before = 0, time.perf_counter()
        for slot in range(count):
            while launched < min(count, slot + _IN_FLIGHT):
                if launched > slot and not self._in_time(batch, replay.step_ns):
                    break
                replay.launch(launched)
                launched += 1
            picked = replay.wait(slot)
            now = time.perf_counter()
            replay.step_ns = int((now - before) * 1e9)
            error = _refusal([(p, picked, j) for j, p in enumerate(rows)])
            if error is not None:
                replay.wait(launched - 1)
                if not step_ms:
                    raise error
                return True
            step_ms.append((now - before) * 1e3)
            before = now
            stopped = False
            for j, p in enumerate(rows):
                stopped |= p.take(picked.row(j))
            if stopped or not self._in_time(batch):
                replay.wait(launched - 1)  # the next load must not overtake it
                return True
        return False

    def _first(self, batch: Batch, widths: Widths, rows: list[Progress]) -> bool:
        """Prompt chunks and drafts, and the tokens drawn after them; True at a stop id. A graph is
        for a lone prompt: several run together, over weights that are opened and read once."""
        lone = not batch.exact and sum(p.is_prompt for p in rows) == 1
        sizes = [prompt_size(len(p.row.tokens)) if lone and p.is_prompt else None for p in rows]
        others = [p for p, size in zip(rows, sizes, strict=True) if size is None]
        after = self._after(batch, widths, others) if others else []
        for p, size in zip(rows, sizes, strict=True):
            if size is not None:  # the last graph that runs: its logits stay
                replay = self._prompt_replay(widths, size)
                picked = replay.run(p.row.tokens, p.row.start, p.row.block_table)
                after.append((p, replay.logits[: p.logit_rows], picked, 0))
        for p, values, picked, first in after:  # before any of them draws
            p.check_first(values, picked, first)
        stops = [p.take_first(*found) for p, *found in after]  # all of them draw
        return any(stops)

    def _after(self, batch: Batch, widths: Widths, rows: list[Progress]) -> list[_After]:
        """Run rows without prompts' graphs; what Progress.take_first takes of each."""
        counts = [p.logit_rows for p in rows]
        values = self._logits(batch, widths, rows, counts).split(counts)
        drawn = [part[len(part) - p.drawn_rows :] for p, part in zip(rows, values, strict=True)]
        firsts = np.cumsum([0, *(len(part) for part in drawn[:-1])]).tolist()
        found = self._pick(drawn).packed.cpu() if any(map(len, drawn)) else _NOTHING
        picked = PickedRows.of(found)
        return [(p, part, picked, i) for p, part, i in zip(rows, values, firsts, strict=True)]

    def _pick(self, parts: Sequence[Tensor]) -> Picked:
        """Of logits [n, vocab] in parts. One tensor of its own, whatever the parts are rows of:
        kernels are compiled for its stride."""
        return self._ops.pick(torch.cat(list(parts)))

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
            return self._no_logits()
        parts = h.split([len(p.row.tokens) for p in rows])
        h = torch.cat([part[len(part) - n :] for part, n in zip(parts, counts, strict=True)])
        return self._head(widths, h)

    def _head(self, widths: Widths, h: Tensor) -> Tensor:
        """float32 [n, vocab]: what follows rows of the residual stream, in the arithmetic of the
        steps. As many rows at a time as some graph has: kernels are compiled for those, and the
        head is never opened."""
        out = floats(len(h), self._config.vocab_size, device=self._device)
        for i in range(0, len(h), _MAX_ROWS):
            part = h[i : i + _MAX_ROWS]
            count = len(part)
            rows = F.pad(part, (0, 0, 0, size_for(count) - count))
            found = logits(self._config, self._weights, self._ops, widths, rows)
            out[i : i + count] = found[:count]
        return out

    def _tell_hidden(self, rows: list[Progress], h: Tensor) -> None:
        """Tell pooled rows the sums of what the output head reads, from the residual stream."""
        for p, part in zip(rows, h.split([len(p.row.tokens) for p in rows]), strict=True):
            if p.row.pooled:
                read = normed(part.float(), self._weights.final_norm)
                p.result.hidden = read.double().sum(0).tolist()

    def _prompt(self, rows: list[Progress], widths: Widths) -> Tensor:
        """float32 [tokens, hidden]: the residual stream of prompts, many rows at once."""
        steps = prompt_steps(rows, self._device)
        h, _ = hidden(self._config, self._weights, self._cache, self._prompt_ops, widths, steps)
        return h

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
        return torch.stack(kept) if kept else self._no_logits()

    def _no_logits(self) -> Tensor:
        return floats(0, self._config.vocab_size, device=self._device)

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
