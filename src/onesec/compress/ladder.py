"""Ladder: from measured costs and losses to gears, and from measured gears to those worth keeping.

Pure functions; they must not know backends or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onesec.core.gear import UNIFORM, Gear

from .evaluate import Quality
from .search import Option, frontier
from .sensitivity import Sensitivities
from .timing import StepCosts, Sublayer, kind_of

LEAST_SAME_TOP = 0.5  # a mixed gear that keeps less of the model is not worth its time
SKIP_SHARE = 0.15  # of a step: how far below all-4-bit the search looks, by skipping sublayers


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
    costs: StepCosts, losses: Sensitivities, matrices: Sequence[str], sublayers: Sequence[Sublayer]
) -> list[list[Option]]:
    """The model as parts with options: a sublayer has both widths for each of its matrices, or is
    skipped; what stands alone (the head) has both widths. Milliseconds are beyond `base_ms`."""
    inside = {name for pair in sublayers for name in pair}

    def matrix(name: str, width: int) -> tuple[float, float]:
        if width == 8:
            return costs.second_plane_ms[kind_of(name)], 0.0
        return 0.0, losses.at_4[name]

    parts = []
    for pair in sublayers:
        options = []
        for widths in ((4, 4), (4, 8), (8, 4), (8, 8)):
            each = [matrix(name, width) for name, width in zip(pair, widths, strict=True)]
            options.append(
                Option(
                    sum(ms for ms, _ in each),
                    sum(loss for _, loss in each),
                    dict(zip(pair, widths, strict=True)),
                )
            )
        saved = costs.skip_saves_ms.get(kind_of(pair[0]), 0.0)
        options.append(Option(-saved, losses.skipped[pair[0]], dict.fromkeys(pair, 0)))
        parts.append(options)
    for name in matrices:
        if name not in inside:
            parts.append([Option(*matrix(name, width), {name: width}) for width in (4, 8)])
    return parts


def propose(
    costs: StepCosts,
    losses: Sensitivities,
    matrices: Sequence[str],
    sublayers: Sequence[Sublayer],
    *,
    rungs: int,
    target_ms: float | None = None,
) -> list[Proposal]:
    """Mixed gears for evenly spaced step times: `rungs` between all-4-bit and all-8-bit, one or two
    below, and one at `target_ms`. The same choice is proposed once; uniform ones are not."""
    parts = parts_of(costs, losses, matrices, sublayers)
    most = sum(max(option.ms for option in options) for options in parts)
    below = SKIP_SHARE * costs.base_ms
    budgets = [most * (i + 1) / (rungs + 1) for i in range(rungs)] + [-below / 2, -below]
    if target_ms is not None:
        budgets.append(target_ms - costs.base_ms)
    proposals: dict[frozenset[tuple[str, int]], Proposal] = {}
    for choice in frontier(parts, sorted(budgets)):
        widths = {name: width for option in choice for name, width in option.widths.items()}
        if set(widths.values()) in ({4}, {8}):
            continue
        usual = max((4, 8), key=list(widths.values()).count)
        changed = {name: width for name, width in widths.items() if width != usual}
        ms = costs.base_ms + sum(option.ms for option in choice)
        kld = losses.all_8 + sum(option.loss for option in choice)
        gear = Gear(f"p{len(proposals)}", usual, changed)
        proposals.setdefault(frozenset(widths.items()), Proposal(gear, ms, kld))
    return list(proposals.values())


def worth_keeping(rungs: Sequence[Rung]) -> list[Rung]:
    """The rungs from the quickest to the slowest, each of which loses less than all quicker ones;
    a mixed one must also keep LEAST_SAME_TOP. The uniform gears stay in any case; the mixed ones
    are named g1, g2, ... from the quickest.
    """
    uniform = {gear.name for gear in UNIFORM.values()}
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda r: r.step_ms):
        better = all(rung.kld < quicker.kld for quicker in kept)
        if rung.gear.name in uniform or (better and rung.same_top >= LEAST_SAME_TOP):
            kept.append(rung)
    named, count = [], 0
    for rung in kept:
        gear = rung.gear
        if gear.name not in uniform:
            count += 1
            gear = Gear(f"g{count}", gear.width, gear.widths)
        named.append(replace(rung, gear=gear))
    return named
