"""Watchdog: when a call must come back, and what is known of one that had to be left behind.

It must not know tokens, text or how an answer ends. A call that did not come back in time goes on
behind (`BatchResult.overdue`): until it is over nothing else computes, and no block that it may
write to is given to another sequence, whatever becomes of those that it was computed for.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from onesec.backend.base import Backend, BatchResult
from onesec.budget.latency import P50, LatencyModel

from .block_manager import BlockManager, BlockTable
from .scheduler import Scheduler, Work
from .speculation import Draft


@dataclass(slots=True)
class Overdue:
    """A call that goes on behind.

    work         what it computes; its sequences may have ended since
    draft        the draft that it checks, if it does
    wanted       whether its results count; those of a guess that came too late do not
    since_ns     when the step began that did not end
    expected_ms  what that step should have taken
    held         the sequences' blocks, in tables of their own
    """

    work: Work
    draft: Draft | None
    wanted: bool
    since_ns: int
    expected_ms: float
    held: list[BlockTable]


class Watchdog:
    """Sets the fences of calls, and keeps the one that is overdue."""

    def __init__(
        self, backend: Backend, blocks: BlockManager, scheduler: Scheduler, latency: LatencyModel
    ) -> None:
        self._backend = backend
        self._blocks = blocks
        self._scheduler = scheduler
        self._latency = latency
        self._overdue: Overdue | None = None
        self._result: BatchResult | Exception | None = None
        self._asking = Lock()  # one thread at a time asks the backend

    @property
    def overdue(self) -> Overdue | None:
        """The call that goes on behind, as far as is known."""
        return self._overdue

    def fence_ns(self) -> int | None:
        """When the next answer must be handed over, of all that wait or run: a step that hangs
        holds them all up. The margin is left for it. None where nothing has a deadline."""
        ends_ns = (sequence.end_ns for sequence in self._scheduler.unfinished())
        return min((end_ns for end_ns in ends_ns if end_ns is not None), default=None)

    def leave(self, work: Work, draft: Draft | None, since_ns: int, *, wanted: bool = True) -> None:
        """Leave a call to itself whose present step began at `since_ns`."""
        held = [self._blocks.hold(sequence.table) for sequence in work.sequences]
        expected_ms = self._expected_ms(work)
        self._overdue = Overdue(work, draft, wanted, since_ns, expected_ms, held)

    def _expected_ms(self, work: Work) -> float:
        name, rows = work.batch.gear.name, work.batch.rows
        if work.prefill:
            tokens = sum(len(row.tokens) for row in rows)
            return self._latency.prefill_ms(name, tokens, start=rows[0].start, quantile=P50)
        return self._latency.step_ms(name, sum(row.start for row in rows) // len(rows), len(rows))

    def over(self, until_ns: int | None) -> bool:
        """Whether no call goes on behind, after waiting until that instant at most (None: as long
        as it takes). Where another thread waits for it, this one does not."""
        unknown = self._overdue is not None and self._result is None
        if unknown and self._asking.acquire(blocking=False):
            try:
                self._result = self._backend.rest(until_ns)
            except Exception as error:
                self._result = error
            finally:
                self._asking.release()
        return self._overdue is None or self._result is not None

    def take(self) -> tuple[Overdue, BatchResult | Exception]:
        """The call that has ended, and what it did in the end or what it raised; its blocks are
        free again."""
        overdue, result = self._overdue, self._result
        assert overdue is not None
        assert result is not None
        self._overdue = self._result = None
        for table in overdue.held:
            self._blocks.free(table)
        return overdue, result

    def delay_ms(self, now_ns: int) -> float:
        """How much longer the call may take, as nothing but its lateness is known: as long again
        as it is late already (the median, where stalls of all scales are equally likely)."""
        if self._overdue is None or self._result is not None:
            return 0.0
        return max(0.0, (now_ns - self._overdue.since_ns) / 1e6 - self._overdue.expected_ms)
