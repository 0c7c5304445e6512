"""Speculation: guesses the next tokens of a lone sequence, so that one forward checks many.

A guess is what followed the last time these tokens stood in prompt or answer (lookup, free), or
what the cheapest gear says (over the same weights and cache). Tokens are drawn as without it, since
the check draws each as a plain step would: a guess changes when tokens come and nothing else.
It must not know text, deadlines' meaning or requests.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np

from onesec.backend.base import Backend, Batch, BatchResult, BatchRow, Int32Array
from onesec.budget.draft import MAX_DRAFT_TOKENS, MAX_MATCH, DraftModel
from onesec.budget.latency import LatencyModel
from onesec.core.errors import ModelError
from onesec.core.request import SamplingParams

from .sequence import Sequence

LOOKUP, CHEAP_GEAR = "lookup", "gear"
# How often what followed last time follows again, where 1, 2, 3 or more tokens before it are the
# same, and how often the cheapest gear agrees (measured at 0.8 to 0.95). What is seen here replaces
# them.
_FIRST_GUESS = {LOOKUP: (0.3, 0.6, 0.8), CHEAP_GEAR: (0.8,)}
_WORTH_BYTES = 1.4  # a gear that reads less than this times the cheapest one's bytes drafts nothing
_HURRY = 1.3  # a cycle may take so much longer than its median and must still end in time
_IDLE_CALLS = 32  # steps taken without a thought of drafts after one that was not worth it
_PLAIN_CALLS = 32  # of which one is a plain step, however well drafts pay: it tells what such take
_FAST = 1.1  # above this speed every step is worth a look for a draft


@dataclass(frozen=True, slots=True)
class Draft:
    """Guessed tokens, where they came from, how many before them stood alike there (0: no such
    place), and the forward that made them, if one did."""

    source: str
    tokens: Int32Array
    match: int = 0
    made: BatchResult | None = None

    @property
    def ms(self) -> float:
        """Wall milliseconds that the guess took."""
        return sum(self.made.step_ms) if self.made else 0.0

    @property
    def overdue(self) -> bool:
        """Whether the forward did not end in time, so that there is no guess."""
        return self.made is not None and self.made.overdue


def look_up(ids: Int32Array, count: int) -> tuple[Int32Array, int]:
    """What followed where the last tokens of int32 [n] stood before, at most `count` tokens, and
    how many of them are the same there, at most MAX_MATCH (prompt lookup decoding). Of several
    places the one where most are the same, of those the latest; nothing and 0 without any.

    >>> tokens, match = look_up(np.array([5, 6, 7, 8, 9, 4, 6, 7], dtype=np.int32), 3)
    >>> tokens.tolist(), match
    ([8, 9, 4], 2)
    """
    last = len(ids) - 1
    found, match = np.flatnonzero(ids[:last] == ids[last]), 0
    alike = found
    while len(alike) and match < MAX_MATCH:
        found, match = alike, match + 1
        alike = found[found >= match]
        alike = alike[ids[alike - match] == ids[last - match]]
    if match == 0:
        return ids[:0], 0
    begin = int(found[-1]) + 1
    return ids[begin : begin + count], match


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
        self._drafted = 0  # calls since the last plain step

    def prepare(self, sequence: Sequence, batch: Batch, now_ns: int) -> Draft | None:
        """Put a draft into the batch's only row, where one pays and ends in time; an overdue one
        is returned as it is."""
        row, limit = batch.rows[0], min(MAX_DRAFT_TOKENS, sequence.stop.left - 1)
        draft = None
        if limit > 0 and self._drafted < _PLAIN_CALLS:
            draft = self._lookup(sequence, limit, now_ns)
            draft = draft or self._ask_cheapest(sequence, limit, now_ns, batch.watch_ns)
        if draft is None:
            self._drafted = 0
            if sequence.speed > _FAST:
                batch.max_steps = 1
            return None
        if draft.overdue:
            return draft
        self._drafted += 1
        row.tokens = np.concatenate([row.tokens, draft.tokens])
        row.drafted = True
        batch.max_steps = 1
        return draft

    def describe(self, gear: str, context: int) -> dict[str, Any]:
        """What guessing ahead is worth now, in that gear after `context` tokens: what it costs to
        check 1 to 7 guesses (1: a plain step), and for each source how many guesses are right (of
        lookup behind 1 to 8 tokens that stood alike), how many pay (0: none) and what they gain
        (behind 8)."""
        step_ms = self._latency.step_ms(gear, context)
        counts = range(1, MAX_DRAFT_TOKENS + 1)
        check = [round(self._model.check_ms(gear, context, n) / step_ms, 3) for n in counts]
        found: dict[str, Any] = {"check_over_step": check}
        cheap_ms = self._latency.step_ms(self._cheapest.name, context)
        for source, matches, draft_step_ms in (
            (LOOKUP, range(1, MAX_MATCH + 1), 0.0),
            (CHEAP_GEAR, (0,), cheap_ms),
        ):
            rates = [round(self._model.acceptance(source, gear, match), 3) for match in matches]
            tokens, gain = self._model.best(
                source,
                gear,
                context=context,
                limit=MAX_DRAFT_TOKENS,
                match=matches[-1],
                draft_step_ms=draft_step_ms,
            )
            found[source] = {"acceptance": rates, "tokens": tokens, "gain": round(gain, 3)}
        return found

    def expected_ms(self, sequence: Sequence, draft: Draft) -> float:
        """The median of draft and check."""
        check_ms = self._model.check_ms(sequence.gear.name, sequence.length, len(draft.tokens))
        return draft.ms + check_ms

    def observe(self, sequence: Sequence, draft: Draft, drawn: Seq[int], check_ms: float) -> int:
        """Learn from a checked draft and the tokens that came of it; returns how many of its own
        were right."""
        gear, context = sequence.gear.name, sequence.row.start
        drafted, right = len(draft.tokens), 0
        while right < min(drafted, len(drawn)) and drawn[right] == draft.tokens[right]:
            right += 1
        step_ms = self._latency.step_ms(gear, context)
        sequence.take_speed(len(drawn) * step_ms / (draft.ms + check_ms))
        self._model.observe(
            draft.source,
            gear,
            context=context,
            drafted=drafted,
            right=right,
            check_ms=check_ms,
            match=draft.match,
        )
        return right

    def _awake(self, source: str) -> bool:
        if self._idle[source] > 0:
            self._idle[source] -= 1
            return False
        return True

    def _lookup(self, sequence: Sequence, limit: int, now_ns: int) -> Draft | None:
        if not self._awake(LOOKUP):
            return None
        tokens, match = look_up(sequence.ids[: sequence.length], limit)
        if match == 0:
            return None
        count = self._length(LOOKUP, sequence, len(tokens), now_ns, match=match)
        return Draft(LOOKUP, tokens[:count], match) if count else None

    def _ask_cheapest(
        self, sequence: Sequence, limit: int, now_ns: int, watch_ns: int | None
    ) -> Draft | None:
        if sequence.gear.name not in self._assisted or not self._awake(CHEAP_GEAR):
            return None
        step_ms = self._latency.step_ms(self._cheapest.name, sequence.length)
        count = self._length(CHEAP_GEAR, sequence, limit, now_ns, draft_step_ms=step_ms)
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
        return Draft(CHEAP_GEAR, np.array(made.rows[0].tokens, dtype=np.int32), made=made)

    def _length(
        self,
        source: str,
        sequence: Sequence,
        limit: int,
        now_ns: int,
        *,
        match: int = 0,
        draft_step_ms: float = 0.0,
    ) -> int:
        """Tokens to guess: as many as pay; none where the next steps might end too late, or blocks
        are short. Where the answer has no time to spare for a wrong guess, only what is known to
        pay counts."""
        gear, context = sequence.gear.name, sequence.length

        def paying(match: int, sure: bool = False) -> int:
            count, _ = self._model.best(
                source,
                gear,
                context=context,
                limit=limit,
                match=match,
                draft_step_ms=draft_step_ms,
                sure=sure,
            )
            return count

        for sure in (False, True):
            count = paying(match, sure)
            if count == 0:
                self._model.pass_by(source, gear, match)
                if match in (0, MAX_MATCH) or paying(MAX_MATCH) == 0:
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
