"""Confidence: from what a model says of a token to how often such a token is right.

A model's own probability is near it, and off by a curve that differs a little from gear to gear. A
curve belongs to the weights, as accuracy does, so it lies in the artifact's folder
(`confidence.json`), not with the machine's times. It must not know how a curve was fitted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onesec.model.folder import resolve_inside
from onesec.model.jsonfile import Fields, read_json

FILE = "confidence.json"
VERSION = 1
LEAST = 1e-6  # probabilities are told apart from 0 and 1 down to this
_MOST_GEARS = 32
_STEEPEST, _FARTHEST = 100.0, 100.0  # of a curve: a and b; c


@dataclass(frozen=True, slots=True)
class Curve:
    """Beta calibration (Kull, Silva Filho and Flach, 2017): a token of probability p is right with
    probability sigmoid(a·ln p - b·ln(1 - p) + c). It never falls with p, as a, b >= 0; with
    a = b = 1 and c = 0 it is p itself.

    >>> round(Curve()(math.log(0.3)), 6), Curve(0.5, 0.7, -0.3)(math.log(0.99)) < 0.99
    (0.3, True)
    """

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __call__(self, logprob: float) -> float:
        """The confidence, in (0, 1), of a token with that log probability (<= 0, nats)."""
        low, high = log_odds(logprob)
        z = self.a * low - self.b * high + self.c
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0.0 else math.exp(z) / (1.0 + math.exp(z))


def log_odds(logprob: float) -> tuple[float, float]:
    """ln p and ln(1 - p), with p kept within LEAST of 0 and 1.

    >>> log_odds(math.log(0.5)) == (math.log(0.5), math.log(0.5))
    True
    """
    logprob = min(logprob, 0.0)
    low = max(logprob, math.log(LEAST))
    high = math.log(LEAST) if logprob > -LEAST else math.log(-math.expm1(low))
    return low, high


@dataclass(frozen=True, slots=True)
class Confidence:
    """The curves of a model's gears, the best gear's last. A gear without one goes by the best
    gear's, as curves differ little; where there is none, it is taken at its word."""

    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether there is any curve."""
        return bool(self.curves)

    def of(self, logprobs: Sequence[float], gears: Sequence[str]) -> tuple[float, ...]:
        """The confidence of each token: its log probability, and the gear that it was drawn in
        (where it is told: the trace may know of fewer).

        >>> Confidence({"4": Curve(c=-1.0), "8": Curve()}).of([-0.5, -0.5], ["8", "4"])
        (0.606530..., 0.361872...)
        """
        gears = [*gears, *[""] * (len(logprobs) - len(gears))]
        best = list(self.curves.values())[-1] if self.curves else Curve()
        return tuple(
            self.curves.get(gear, best)(logprob)
            for logprob, gear in zip(logprobs, gears, strict=False)
        )


def read_confidence(folder: Path) -> Confidence:
    """The curves in a model's folder; none where it is no folder or has no `confidence.json`.

    Raises CorruptFile.
    """
    path = resolve_inside(folder, FILE)
    if not path.is_file():
        return Confidence()
    fields = Fields(path, read_json(path))
    fields.integer("version", low=VERSION, high=VERSION)
    gears = fields.inner("gears")
    names = list(gears.values) if gears is not None else []
    if gears is None or len(names) > _MOST_GEARS:
        fields.fail("gears", f"must be an object of at most {_MOST_GEARS} gears")
    curves = {}
    for name in names:
        one = gears.inner(name)
        if one is None:
            gears.fail(name, "is null")
        curves[name] = Curve(
            one.number("a", low=0.0, high=_STEEPEST),
            one.number("b", low=0.0, high=_STEEPEST),
            one.number("c", low=-_FARTHEST, high=_FARTHEST),
        )
    return Confidence(curves)


def write_confidence(
    folder: Path, gears: Mapping[str, Mapping[str, Any]], *, of: str, order: Sequence[str]
) -> Path:
    """Write the curves of gears (`a`, `b`, `c`, and what was measured) into a folder; `of` says
    what they were fitted on. Gears that are not among them keep the curve that they had; `order`
    names the model's gears, the best one last. Raises CorruptFile for what lies there, OSError
    where the disk refuses.
    """
    path = folder / FILE
    part = path.with_suffix(".part")
    read_confidence(folder)
    before = read_json(path)["gears"] if path.is_file() else {}
    known = before | {name: {"of": of, **record} for name, record in gears.items()}
    value = {"version": VERSION, "gears": {name: known[name] for name in order if name in known}}
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)
    return path
