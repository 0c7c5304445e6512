"""Offers: whether a request would make others late, and what budget would do in their midst.

It must not know how a load is found or a plan carried out. More time puts a request behind others:
it has to wait for their work then, and must not pass those whom it would make late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onesec.budget import planner
from onesec.budget.latency import LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan
from onesec.budget.policy import Policy
from onesec.core.deadline import MAX_BUDGET_MS
from onesec.core.errors import DeadlineInfeasible, Which
from onesec.core.gear import Gear
from onesec.core.request import Request

from .backlog import Backlog
from .dues import BACKGROUND_NS, NEVER_NS, Dues
from .sequence import order_of

_TRIES = 8  # of offers, before one is made


class Offers:
    """Holds requests against the promises made to others."""

    def __init__(self, gears: Sequence[Gear], latency: LatencyModel, length: LengthModel) -> None:
        self._gears = {gear.name: gear for gear in gears}
        self._latency = latency
        self._length = length

    def keep_promises(self, ask: Ask, plan: Plan, policy: Policy, backlog: Backlog) -> None:
        """Raises DeadlineInfeasible where going before others would make them late; with a budget
        that puts it behind them, and leaves time behind all others, it would do."""
        gear = self._gears[plan.prefill_gear]
        cached = ask.cached_tokens.get(gear.name, 0)
        prompt_ms = backlog.prompt_ms(gear, ask.prompt_tokens - cached, cached)
        harmed = backlog.harmed(prompt_ms, plan.usual_ms)
        if not harmed:
            return
        last = backlog.later((BACKGROUND_NS + NEVER_NS, 0))
        work_ms = last.wait_ms + prompt_ms + plan.answer_ms
        spent_ms = ask.elapsed_ms + ask.wait_ms - backlog.wait_ms
        budgets: dict[Which, float | None] = {"total": ask.budget_ms, "ttft": ask.ttft_ms}
        # What sorts it is the one that is over first.
        budget_ms, which = min((ms, which) for which, ms in budgets.items() if ms is not None)
        raise DeadlineInfeasible(
            budget_ms=budget_ms,
            feasible_ms=max(
                policy.budget_for(spent_ms + max(work_ms, backlog.until_ms(max(harmed)))),
                plan.feasible_ms,
            ),
            why=f"{len(harmed)} of the answers that were promised would be late",
            which=which,
        )

    def behind(
        self,
        refusal: DeadlineInfeasible,
        request: Request,
        ask: Ask,
        policy: Policy,
        backlog: Backlog,
        arrival_ns: int,
    ) -> DeadlineInfeasible:
        """The same refusal, with an offer that does where it then stands."""
        which, offer_ms = refusal.which, refusal.feasible_ms
        for _ in range(_TRIES):
            if which == "tpot" or offer_ms > MAX_BUDGET_MS:
                break
            budget = replace(request.budget, **{f"{which}_ms": offer_ms})
            dues = Dues.of(budget, policy, arrival_ns)
            later = backlog.later(order_of(request, dues, backlog.order[1]))
            asked = replace(
                ask,
                budget_ms=budget.total_ms,
                ttft_ms=budget.ttft_ms,
                wait_ms=ask.wait_ms - backlog.wait_ms + later.wait_ms,
            )
            try:
                plan = planner.plan(asked, self._latency, self._length, policy)
                self.keep_promises(asked, plan, policy, later)
                break
            except DeadlineInfeasible as error:
                if error.which != which:  # told when this one is asked for
                    break
                offer_ms = max(offer_ms, error.feasible_ms)
        return DeadlineInfeasible(
            budget_ms=refusal.budget_ms, feasible_ms=offer_ms, why=refusal.why, which=which
        )
