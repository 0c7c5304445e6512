"""Ladder: from measured costs and losses to gears, and from measured gears to those worth keeping.

Pure functions; they must not know backends or files.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product

from onesec.core.gear import UNIFORM, Gear

from .evaluate import Quality
from .search import Option, frontier
from .sensitivity import Sensitivities
from .timing import StepCosts, Sublayer, kind_of

# A mixed gear that loses more times what all-4-bit loses is not worth its time: on the shipped
# model one that lost 7 times as much for 12 % less time got a third fewer summaries right.
MOST_LOSS = 3.0
SKIP_SHARE = 0.15  # of a step: how far below all-4-bit the search looks, by skipping sublayers
# Share of the likeliest tokens that a gear with fine activations must keep more than the one before
# it: less than one in 200 is not worth the time.
LEAST_GAIN = 0.005


@dataclass(frozen=True, slots=True)
class Rung:
    """A gear with what is known of it: `predicted_*` by adding up, the rest by measuring."""

    gear: Gear
    step_ms: float
    quality: Quality
    predicted_ms: float | None = None
    predicted_kld: float | None = None

    @property
    def kld(self) -> float:
        """Mean divergence from the reference, nats a token."""
        assert self.quality.divergence is not None
        return self.quality.divergence.kld_mean.value

    @property
    def same_top(self) -> float:
        """Share of tokens whose likeliest is the reference's."""
        assert self.quality.divergence is not None
        return self.quality.divergence.same_top.value


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mixed gear that the search proposes."""

    gear: Gear
    ms: float
    kld: float


def parts_of(
    costs: StepCosts,
    losses: Sensitivities,
    matrices: Sequence[str],
    sublayers: Sequence[Sublayer],
    narrow: Collection[str] = (),
) -> list[list[Option]]:
    """The model as parts with options: each matrix of a sublayer has 4 bits, 8, or 8 with fine
    activations, or the sublayer is skipped; what stands alone (the head) has the three. `narrow`
    matrices have 4 bits only. Milliseconds are beyond `base_ms`."""
    inside = {name for pair in sublayers for name in pair}

    def matrix(name: str) -> list[Option]:
        if name in narrow:
            return [Option(0.0, losses.at_4[name], {name: 4})]
        second_ms = costs.second_plane_ms[kind_of(name)]
        fine_ms = second_ms + costs.fine_ms[kind_of(name)]
        return [
            Option(0.0, losses.at_4[name], {name: 4}),
            Option(second_ms, 0.0, {name: 8}),
            Option(fine_ms, -losses.fine[name], {name: 8}, frozenset({name})),
        ]

    parts = []
    for pair in sublayers:
        options = [
            Option(a.ms + b.ms, a.loss + b.loss, {**a.widths, **b.widths}, a.fine | b.fine)
            for a, b in product(*map(matrix, pair))
        ]
        saved = costs.skip_saves_ms.get(kind_of(pair[0]), 0.0)
        options.append(Option(-saved, losses.skipped[pair[0]], dict.fromkeys(pair, 0)))
        parts.append(options)
    return parts + [matrix(name) for name in matrices if name not in inside]


def rung_times(
    costs: StepCosts, matrices: Sequence[str], *, rungs: int, narrow: Collection[str] = ()
) -> list[float]:
    """Step times to look for gears at, evenly spaced: `rungs` between all-4-bit and all-8-bit, two
    below, and two above, the last of which has room for everything."""
    wide = [kind_of(name) for name in matrices if name not in narrow]
    at_8 = sum(costs.second_plane_ms[kind] for kind in wide)
    most = at_8 + sum(costs.fine_ms[kind] for kind in wide)
    below = SKIP_SHARE * costs.base_ms
    beyond = [at_8 * (i + 1) / (rungs + 1) for i in range(rungs)]
    beyond += [-below / 2, -below, at_8, (at_8 + most) / 2, most]
    return [costs.base_ms + ms for ms in beyond]


def propose(
    costs: StepCosts,
    losses: Sensitivities,
    matrices: Sequence[str],
    sublayers: Sequence[Sublayer],
    times_ms: Sequence[float],
    *,
    narrow: Collection[str] = (),
) -> list[Proposal]:
    """The mixed gears that lose least for each step time. The same choice is proposed once; uniform
    ones are not."""
    parts = parts_of(costs, losses, matrices, sublayers, narrow)
    budgets = [ms - costs.base_ms for ms in times_ms]
    proposals: dict[tuple[frozenset[tuple[str, int]], frozenset[str]], Proposal] = {}
    for choice in frontier(parts, sorted(budgets)):
        # An embedding with a head of its own is no part; where it is narrow it has 4 bits too.
        widths = dict.fromkeys(narrow, 4)
        widths |= {name: width for option in choice for name, width in option.widths.items()}
        fine = frozenset[str]().union(*(option.fine for option in choice))
        if not fine and set(widths.values()) in ({4}, {8}):
            continue
        usual = max((4, 8), key=list(widths.values()).count)
        changed = {name: width for name, width in widths.items() if width != usual}
        ms = costs.base_ms + sum(option.ms for option in choice)
        kld = losses.all_8 + sum(option.loss for option in choice)
        gear = Gear(f"p{len(proposals)}", usual, changed, fine=fine)
        proposals.setdefault((frozenset(widths.items()), fine), Proposal(gear, ms, kld))
    return list(proposals.values())


def worth_keeping(rungs: Sequence[Rung]) -> list[Rung]:
    """The rungs from the quickest to the slowest, each of which loses less than all quicker ones;
    a mixed one may also lose at most MOST_LOSS times what the gear "4" loses, and one with fine
    activations must keep LEAST_GAIN more of the likeliest tokens than the one before. The uniform
    gears stay in any case; the mixed ones are named g1, g2, ... from the quickest.
    """
    uniform = {gear.name for gear in UNIFORM.values()}
    at_4 = next((rung.kld for rung in rungs if rung.gear is UNIFORM[4]), math.inf)
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda r: r.step_ms):
        better = all(rung.kld < quicker.kld for quicker in kept) and rung.kld <= MOST_LOSS * at_4
        if rung.gear.fine and kept:
            better = better and rung.same_top >= kept[-1].same_top + LEAST_GAIN
        if rung.gear.name in uniform or better:
            kept.append(rung)
    named, count = [], 0
    for rung in kept:
        gear = rung.gear
        if gear.name not in uniform:
            count += 1
            gear = replace(gear, name=f"g{count}")
        named.append(replace(rung, gear=gear))
    return named
