"""Speculation: guesses the next tokens of a lone sequence, so that one forward checks many.

A guess is what followed the last time these tokens stood in prompt or answer (lookup, free), or
what the cheapest gear says (over the same weights and cache). Tokens are drawn as without it, since
the check draws each as a plain step would: a guess changes when tokens come and nothing else.
It must not know text, deadlines' meaning or requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onesec.backend.base import Backend, Batch, BatchResult, BatchRow, Int32Array
from onesec.budget.draft import MAX_DRAFT_TOKENS, DraftModel
from onesec.budget.latency import LatencyModel
from onesec.core.errors import ModelError
from onesec.core.request import SamplingParams

from .sequence import Sequence

LOOKUP, CHEAP_GEAR = "lookup", "gear"
# Where the last three tokens stood before, the next one is mostly the same; how often the cheapest
# gear agrees was measured at 0.8 to 0.95. Both are replaced by what is seen here.
_FIRST_GUESS = {LOOKUP: 0.7, CHEAP_GEAR: 0.8}
_NGRAMS = (3, 2)  # tokens that must stand there alike, the longer first
_WORTH_BYTES = 1.4  # a gear that reads less than this times the cheapest one's bytes drafts nothing
_HURRY = 1.3  # a cycle may take so much longer than its median and must still end in time
_IDLE_CALLS = 32  # steps taken without a thought of drafts after one that was not worth it
_FAST = 1.1  # above this speed every step is worth a look for a draft


@dataclass(frozen=True, slots=True)
class Draft:
    """Guessed tokens, where they came from, and the forward that made them, if one did."""

    source: str
    tokens: Int32Array
    made: BatchResult | None = None

    @property
    def ms(self) -> float:
        """Wall milliseconds that the guess took."""
        return sum(self.made.step_ms) if self.made else 0.0

    @property
    def overdue(self) -> bool:
        """Whether the forward did not end in time, so that there is no guess."""
        return self.made is not None and self.made.overdue


def look_up(ids: Int32Array, count: int) -> Int32Array:
    """What followed the latest earlier occurrence of the last tokens of int32 [n], at most `count`
    tokens; empty where they never stood there (prompt lookup decoding, n-grams of 3, then 2).

    >>> look_up(np.array([5, 6, 7, 8, 9, 5, 6, 7], dtype=np.int32), 3).tolist()
    [8, 9, 5]
    """
    for size in _NGRAMS:
        starts = len(ids) - size  # before the last tokens themselves
        if starts < 1:
            continue
        alike = ids[:starts] == ids[starts]
        for i in range(1, size):
            alike &= ids[i : starts + i] == ids[starts + i]
        found = np.flatnonzero(alike)
        if len(found):
            begin = int(found[-1]) + size
            return ids[begin : begin + count]
    return ids[:0]


class Speculation:
    """Makes drafts where they pay, and learns from each what drafts are worth.

    `forward` calls the backend; `reserve` grants a sequence blocks for so many positions, or
    refuses.
    """

    def __init__(
        self,
        backend: Backend,
        forward: Callable[[Batch], BatchResult],
        latency: LatencyModel,
        reserve: Callable[[Sequence, int], bool],
    ) -> None:
        self._forward = forward
        self._latency = latency
        self._reserve = reserve
        self._model = DraftModel(latency, _FIRST_GUESS)
        self._cheapest = cheapest = backend.gears[0]
        bytes_of = {gear.name: backend.bytes_per_token(gear) for gear in backend.gears}
        least = _WORTH_BYTES * bytes_of[cheapest.name]
        self._assisted = {name for name, size in bytes_of.items() if size >= least}
        self._greedy = backend.sampler(SamplingParams(), eos_ids=())
        self._idle = {LOOKUP: 0, CHEAP_GEAR: 0}

    def prepare(self, sequence: Sequence, batch: Batch, now_ns: int) -> Draft | None:
        """Put a draft into the batch's only row, where one pays and ends in time; an overdue one
        is returned as it is."""
        row, limit = batch.rows[0], min(MAX_DRAFT_TOKENS, sequence.stop.left - 1)
        draft = None
        if limit > 0:
            draft = self._lookup(sequence, limit, now_ns)
            draft = draft or self._ask_cheapest(sequence, limit, now_ns, batch.watch_ns)
        if draft is None:
            if sequence.speed > _FAST:
                batch.max_steps = 1
            return None
        if draft.overdue:
            return draft
        row.tokens = np.concatenate([row.tokens, draft.tokens])
        row.drafted = True
        batch.max_steps = 1
        return draft

    def describe(self, gear: str, context: int) -> dict[str, Any]:
        """What guessing ahead is worth now, in that gear after `context` tokens: what it costs to
        check 1 to 7 guesses (1: a plain step), and for each source how many guesses are right, how
        many pay (0: none) and what they gain."""
        step_ms = self._latency.step_ms(gear, context)
        counts = range(1, MAX_DRAFT_TOKENS + 1)
        check = [round(self._model.check_ms(gear, context, n) / step_ms, 3) for n in counts]
        found: dict[str, Any] = {"check_over_step": check}
        for source, draft_step_ms in (
            (LOOKUP, 0.0),
            (CHEAP_GEAR, self._latency.step_ms(self._cheapest.name, context)),
        ):
            tokens, gain = self._model.best(
                source, gear, context=context, limit=MAX_DRAFT_TOKENS, draft_step_ms=draft_step_ms
            )
            found[source] = {
                "acceptance": round(self._model.acceptance(source, gear), 3),
                "tokens": tokens,
                "gain": round(gain, 3),
            }
        return found

    def expected_ms(self, sequence: Sequence, draft: Draft) -> float:
        """The median of draft and check."""
        check_ms = self._model.check_ms(sequence.gear.name, sequence.length, len(draft.tokens))
        return draft.ms + check_ms

    def observe(self, sequence: Sequence, draft: Draft, drawn: int, check_ms: float) -> None:
        """Learn from a checked draft: `drawn` tokens came of it, one of them behind it."""
        gear, context = sequence.gear.name, sequence.row.start
        drafted = len(draft.tokens)
        step_ms = self._latency.step_ms(gear, context)
        sequence.take_speed(drawn * step_ms / (draft.ms + check_ms))
        self._model.observe(
            draft.source, gear, context=context, drafted=drafted, right=drawn - 1, check_ms=check_ms
        )

    def _awake(self, source: str) -> bool:
        if self._idle[source] > 0:
            self._idle[source] -= 1
            return False
        return True

    def _lookup(self, sequence: Sequence, limit: int, now_ns: int) -> Draft | None:
        if not self._awake(LOOKUP):
            return None
        tokens = look_up(sequence.ids[: sequence.length], limit)
        if len(tokens) == 0:
            return None
        count = self._length(LOOKUP, sequence, len(tokens), now_ns, 0.0)
        return Draft(LOOKUP, tokens[:count]) if count else None

    def _ask_cheapest(
        self, sequence: Sequence, limit: int, now_ns: int, watch_ns: int | None
    ) -> Draft | None:
        if sequence.gear.name not in self._assisted or not self._awake(CHEAP_GEAR):
            return None
        step_ms = self._latency.step_ms(self._cheapest.name, sequence.length)
        count = self._length(CHEAP_GEAR, sequence, limit, now_ns, step_ms)
        if count == 0:
            return None
        row = sequence.row
        guess = BatchRow(
            row.tokens, row.start, row.block_table, self._greedy, row.stop_ids, statistics=False
        )
        batch = Batch(self._cheapest, [guess], count, exact=True, watch_ns=watch_ns)
        try:
            made = self._forward(batch)
        except ModelError:  # logits that are not finite, of a gear that the answer is not in
            self._idle[CHEAP_GEAR] = _IDLE_CALLS
            return None
        return Draft(CHEAP_GEAR, np.array(made.rows[0].tokens, dtype=np.int32), made)

    def _length(
        self, source: str, sequence: Sequence, limit: int, now_ns: int, draft_step_ms: float
    ) -> int:
        """Tokens to guess: as many as pay; none where the next steps might end too late, or blocks
        are short. Where the answer has no time to spare for a wrong guess, only what is known to
        pay counts."""
        gear, context = sequence.gear.name, sequence.length
        for sure in (False, True):
            count, _ = self._model.best(
                source, gear, context=context, limit=limit, draft_step_ms=draft_step_ms, sure=sure
            )
            if count == 0:
                self._model.pass_by(source, gear)
                self._idle[source] = _IDLE_CALLS
                return 0
            cycle_ms = self._model.check_ms(gear, context, count) + count * draft_step_ms
            if cycle_ms - self._latency.step_ms(gear, context) <= sequence.slack_ms:
                break
        until_ns = sequence.until_ns
        late = until_ns is not None and now_ns + _HURRY * cycle_ms * 1e6 > until_ns
        if late or not self._reserve(sequence, sequence.length + count):
            return 0
        return count
