"""Target: the gear that meets what a recipe asked for best, and whether it does.

Pure functions of measured rungs; they must not know backends or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onesec.budget.latency import P50, LatencyModel
from onesec.core.gear import UNIFORM

from .ladder import Rung
from .recipe import Recipe

_NEAR = 0.02


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for, the gear that meets it best, and whether it does.

    `asked_ms` is the time of an answer (deadline) or a step (time per token); None: no time was
    asked for, and the gear is the quickest within the bounds, or without any the most accurate.
    """

    gear: str
    met: bool
    why: str
    asked_ms: float | None = None
    predicted_ms: float | None = None


def step_of(recipe: Recipe, latency: LatencyModel) -> float | None:
    """The step that the recipe's time leaves, after the prompt at 4 bits; None without a time."""
    if recipe.deadline_ms is None:
        return recipe.tpot_ms
    left = recipe.deadline_ms - latency.prefill_ms("4", recipe.prompt_tokens, quantile=P50)
    return left / max(1, recipe.answer_tokens - 1)


def corrected_ms(rungs: Sequence[Rung], asked_ms: float, base_ms: float) -> float | None:
    """What to ask of the search instead of `asked_ms`, so that what it finds takes that: between
    what was predicted of the two rungs around it, as far along as it lies between what they took.
    `base_ms` was predicted of all-4-bit. None where a rung takes it within 2 %, or all take more,
    or less."""
    if any((1.0 - _NEAR) * asked_ms <= rung.step_ms <= asked_ms for rung in rungs):
        return None
    took = {
        rung.step_ms: base_ms if rung.gear is UNIFORM[4] else rung.predicted_ms for rung in rungs
    }
    said = {ms: predicted for ms, predicted in took.items() if predicted is not None}
    below = max((ms for ms in said if ms <= asked_ms), default=None)
    above = min((ms for ms in said if ms > asked_ms), default=None)
    if below is None or above is None:
        return None
    wanted_ms = max((1.0 - _NEAR / 2.0) * asked_ms, below)
    share = (wanted_ms - below) / (above - below)
    return said[below] + share * (said[above] - said[below])


def choose(recipe: Recipe, rungs: Sequence[Rung], latency: LatencyModel) -> Target:
    """The most accurate gear in time, or the quickest one within the accuracy asked for; the most
    accurate one where nothing was asked for."""
    asked_ms = recipe.deadline_ms if recipe.deadline_ms is not None else recipe.tpot_ms

    def predicted(rung: Rung) -> float:
        if recipe.deadline_ms is None:
            return rung.step_ms
        name, prompt = rung.gear.name, recipe.prompt_tokens
        return latency.prefill_ms(name, prompt, quantile=P50) + latency.decode_ms(
            name, prompt, recipe.answer_tokens - 1, quantile=P50
        )

    def accurate(rung: Rung) -> bool:
        return (recipe.max_kld is None or rung.kld <= recipe.max_kld) and (
            recipe.keep_top1 is None or rung.same_top >= recipe.keep_top1
        )

    by_loss = sorted(rungs, key=lambda r: r.kld)
    in_time = [r for r in by_loss if asked_ms is None or predicted(r) <= asked_ms]
    good = [r for r in in_time if accurate(r)]
    if good:
        asked_loss = recipe.max_kld is not None or recipe.keep_top1 is not None
        quickest = asked_loss and asked_ms is None
        chosen = min(good, key=lambda r: r.step_ms) if quickest else good[0]
        return Target(chosen.gear.name, True, "", asked_ms, predicted(chosen))
    if not in_time:
        chosen = min(rungs, key=predicted)
        why = f"the quickest gear needs {predicted(chosen):.4g} ms of {asked_ms:.4g}"
    else:
        chosen = in_time[0]
        best = "the best gear" if asked_ms is None else "the best gear in time"
        why = (
            f"{best} has a divergence of {chosen.kld:.3g} nats and keeps "
            f"{chosen.same_top:.2%} of the likeliest tokens"
        )
    return Target(chosen.gear.name, False, why, asked_ms, predicted(chosen))


def held_to_size(target: Target, size_bytes: int | None, written_bytes: int) -> Target:
    """The target, held against the files that were written, where a size was asked for; it
    speaks of bytes, since the megabytes of two sizes that differ may read the same.

    >>> held_to_size(Target("4", True, ""), 1000, 1001).why
    'its files take 1,001 bytes, and 1,000 were asked for'
    """
    if size_bytes is None or written_bytes <= size_bytes:
        return target
    why = f"its files take {written_bytes:,} bytes, and {size_bytes:,} were asked for"
    return replace(target, met=False, why=f"{target.why}; {why}" if target.why else why)
