"""StallingBackend: a FakeBackend whose steps hang when they are told to.

What a hung step writes and draws happens when it ends, with the block tables of its call: blocks
that were given away meanwhile show as wrong tokens. Nothing may be computed before it has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from fake_backend import FakeBackend

from onesec.backend.base import Batch, BatchResult, RowResult
from onesec.core.clock import FakeClock


class StallingBackend(FakeBackend):
    """`stalls` gives, for each step that is computed, the milliseconds that it hangs."""

    def __init__(self, clock: FakeClock, stalls: Iterator[float], **options: object) -> None:
        super().__init__(clock, **options)  # type: ignore[arg-type]
        self.stalls = stalls
        self.leaves_steps = True
        self.raises: Exception | None = None  # at the end of the next hung step
        self.left: tuple[Batch, int, float] | None = None  # what goes on, its end, how long it hung

    def forward(self, batch: Batch) -> BatchResult:
        assert self.left is None, "a call while another one goes on"
        done = BatchResult([RowResult() for _ in batch.rows], [], 0.0, 0)
        rest = replace(
            batch,
            rows=[
                replace(row, tokens=row.tokens.copy(), block_table=row.block_table.copy())
                for row in batch.rows
            ],
        )
        for step in range(batch.max_steps):
            if step and batch.until_ns is not None and self.clock.now_ns() > batch.until_ns:
                break
            stall_ms = next(self.stalls, 0.0)
            end_ns = self.clock.now_ns() + round(stall_ms * 1e6)
            if stall_ms and batch.watch_ns is not None and end_ns > batch.watch_ns:
                self.left = rest, end_ns, stall_ms
                self._advance_to(batch.watch_ns)
                done.overdue = True
                break
            self.clock.advance_ms(stall_ms)
            self._add(done, self._step(rest), stall_ms)
            if any(
                found.tokens[-1] in row.stop_ids
                for row, found in zip(rest.rows, done.rows, strict=True)
                if found.tokens
            ):
                break
        return done

    def rest(self, until_ns: int | None) -> BatchResult | None:
        assert self.left is not None, "nothing goes on"
        batch, end_ns, stall_ms = self.left
        if until_ns is not None and end_ns > until_ns:
            self._advance_to(until_ns)
            return None
        self._advance_to(end_ns)
        self.left = None
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error
        done = BatchResult([RowResult() for _ in batch.rows], [], 0.0, 0)
        self._add(done, self._step(batch), stall_ms)
        return done

    def close(self) -> None:
        self.left = None  # waits for it
        super().close()

    def _advance_to(self, instant_ns: int) -> None:
        self.clock.advance_ms(max(0, instant_ns - self.clock.now_ns()) / 1e6)

    def _step(self, batch: Batch) -> BatchResult:
        """One step of the batch, which goes on behind it."""
        result = super().forward(replace(batch, max_steps=1))
        for row, found in zip(batch.rows, result.rows, strict=True):
            row.start += len(found.tokens) if row.drafted else len(row.tokens)
            row.tokens = np.array(found.tokens[-1:], dtype=np.int32)
            row.drafted = row.prompt_logprobs = False
        return result

    @staticmethod
    def _add(done: BatchResult, step: BatchResult, stall_ms: float) -> None:
        done.step_ms.append(step.step_ms[0] + stall_ms)
        done.cpu_ms += step.cpu_ms
        done.bytes_read += step.bytes_read
        for to, new in zip(done.rows, step.rows, strict=True):
            for name in ("tokens", "logprobs", "entropies", "margins", "top", "prompt_logprobs"):
                getattr(to, name).extend(getattr(new, name))
