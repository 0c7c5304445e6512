"""Admission: checks a request against the model and the present load, and has it planned.

It must not know how a plan is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onesec.backend.base import Backend
from onesec.budget import planner
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
from onesec.core.request import Request

from .block_manager import BlockManager
from .scheduler import Scheduler
from .sequence import Sequence
from .steering import BACKGROUND_SHARE

_REPLAN_SHARE = 0.05  # of the time left that may pass in the queue before the plan is made anew


@dataclass(slots=True)
class _Load:
    """What a request meets: see the fields of the same names in planner.Ask."""

    wait_ms: float = 0.0
    rows: int = 1
    others_ms: Mapping[str, float] = field(default_factory=dict)
    turn_ms: float = 0.0


class Admission:
    """Says yes with a Plan, or no with an error that says what would work."""

    def __init__(
        self,
        backend: Backend,
        blocks: BlockManager,
        scheduler: Scheduler,
        latency: LatencyModel,
        length: LengthModel,
    ) -> None:
        self.capacity = min(backend.context_length, backend.num_blocks * backend.block_size)
        self._backend = backend
        self._blocks = blocks
        self._scheduler = scheduler
        self._latency = latency
        self._length = length

    def check(self, request: Request) -> None:
        """Raises EmptyPrompt, ContextLengthExceeded or InvalidRequest (a token out of range, what
        the backend does not tell)."""
        tokens = request.prompt_tokens
        if not tokens:
            raise EmptyPrompt("The prompt has no token.", hint="Send at least one.")
        if len(tokens) >= self.capacity:
            raise ContextLengthExceeded(prompt_tokens=len(tokens), context_length=self.capacity)
        if request.params.pooled and not hasattr(self._backend, "hidden_size"):
            raise InvalidRequest("This backend does not tell hidden states.")
        low, high, vocab_size = min(tokens), max(tokens), self._backend.vocab_size
        if low < 0 or high >= vocab_size:
            raise InvalidRequest(
                f"prompt token {low if low < 0 else high} is not in [0, {vocab_size})."
            )

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
        order: tuple[int, int],
        host_ms: float,
        stall_ms: float = 0.0,
        own: Sequence | None = None,
    ) -> Plan:
        """The planner's word on a request of that urgency, while the machine may stall for so much
        longer; `own` is its sequence, where it has one. Raises DeadlineInfeasible."""
        ask = self._ask(request, policy, names, elapsed_ms, order, host_ms, stall_ms, own)
        return planner.plan(ask, self._latency, self._length, policy)

    def prompt_room(
        self,
        request: Request,
        policy: Policy,
        *,
        elapsed_ms: float,
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
        ask = self._ask(request, policy, names, elapsed_ms, order, host_ms)
        if not whole:
            ask = replace(ask, prompt_tokens=most, limit_tokens=answer)
        return planner.prompt_room(ask, self._latency, self._length, policy)

    def _ask(
        self,
        request: Request,
        policy: Policy,
        names: list[bytes],
        elapsed_ms: float,
        order: tuple[int, int],
        host_ms: float,
        stall_ms: float = 0.0,
        own: Sequence | None = None,
    ) -> Ask:
        gears = self.gears(request, policy)
        budget = request.budget
        load = self._load(order, gears, host_ms) if budget.limited else _Load()
        cached: Mapping[str, int] = {}
        if names:
            size = self._blocks.block_size
            cached = {gear.name: size * self._blocks.match(names, gear.name) for gear in gears}
        return Ask(
            prompt_tokens=len(request.prompt_tokens),
            limit_tokens=self.limit(request),
            gears=tuple(gear.name for gear in gears),
            min_tokens=request.params.min_tokens,
            budget_ms=budget.total_ms,
            ttft_ms=budget.ttft_ms,
            tpot_ms=budget.tpot_ms,
            cached_tokens=cached,
            elapsed_ms=elapsed_ms,
            wait_ms=load.wait_ms + stall_ms,
            batch=load.rows,
            others_ms=load.others_ms,
            turn_ms=load.turn_ms,
            chunk_tokens=self._scheduler.chunk_limit(gears[-1]),
            crowding=self._scheduler.crowding(own),
            best_effort=request.best_effort,
            cues=request.cues,
        )

    def plan_again(self, sequence: Sequence, now_ns: int, host_ms: float) -> None:
        """Plan anew what waited long: it has less time than the plan knew. Never refuses."""
        if not sequence.dues.timed or sequence.tokens or now_ns < sequence.check_ns:
            return
        self.look_later(sequence, now_ns)
        try:
            plan = self.plan(
                sequence.request,
                sequence.policy,
                sequence.names,
                elapsed_ms=sequence.at_ms(now_ns),
                order=(0, 0),
                host_ms=host_ms,
                own=sequence,
            )
        except DeadlineInfeasible as error:
            cheapest = sequence.gears[0].name
            plan = planner.at_gear(sequence.plan, cheapest, error.feasible_ms, error.which)
        sequence.adopt(plan, now_ns)

    def look_later(self, sequence: Sequence, now_ns: int) -> None:
        """Set the instant after which a waiting sequence's plan is out of date."""
        left_ns = max(0, sequence.dues.urgency - now_ns)
        sequence.check_ns = now_ns + int(_REPLAN_SHARE * left_ns)

    def _load(self, order: tuple[int, int], gears: tuple[Gear, ...], host_ms: float) -> _Load:
        """The load that a request of that urgency meets."""
        full = share = host_ms  # of a turn's decode steps: as they are, and as they may be put off
        own: dict[Gear, float] = {}
        for gear, group in self._scheduler.decode_groups().items():
            step_ms = self._latency.step_ms(gear.name, group[0].length, len(group))
            own[gear] = step_ms * (1.0 if group[0].dues.timed else BACKGROUND_SHARE)
            full += step_ms
            share += own[gear]
        load = _Load(
            others_ms={gear.name: share - own.get(gear, 0.0) for gear in gears}, turn_ms=full
        )
        for sequence in self._scheduler.unfinished():
            load.rows += 1
            if sequence.state != "decoding" and sequence.order < order:
                load.wait_ms += full + self._latency.prefill_ms(
                    sequence.prefill_gear.name, sequence.prefill_left, start=sequence.computed
                )
        load.rows = min(load.rows, self._scheduler.max_rows)
        return load
