"""Admission: checks a request against the model and the present load, and has it planned.

It must not know how a plan is carried out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from onesec.backend.base import Backend
from onesec.budget import planner
from onesec.budget.foresight import Foresight
from onesec.budget.latency import LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan
from onesec.budget.policy import Policy
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
    UnknownGear,
)
from onesec.core.gear import Gear
from onesec.core.request import Request, check_tokens

from .backlog import Backlog, Lateness
from .block_manager import BlockManager
from .offers import Offers
from .scheduler import Scheduler
from .sequence import Sequence

_REPLAN_SHARE = 0.05  # of the time left that may pass in the queue before the plan is made anew


class Admission:
    """Says yes with a Plan, or no with an error that says what would work."""

    def __init__(
        self,
        backend: Backend,
        blocks: BlockManager,
        scheduler: Scheduler,
        latency: LatencyModel,
        length: LengthModel,
        context_length: int | None = None,
    ) -> None:
        cached = backend.num_blocks * backend.block_size
        self.capacity = min(backend.context_length, cached, context_length or cached)
        self.lateness = Lateness()
        self.foresight = Foresight()
        self._backend = backend
        self._blocks = blocks
        self._scheduler = scheduler
        self._latency = latency
        self._length = length
        self._offers = Offers(backend.gears, latency, length)

    def check(self, request: Request) -> None:
        """Raises EmptyPrompt, ContextLengthExceeded, UnknownToken or InvalidRequest (what the
        backend does not tell)."""
        tokens = request.prompt_tokens
        if not tokens:
            raise EmptyPrompt("The prompt has no token.", hint="Send at least one.")
        if len(tokens) >= self.capacity:
            raise ContextLengthExceeded(prompt_tokens=len(tokens), context_length=self.capacity)
        if request.params.pooled and not hasattr(self._backend, "hidden_size"):
            raise InvalidRequest("This backend does not tell hidden states.")
        check_tokens("prompt", tokens, self._backend.vocab_size)
        request.params.check_tokens(self._backend.vocab_size)

    def gears(self, request: Request, policy: Policy) -> tuple[Gear, ...]:
        """Gears that the request may use, cheapest first. Raises UnknownGear, InvalidRequest."""
        gears = self._backend.gears
        names = tuple(gear.name for gear in gears)
        for asked in (request.gear, request.min_gear):
            if asked is not None and asked not in names:
                raise UnknownGear(asked, names)
        first = names.index(request.min_gear) if request.min_gear is not None else 0
        if request.gear is None:
            return policy.choice(gears[first:])
        index = names.index(request.gear)
        if index < first:
            raise InvalidRequest(
                f"gear {request.gear!r} is below min_gear {request.min_gear!r}.",
                hint="Leave one of them out.",
            )
        return (gears[index],)

    def limit(self, request: Request) -> int:
        """The most tokens that the answer may have: max_tokens, and what the context leaves."""
        room = self.capacity - len(request.prompt_tokens)
        asked = request.params.max_tokens
        return room if asked is None else min(room, asked)

    def names(self, request: Request) -> list[bytes]:
        """Names of the prompt's blocks in the prefix cache; none where all its tokens are wanted.

        `metadata["cache_salt"]` keeps tenants apart: blocks are shared under the same salt only.
        """
        if request.params.prompt_logprobs or request.params.pooled:
            return []
        salt = str(request.metadata.get("cache_salt", "")).encode()
        return self._blocks.names(np.array(request.prompt_tokens, dtype=np.int32), salt)

    def plan(
        self,
        request: Request,
        policy: Policy,
        names: list[bytes],
        *,
        elapsed_ms: float,
        now_ns: int,
        order: tuple[int, int],
        host_ms: float,
        stall_ms: float = 0.0,
        own: Sequence | None = None,
    ) -> Plan:
        """The planner's word on a request of that urgency, while the machine may stall for so much
        longer; `own` is its sequence, where it has one: then it is not refused. Raises
        DeadlineInfeasible, whose offer would do now."""
        backlog = self._backlog(request, order, host_ms, now_ns, own)
        ask = self._ask(request, policy, names, elapsed_ms, backlog, stall_ms)
        if own is not None:
            ask = replace(ask, best_effort=True)
        try:
            plan = planner.plan(ask, self._latency, self._length, policy)
        except DeadlineInfeasible as refusal:
            if not self._scheduler.has_work:  # else what runs tells how slow the machine is
                self._latency.doubt()
            if backlog is None or not backlog.passes:
                raise
            arrival_ns = now_ns - round(elapsed_ms * 1e6)
            raise self._offers.behind(refusal, request, ask, policy, backlog, arrival_ns) from None
        if backlog is not None and not ask.best_effort:
            self._offers.keep_promises(ask, plan, policy, backlog)
        most_ms = math.inf
        if ask.budget_ms is not None:
            most_ms = max(plan.predicted_ms, ask.budget_ms - policy.margin_ms(ask.budget_ms))
        told_ms = self.foresight.told_ms(
            plan.predicted_ms, least_ms=plan.likely_ms, most_ms=most_ms
        )
        return replace(plan, predicted_ms=told_ms)

    def _backlog(
        self,
        request: Request,
        order: tuple[int, int],
        host_ms: float,
        now_ns: int,
        own: Sequence | None = None,
    ) -> Backlog | None:
        """The load that a request of that urgency meets; none counts for one without a budget."""
        if not request.budget.limited:
            return None
        return Backlog(
            self._scheduler,
            self._latency,
            order=order,
            host_ms=host_ms,
            now_ns=now_ns,
            lateness=self.lateness.factor,
            own=own,
        )

    def prompt_room(
        self,
        request: Request,
        policy: Policy,
        *,
        elapsed_ms: float,
        now_ns: int,
        order: tuple[int, int],
        host_ms: float,
    ) -> int:
        """The most prompt tokens that fit the time (see planner.prompt_room), and leave room for an
        answer in the context; without a prompt the most that any may have."""
        asked, tokens = request.params.max_tokens, len(request.prompt_tokens)
        answer = policy.landable_tokens if asked is None else asked
        answer = min(answer, self.capacity // 2)
        most = self.capacity - answer
        whole = 0 < tokens <= most
        names = self.names(request) if whole else []
        backlog = self._backlog(request, order, host_ms, now_ns)
        ask = self._ask(request, policy, names, elapsed_ms, backlog)
        if not whole:
            ask = replace(ask, prompt_tokens=most, limit_tokens=answer)
        return planner.prompt_room(ask, self._latency, self._length, policy)

    def _ask(
        self,
        request: Request,
        policy: Policy,
        names: list[bytes],
        elapsed_ms: float,
        backlog: Backlog | None,
        stall_ms: float = 0.0,
    ) -> Ask:
        gears = self.gears(request, policy)
        budget = request.budget
        cached: Mapping[str, int] = {}
        if names:
            order, soon = ((0, 0), {}) if backlog is None else (backlog.order, backlog.soon)
            known = partial(self._scheduler.cached_tokens, order=order, soon=soon)
            cached = {gear.name: known(names, gear.name) for gear in gears}
        ask = Ask(
            prompt_tokens=len(request.prompt_tokens),
            limit_tokens=self.limit(request),
            gears=tuple(gear.name for gear in gears),
            min_tokens=request.params.min_tokens,
            budget_ms=budget.total_ms,
            ttft_ms=budget.ttft_ms,
            tpot_ms=budget.tpot_ms,
            cached_tokens=cached,
            elapsed_ms=elapsed_ms,
            wait_ms=stall_ms,
            chunk_tokens=self._scheduler.chunk_limit(gears[-1]),
            crowding=self._scheduler.crowding(request),
            best_effort=request.best_effort,
            cues=request.cues,
        )
        if backlog is None:
            return ask
        return replace(
            ask,
            wait_ms=backlog.wait_ms + stall_ms,
            batch=backlog.rows,
            others_ms=backlog.others_ms(gears),
            turn_ms=backlog.turn_ms,
            chunk_tokens=backlog.chunk(gears[-1]),
        )

    def plan_again(self, sequence: Sequence, now_ns: int, host_ms: float) -> None:
        """Plan anew what waited long: it has less time than the plan knew. Never refuses."""
        if not sequence.dues.timed or sequence.tokens or now_ns < sequence.check_ns:
            return
        self.look_later(sequence, now_ns)
        plan = self.plan(
            sequence.request,
            sequence.policy,
            sequence.names,
            elapsed_ms=sequence.at_ms(now_ns),
            now_ns=now_ns,
            order=(0, 0),
            host_ms=host_ms,
            own=sequence,
        )
        sequence.adopt(plan, now_ns)

    def begun(self, sequence: Sequence, now_ns: int) -> None:
        """A first token came, or will not any more: learn from how long others were in the way."""
        planned_ms, first_ms = sequence.foreseen
        if sequence.crossed:
            self.lateness.observe(first_ms - planned_ms, sequence.at_ms(now_ns) - planned_ms)

    def look_later(self, sequence: Sequence, now_ns: int) -> None:
        """Set the instant after which a waiting sequence's plan is out of date."""
        left_ns = max(0, sequence.dues.urgency - now_ns)
        sequence.check_ns = now_ns + int(_REPLAN_SHARE * left_ns)
