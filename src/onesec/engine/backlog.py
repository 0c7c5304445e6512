"""Backlog: the work that stands before a request, and how much more those behind it can bear.

It must not know gears' quality, budgets' origin, or what becomes of a request. Whoever was accepted
was promised an answer: a request that is more urgent may go before it only as far as that stays
true.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from onesec.budget.latency import LatencyModel
from onesec.core.gear import Gear
from onesec.core.recent import Recent

from .dues import BACKGROUND_NS
from .scheduler import Scheduler
from .sequence import Sequence
from .steering import BACKGROUND_SHARE

_SEEN = 64  # first tokens that lateness is learned from
_TRUSTED = 8
_QUANTILE = 0.9
_MOST = 4.0  # times as late as foreseen: more is a machine that hung, which the watchdog tells of


class Lateness:
    """How many times as long as foreseen first tokens took of late where others were in the way, at
    p90 and at least once. What is wrong with the picture of the backlog, whatever it is, is made up
    for by it."""

    def __init__(self) -> None:
        self._ratios = Recent(_SEEN, _QUANTILE)
        self.factor = 1.0

    def observe(self, foreseen_ms: float, took_ms: float) -> None:
        """Take in when a first token came, or that it did not by then; both since its plan."""
        self._ratios.observe(took_ms / max(foreseen_ms, 1e-3))
        if self._ratios.count >= _TRUSTED:
            self.factor = min(_MOST, max(1.0, self._ratios.value))


@dataclass(slots=True, kw_only=True)
class _Prompt:
    """One that has not answered yet; milliseconds from now on.

    prompt_ms   its prompt, with what runs beside the chunks
    usual_ms    of its answer behind the first token; least_ms: of the smallest useful one
    first_ms    when its first token is owed; end_ms: its last one
    seated      it has a row already
    """

    order: tuple[int, int]
    prompt_ms: float
    usual_ms: float
    least_ms: float
    first_ms: float = math.inf
    end_ms: float = math.inf
    seated: bool = False
    promised: bool = True

    def fits(self, there_ms: float) -> bool:
        """Whether a first token then is in time for the smallest useful answer."""
        return there_ms <= self.first_ms and there_ms + self.least_ms <= self.end_ms


class Backlog:
    """The engine's present work, as a request of urgency `order` meets it; `own` is its sequence,
    where it has one.

    rows       rows that will decode, its own among them
    wait_ms    until work on it can start: prompts run one after the other, the most urgent first,
               and each needs a row that is free, or is taken from a less urgent one
    turn_ms    of others, beside each of its prompt's chunks
    soon       what all prompts will have read
    """

    def __init__(
        self,
        scheduler: Scheduler,
        latency: LatencyModel,
        *,
        order: tuple[int, int],
        host_ms: float,
        now_ns: int,
        lateness: float = 1.0,
        own: Sequence | None = None,
    ) -> None:
        self._scheduler, self._latency = scheduler, latency
        self.order, self._now_ns, self._lateness = order, now_ns, lateness
        full = share = host_ms  # of a turn's decode steps: as they are, and as they may be put off
        self._own: dict[Gear, float] = {}
        for gear, group in scheduler.decode_groups().items():
            step_ms = latency.step_ms(gear.name, group[0].length, len(group))
            before = group[0].awaited or order[0] >= BACKGROUND_NS
            self._own[gear] = step_ms * (1.0 if before else BACKGROUND_SHARE)
            full += step_ms
            share += self._own[gear]
        self.turn_ms = lateness * full
        self._share_ms = share
        self._chunks: dict[Gear, int] = {}
        unfinished = [each for each in scheduler.unfinished() if each is not own]
        self.rows = min(1 + len(unfinished), scheduler.max_rows)
        self._decoding = sorted(
            (each.order, (each.likely_end_ns(now_ns) - now_ns) / 1e6)
            for each in unfinished
            if each.state == "decoding"
        )
        self._free = scheduler.max_rows - len(scheduler.running)
        self.soon = scheduler.soon()
        prompts = (self._prompt(each) for each in unfinished if each.state != "decoding")
        self._prompts = sorted(prompts, key=lambda prompt: prompt.order)
        self._there_ms, self.wait_ms = self._run(self._prompts)

    def until_ms(self, instant_ns: int) -> float:
        """Milliseconds from now to an instant."""
        return (instant_ns - self._now_ns) / 1e6

    def later(self, order: tuple[int, int]) -> Backlog:
        """The same load, as a request that is less urgent meets it."""
        found = copy(self)
        found.order, found._chunks = order, {}
        _, found.wait_ms = found._run(self._prompts)
        return found

    @property
    def passes(self) -> bool:
        """Whether it goes before others, which more time would put it behind."""
        orders = [self._prompts[-1].order] if self._prompts else []
        orders += [self._decoding[-1][0]] if self._decoding else []
        return any(order > self.order for order in orders)

    def others_ms(self, gears: tuple[Gear, ...]) -> Mapping[str, float]:
        """Work for others between two tokens, for each gear that may be used."""
        return {gear.name: self._share_ms - self._own.get(gear, 0.0) for gear in gears}

    def chunk(self, gear: Gear) -> int:
        """Prompt tokens of one turn."""
        if gear not in self._chunks:
            self._chunks[gear] = self._scheduler.usual_chunk(gear, self.order)
        return self._chunks[gear]

    def harmed(self, prompt_ms: float, usual_ms: float) -> list[int]:
        """Those behind it, who would be in time, that are late if it goes first: the instants that
        sort them. Nobody but the background waits for the background."""
        mine = _Prompt(order=self.order, prompt_ms=prompt_ms, usual_ms=usual_ms, least_ms=usual_ms)
        at = sum(prompt.order < self.order for prompt in self._prompts)
        behind = self._prompts[at:]
        if not behind:
            return []
        there_ms, _ = self._run([*self._prompts[:at], mine, *behind])
        pairs = zip(behind, self._there_ms[at:], there_ms[at + 1 :], strict=True)
        return [
            prompt.order[0] % BACKGROUND_NS
            for prompt, before, after in pairs
            if prompt.promised
            and (prompt.order[0] < BACKGROUND_NS or self.order[0] >= BACKGROUND_NS)
            and prompt.fits(before)
            and not prompt.fits(after)
        ]

    def prompt_ms(self, gear: Gear, tokens: int, start: int = 0) -> float:
        """What so many prompt tokens take, with what runs beside their chunks."""
        turns = -(-tokens // self.chunk(gear))
        run_ms = self._latency.prefill_ms(gear.name, tokens, start=start, chunks=turns)
        return turns * self.turn_ms + self._lateness * run_ms

    def _prompt(self, sequence: Sequence) -> _Prompt:
        gear, plan, now_ns = sequence.prefill_gear, sequence.plan, self._now_ns
        found = _Prompt(
            order=sequence.order,
            prompt_ms=self.prompt_ms(gear, *self._scheduler.to_read(sequence, self.soon)),
            usual_ms=plan.usual_ms,
            least_ms=plan.answer_ms,
            seated=sequence.state == "prefilling",
            promised=not sequence.request.best_effort,
        )
        if sequence.dues.first_ns is not None:
            found.first_ms = (sequence.dues.first_ns - now_ns) / 1e6
        if sequence.end_ns is not None:
            found.end_ms = (sequence.end_ns - now_ns) / 1e6
        return found

    def _run(self, prompts: list[_Prompt]) -> tuple[list[float], float]:
        """When each has its first token, if all goes as planned; and when work on one of our
        urgency can begin."""
        ends_ms = [0.0] * self._free + [end_ms for _, end_ms in self._decoding]
        heapify(ends_ms)  # instants at which rows are free
        lent = [order for order, _ in self._decoding]  # rows that a more urgent one may take
        free_ms, found, own_ms = 0.0, [], None
        for prompt in prompts:
            if own_ms is None and prompt.order > self.order:
                own_ms = self._begin(free_ms, self.order, ends_ms, lent)
            begin_ms = free_ms
            if not prompt.seated:
                begin_ms = self._begin(free_ms, prompt.order, ends_ms, lent)
            there_ms = begin_ms + prompt.prompt_ms
            found.append(there_ms)
            if not prompt.seated and ends_ms:
                heappop(ends_ms)
            free_ms = there_ms
            heappush(ends_ms, min(there_ms + prompt.usual_ms, prompt.end_ms))
        if own_ms is None:
            own_ms = self._begin(free_ms, self.order, ends_ms, lent)
        return found, own_ms

    @staticmethod
    def _begin(
        free_ms: float,
        order: tuple[int, int],
        ends_ms: list[float],
        lent: list[tuple[int, int]],
    ) -> float:
        """When a prompt can begin, whose turn comes then."""
        if not ends_ms or (lent and lent[-1] > order):
            return free_ms
        return max(free_ms, ends_ms[0])
