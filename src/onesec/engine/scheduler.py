"""Scheduler: which sequences compute next, in which batches, in how many steps.

It must not know text, samplers' results or why a gear was chosen. Earliest deadline first; prompts
run in chunks between decode steps; one gear a batch; when blocks run out, the least urgent sequence
gives its own back and is computed again later.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain

from onesec.backend.base import Batch
from onesec.budget.chunks import next_chunk
from onesec.budget.latency import P50, LatencyModel
from onesec.core.gear import Gear
from onesec.core.request import Request

from .block_manager import BlockManager
from .sequence import Sequence

_MIN_CHUNK_TOKENS = 16
_CHUNK_SHARE = 0.25  # of a more urgent sequence's slack that one prompt chunk may take
_BACKGROUND_TURNS = 4  # the background gets one turn in so many when others are late


# By gear and block name: the urgency of the most urgent prompt that will have computed the block. A
# name stands for all blocks before it too.
Soon = Mapping[str, Mapping[bytes, tuple[int, int]]]


@dataclass(slots=True)
class Work:
    """One batch of a turn and the sequences of its rows."""

    batch: Batch
    sequences: list[Sequence]
    prefill: bool


class Scheduler:
    """Owns the waiting and the running sequences and grants them blocks.

    max_rows      sequences in flight, and rows of a batch
    chunk_tokens  about the most prompt tokens in one turn (see next_chunk); fewer where they would
                  take over chunk_ms: a request that arrives meanwhile waits that long
    max_steps     decode steps in one call, where nothing needs attention in between
    turn_ms       about the longest call for the sake of several steps
    """

    def __init__(
        self,
        blocks: BlockManager,
        latency: LatencyModel,
        *,
        max_rows: int = 16,
        chunk_tokens: int = 512,
        chunk_ms: float = 100.0,
        max_steps: int = 8,
        turn_ms: float = 4.0,
        on_start: Callable[[Sequence], None] = lambda sequence: None,
    ) -> None:
        self.blocks = blocks
        self.max_rows = max_rows
        self._chunk_tokens = chunk_tokens
        self._chunk_ms = chunk_ms
        self.running: list[Sequence] = []  # most urgent first
        self._waiting: list[tuple[tuple[int, int], Sequence]] = []  # heap
        self._latency = latency
        self._max_steps = max_steps
        self._turn_ms = turn_ms
        self._on_start = on_start
        self._turn = 0

    @property
    def waiting(self) -> int:
        """Sequences that hold no blocks yet."""
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        return bool(self.running or self._waiting)

    def soon(self) -> Soon:
        """What prompts that are there will have put into the prefix cache."""
        found: dict[str, dict[bytes, tuple[int, int]]] = {}
        reading = (each for each in self.unfinished() if each.state != "decoding")
        for each in sorted(reading, key=_order, reverse=True):
            of_gear = found.setdefault(each.prefill_gear.name, {})
            of_gear.update(dict.fromkeys(each.names, each.order))
        return found

    def to_read(self, sequence: Sequence, soon: Soon) -> tuple[int, int]:
        """How many tokens it has to run before it can decode, and behind how many computed ones:
        of one that has not begun, those of its prompt that will be there by then."""
        computed = sequence.computed
        if not self._begun(sequence):
            names, variant = sequence.names, sequence.prefill_gear.name
            computed = max(computed, self.cached_tokens(names, variant, sequence.order, soon))
        return sequence.prefill_left - (computed - sequence.computed), computed

    def cached_tokens(
        self, names: Seq[bytes], variant: str, order: tuple[int, int], soon: Soon
    ) -> int:
        """The tokens of a prompt of that urgency that it need not compute in that gear: the prefix
        cache holds them, or more urgent prompts that begin alike will have put them there."""
        known, coming = self.blocks.match(names, variant), soon.get(variant, {})
        while known < len(names) and coming.get(names[known], order) < order:
            known += 1
        return known * self.blocks.block_size

    def _begun(self, sequence: Sequence) -> bool:
        """Whether it has computed anything itself."""
        return sequence.computed > sequence.table.shared * self.blocks.block_size

    def crowding(self, request: Request) -> float:
        """The share of a request's time to spare that others are likely to need: all of it where
        others with a deadline are there, else nothing. Only the background counts the
        background."""
        waiting = (sequence for _, sequence in self._waiting)
        return float(
            any(
                other.dues.timed
                and other.request is not request
                and other.request.background <= request.background
                for other in chain(self.running, waiting)
            )
        )

    def most_urgent_waiting(self) -> Sequence | None:
        """The waiting sequence that would start next."""
        return self._waiting[0][1] if self._waiting else None

    def overdue(self, now_ns: int) -> list[Sequence]:
        """The waiting sequences whose time is over, also behind others that are in time."""
        waiting = (sequence for _, sequence in self._waiting)
        return [each for each in waiting if each.end_ns is not None and each.end_ns <= now_ns]

    def unfinished(self) -> list[Sequence]:
        """All sequences that wait or run."""
        return [*self.running, *(sequence for _, sequence in self._waiting)]

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn."""
        sequence.state = "waiting"
        heappush(self._waiting, (sequence.order, sequence))

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence and take its blocks and its place back at once."""
        if sequence.state == "waiting":
            self._waiting = [item for item in self._waiting if item[1] is not sequence]
            heapify(self._waiting)
        else:
            self.running.remove(sequence)
        self._release(sequence)
        sequence.state = "finished"

    def reorder(self) -> None:
        """Sort the running sequences anew: what one of them is owed has changed."""
        self.running.sort(key=_order)

    def schedule(self, now_ns: int) -> list[Work]:
        """The batches of this turn, the most urgent first."""
        self._turn += 1
        if self._waiting:
            self._admit()
        works = self._decode_works()
        prefill = self._prefill_work(works, now_ns)
        if prefill is not None:
            works.append(prefill)
        if len(works) > 1:
            works.sort(key=lambda work: work.sequences[0].order)
            works = self._without_intruders(self._last_steps_first(works, now_ns), now_ns)
        return works

    def chunk_limit(self, gear: Gear) -> int:
        """The most prompt tokens that one turn runs in that gear."""
        tokens = self._chunk_tokens
        need_ms = self._latency.prefill_ms(gear.name, tokens, quantile=P50)
        if need_ms <= self._chunk_ms:
            return tokens
        return max(_MIN_CHUNK_TOKENS, int(tokens * self._chunk_ms / need_ms))

    def usual_chunk(self, gear: Gear, order: tuple[int, int]) -> int:
        """The prompt tokens of that urgency that a turn runs beside the present answers."""
        limit, slack_ms = self.chunk_limit(gear), math.inf
        for sequence in self.running:
            if sequence.state == "decoding" and sequence.order < order:
                slack_ms = min(slack_ms, sequence.slack_ms)
        if math.isinf(slack_ms):
            return limit
        steps = self.decode_groups().items()
        decode_ms = sum(self._latency.step_ms(g.name, s[0].length, len(s)) for g, s in steps)
        allowed_ms = max(_CHUNK_SHARE * slack_ms, decode_ms)
        return self._fitting(gear.name, 0, limit, allowed_ms, _MIN_CHUNK_TOKENS)

    def decode_groups(self) -> dict[Gear, list[Sequence]]:
        """The decoding sequences by gear, most urgent first."""
        groups: dict[Gear, list[Sequence]] = {}
        for sequence in self.running:
            if sequence.state == "decoding":
                groups.setdefault(sequence.gear, []).append(sequence)
        return groups

    # -- blocks ----------------------------------------------------------------------------------

    def _admit(self) -> None:
        while self._waiting:
            sequence = self._waiting[0][1]
            later = [other for other in self.running if other.order > sequence.order]
            full = len(self.running) >= self.max_rows
            if full and not later:
                return
            self._on_start(sequence)
            variant = sequence.prefill_gear.name
            sequence.table = self.blocks.allocate(sequence.names, variant)
            needed = self.blocks.blocks_for(sequence.length) - len(sequence.table.blocks)
            short = needed > self.blocks.free_blocks
            if short and needed > self.blocks.free_with(other.table for other in later):
                self._release(sequence)  # nobody gives way for what does not fit even so
                return
            if full:
                self._preempt_later(sequence)
            # All that is known must fit, or two half-computed prompts would evict each other.
            while not self.reserve(sequence, sequence.length):
                if not self._preempt_later(sequence):
                    self._release(sequence)
                    return
            self._count_shared(sequence)
            heappop(self._waiting)
            sequence.state = "prefilling"
            insort(self.running, sequence, key=_order)

    def _count_shared(self, sequence: Sequence) -> None:
        sequence.computed = sequence.table.shared * self.blocks.block_size
        if not sequence.trace.preemptions:  # else some of it is its own work
            sequence.trace.cached_tokens = sequence.computed

    def _share(self, sequence: Sequence) -> None:
        """Take over what others have computed of its prompt since it was let in, if it has not
        begun."""
        names, variant = sequence.names, sequence.prefill_gear.name
        if self._begun(sequence) or self.blocks.match(names, variant) <= sequence.table.shared:
            return
        self._release(sequence)
        sequence.table = self.blocks.allocate(names, variant)
        self.reserve(sequence, sequence.length)  # of what it has just given back
        self._count_shared(sequence)

    def reserve(self, sequence: Sequence, tokens: int) -> bool:
        """Give a sequence blocks for its first `tokens` positions; False if there are too few."""
        if not self.blocks.append(sequence.table, tokens):
            return False
        known, blocks = len(sequence.row.block_table), sequence.table.blocks
        if known != len(blocks):
            sequence.table_ids[known : len(blocks)] = blocks[known:]
            sequence.row.block_table = sequence.table_ids[: len(blocks)]
        return True

    def catch_up(self, sequence: Sequence) -> None:
        """Compute what was put into an answer from outside, before it decodes on."""
        if self._grow(sequence, 1):
            sequence.state = "prefilling"

    def _release(self, sequence: Sequence) -> None:
        sequence.peak_blocks = max(sequence.peak_blocks, len(sequence.table.blocks))
        self.blocks.free(sequence.table)
        sequence.row.block_table = sequence.table_ids[:0]
        sequence.computed = 0
        sequence.slack_ms, sequence.until_ns = math.inf, None

    def _preempt_later(self, sequence: Sequence) -> bool:
        """Send the least urgent running sequence back, if it is less urgent than this one."""
        if not self.running or self.running[-1].order <= sequence.order:
            return False
        self._send_back(self.running.pop())
        return True

    def _send_back(self, sequence: Sequence) -> None:
        """Out of the running, to wait and be computed anew."""
        self._release(sequence)
        sequence.trace.preemptions += 1
        self.add(sequence)

    def _grow(self, sequence: Sequence, steps: int) -> int:
        """Cover the next `steps` steps, or one; 0 if the sequence itself had to give way."""
        if self.reserve(sequence, sequence.length + steps - 1):
            return steps
        while not self.reserve(sequence, sequence.length):
            if not self._preempt_later(sequence):
                self.running.remove(sequence)
                self._send_back(sequence)
                return 0
        return 1

    # -- batches ---------------------------------------------------------------------------------

    def _decode_works(self) -> list[Work]:
        groups = self.decode_groups()
        if not groups:
            return []
        steps = 1
        if len(groups) == 1 and not self._waiting:
            [(gear, group)] = groups.items()
            if len(group) == len(self.running):
                steps = self._steps(gear, group)
        else:
            late = any(each.awaited and each.slack_ms < 0.0 for each in self.running)
            if late and self._turn % _BACKGROUND_TURNS:
                groups = {g: rows for g, rows in groups.items() if rows[0].awaited}
        # The most urgent first, over all groups: nobody may lose blocks after being put in a batch.
        for sequence in list(self.running):
            if sequence.state == "decoding" and sequence.gear in groups:
                steps = min(steps, self._grow(sequence, steps) or steps)
        works = [self._decode_work(gear, group, steps) for gear, group in groups.items()]
        return [work for work in works if work.sequences]

    def _last_steps_first(self, works: list[Work], now_ns: int) -> list[Work]:
        """Steps that would start too late for their end behind a more urgent one's go before it: a
        rhythm waits for both in any case."""
        first: list[Work] = []
        rest: list[Work] = []
        end_ns = now_ns
        for work in works:
            until_ns = work.batch.until_ns
            if end_ns > now_ns and until_ns is not None and until_ns <= end_ns:
                first.append(work)
                continue
            rest.append(work)
            if not work.prefill:
                end_ns += int(self._cost_ms(work) * 1e6)
        return first + rest

    def _without_intruders(self, works: list[Work], now_ns: int) -> list[Work]:
        """Leave out what would take the time of a more urgent sequence's next step."""
        kept: list[Work] = []
        end_ns, limit_ns = now_ns, None  # the turn's end; the first instant a next step must start
        for work in works:
            work_end_ns = end_ns + int(self._cost_ms(work) * 1e6)
            if limit_ns is not None and limit_ns <= work_end_ns:
                continue
            kept.append(work)
            end_ns = work_end_ns
            for sequence in work.sequences:
                until_ns = sequence.until_ns
                if until_ns is not None and (limit_ns is None or until_ns < limit_ns):
                    limit_ns = until_ns
        return kept

    def _cost_ms(self, work: Work) -> float:
        name, first = work.batch.gear.name, work.batch.rows[0]
        if work.prefill:
            tokens = sum(len(row.tokens) for row in work.batch.rows)
            return self._latency.prefill_ms(name, tokens, start=first.start)
        rows = len(work.sequences)
        return self._latency.decode_ms(name, first.start, work.batch.max_steps, batch=rows)

    def _steps(self, gear: Gear, group: list[Sequence]) -> int:
        """How many steps may run before anything else needs attention."""
        steps = self._max_steps
        if steps > 1:
            step_ms = self._latency.step_ms(gear.name, group[0].length, len(group))
            if step_ms * steps > self._turn_ms:
                steps = int(self._turn_ms / step_ms)
        for sequence in group:
            if steps <= 1 or sequence.stop.every_token:
                return 1
            drawn = len(sequence.tokens)
            steps = min(steps, sequence.stop.left, sequence.check_tokens - drawn)
        return max(1, steps)

    def _decode_work(self, gear: Gear, group: list[Sequence], steps: int) -> Work:
        batch = Batch(gear, [], steps, exact=True)
        work = Work(batch, [], False)
        for sequence in group:
            if sequence.state != "decoding":  # sent back for a more urgent one just now
                continue
            row, end = sequence.row, sequence.length
            row.start = end - 1
            row.tokens = sequence.ids[end - 1 : end]
            batch.rows.append(row)
            work.sequences.append(sequence)
            until_ns = sequence.until_ns
            if until_ns is not None and (batch.until_ns is None or until_ns < batch.until_ns):
                batch.until_ns = until_ns
        return work

    def _prefill_work(self, decodes: list[Work], now_ns: int) -> Work | None:
        """A chunk of the most urgent prompt. Prompts without a deadline share what is left of it,
        where they share the gear and do not begin alike; one with a deadline does not wait for
        another's tokens. A chunk
        ends before the next token of a more urgent rhythm is due; in one turn of some it takes the
        least in any case, so that a rhythm that can just be kept does not stop all prompts."""
        if all(sequence.state == "decoding" for sequence in self.running):
            return None
        budget = 0
        decode_ms = sum(
            self._latency.step_ms(w.batch.gear.name, w.sequences[0].length, len(w.sequences))
            for w in decodes
        )
        slack_ms = pace_ms = math.inf
        used_ms = 0.0  # by the prompts that are in already: together they take no longer than one
        least = 0 if self._turn % _BACKGROUND_TURNS else _MIN_CHUNK_TOKENS
        work: Work | None = None
        for sequence in self.running:
            if sequence.state == "decoding":
                slack_ms = min(slack_ms, sequence.slack_ms)
                due_ns = sequence.dues.next_ns(len(sequence.tokens))
                if due_ns is not None and not self._lost(sequence):
                    pace_ms = min(pace_ms, (due_ns - now_ns) / 1e6 - decode_ms)
                continue
            self._share(sequence)
            gear, exact = sequence.prefill_gear, sequence.computed >= sequence.prompt_length
            if work is not None and self._computes(work, sequence):
                continue
            if work is None:
                budget = self.chunk_limit(gear)
            elif work.batch.gear is not gear or work.batch.exact != exact:
                continue
            allowed_ms = max(_CHUNK_SHARE * slack_ms, decode_ms) - used_ms
            rhythm_ms = pace_ms - used_ms
            count = self._chunk(sequence, allowed_ms, budget, 0 if work else _MIN_CHUNK_TOKENS)
            if rhythm_ms < allowed_ms:
                of_rhythm = self._chunk(sequence, rhythm_ms, budget, 0 if work else least)
                count = min(count, of_rhythm)
            if count <= 0:
                break
            if work is None:
                work = Work(Batch(gear, [], exact=exact), [], True)
            start = sequence.computed
            used_ms += self._latency.prefill_ms(gear.name, count, start=start, quantile=P50)
            self._set_chunk(sequence, count)
            work.batch.rows.append(sequence.row)
            work.sequences.append(sequence)
            budget -= count
            if budget <= 0 or sequence.dues.timed:
                break
        return work

    def _computes(self, work: Work, sequence: Sequence) -> bool:
        """Whether what a prompt would compute next is computed in that batch already."""
        at = sequence.computed // self.blocks.block_size
        name = sequence.names[at : at + 1]
        return bool(name) and any(other.names[at : at + 1] == name for other in work.sequences)

    def _lost(self, sequence: Sequence) -> bool:
        """Whether it could not keep its rhythm alone: it stops nobody's prompt then."""
        step_ms = self._latency.step_ms(sequence.gears[0].name, sequence.length)
        return step_ms * 1e6 > (sequence.dues.tpot_ns or math.inf)

    def _chunk(self, sequence: Sequence, allowed_ms: float, budget: int, least: int) -> int:
        """Tokens of a prompt chunk that take about `allowed_ms`, at least `least` of them."""
        left = sequence.prefill_left
        if sequence.computed < sequence.prompt_length:
            left = min(left, sequence.prompt_length - sequence.computed)
        if math.isinf(allowed_ms):
            return next_chunk(left, budget)
        count = min(left, budget)
        gear = sequence.prefill_gear.name
        return self._fitting(gear, sequence.computed, count, allowed_ms, least)

    def _fitting(self, gear: str, start: int, count: int, allowed_ms: float, least: int) -> int:
        """As many of `count` prompt tokens as take about `allowed_ms`, at least `least`."""
        need = self._latency.prefill_ms(gear, count, start=start, quantile=P50)
        if need > allowed_ms:
            one = self._latency.prefill_ms(gear, 1, start=start, quantile=P50)
            fitting = int(count * (allowed_ms - one) / max(need - one, 1e-9))
            count = min(count, max(least, fitting if fitting >= _MIN_CHUNK_TOKENS else 0))
        return count

    def _set_chunk(self, sequence: Sequence, count: int) -> None:
        row, start = sequence.row, sequence.computed
        end = start + count
        row.start = start
        row.tokens = sequence.ids[start:end]
        row.pooled = sequence.request.params.pooled
        draws = end == sequence.prompt_length and not sequence.tokens and not row.pooled
        row.sampler = sequence.sampler if draws else None
        row.prompt_logprobs = (
            sequence.request.params.prompt_logprobs and start < sequence.prompt_length
        )
        more = row.prompt_logprobs and end < sequence.prompt_length
        row.next_token = int(sequence.ids[end]) if more else None


def _order(sequence: Sequence) -> tuple[int, int]:
    return sequence.order
