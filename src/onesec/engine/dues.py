"""Dues: the instants that one request is owed, and how urgent they make it.

It must not know gears, batches or what a token costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from onesec.budget.policy import Policy
from onesec.core.deadline import Budget

NEVER_NS = 1 << 62  # sorts what is owed nothing behind all that is
BACKGROUND_NS = 1 << 63  # sorts what is in the background behind all that is not


@dataclass(slots=True)
class Dues:
    """A Budget on the clock. Margins for handing over are taken off `end_ns`, when the last token
    must be there, and `first_ns`, when the first must. Tokens after it have a rhythm, `tpot_ns`.
    `kept_ns` was taken off the end besides: for steps that run over, and to close what is open.
    """

    end_ns: int | None = None
    first_ns: int | None = None
    tpot_ns: int | None = None
    begun_ns: int | None = None  # when the first token came
    kept_ns: int = 0

    @classmethod
    def of(cls, budget: Budget, policy: Policy, arrival_ns: int) -> Self:
        """What a request that arrived then is owed."""

        def instant(ms: float | None) -> int | None:
            return None if ms is None else arrival_ns + round((ms - policy.margin_ms(ms)) * 1e6)

        return cls(
            instant(budget.total_ms),
            instant(budget.ttft_ms),
            None if budget.tpot_ms is None else max(1, int(budget.tpot_ms * 1e6)),
        )

    def begin(self, now_ns: int) -> None:
        """The first token came."""
        self.begun_ns, self.first_ns = now_ns, None

    @property
    def steered(self) -> bool:
        """Whether its steps are watched by the controller."""
        return self.end_ns is not None or self.tpot_ns is not None

    @property
    def timed(self) -> bool:
        """Whether its next token is owed at some instant."""
        return self.steered or self.first_ns is not None

    @property
    def urgency(self) -> int:
        """The instant that sorts it: the next one owed. A rhythm is owed from its first token on,
        so it goes before all that is due later than that token came."""
        owed_ns = NEVER_NS if self.end_ns is None else self.end_ns
        if self.first_ns is not None and self.first_ns < owed_ns:
            owed_ns = self.first_ns
        if self.tpot_ns is not None and self.begun_ns is not None and self.begun_ns < owed_ns:
            owed_ns = self.begun_ns
        return owed_ns

    def next_ns(self, drawn: int) -> int | None:
        """When the token after `drawn` ones is due by the rhythm; None where there is none yet."""
        if self.tpot_ns is None or self.begun_ns is None:
            return None
        return self.begun_ns + drawn * self.tpot_ns
