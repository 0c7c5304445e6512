"""LengthModel: how many tokens an answer still has, as a distribution learned from answers seen.

It must not know text, time, or why an answer ended. Answers are counted in a hierarchy of cells,
each the prior of the next: all, the application, its kind of task and script, the length that was
asked for, the length of what was asked about. Where lengths go with the source (a translation's),
the ratio of the two is counted too, in a hierarchy of its own, and the form that has predicted an
application's tasks better so far is the one that speaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onesec.core.cues import Cues

from .histogram import Histogram, Survival, at, log_logistic, where

_PRIOR = {"length": log_logistic(96.0, 1.7), "ratio": log_logistic(64.0, 1.7)}
_PRIOR_WEIGHT, _CELL_WEIGHT = 4.0, 8.0  # answers that the prior (a cell, for the next) counts as
_RATIO_UNIT = 64.0  # a ratio is told as the tokens for so many tokens of the source
_LEAD_KEEP, _LEAD_CLIP = 0.98, 4.0  # of the running lead; nats that one answer may add to it
_LEAD = 1.0  # nats that the ratio must be ahead
_APP_CHARS = 64
_ROOTS = (("length",), ("ratio",))
_FORMS = 256  # requests whose distributions are kept at hand
_DEEPEST = 5  # cells of a chain
_LEAST_CELLS = 2 * _DEEPEST  # a request's own chains must find room
Key = tuple[str, ...]


class LengthModel:
    """The distribution of answer lengths, in at most `max_cells` cells: those that were used least
    recently are forgotten.

    >>> model = LengthModel()
    >>> for _ in range(200): model.observe(40, ended=True)
    >>> 36 <= model.quantile(0.5) <= 41
    True
    """

    def __init__(self, *, max_cells: int = 512) -> None:
        self._cells = _Cells(max_cells)
        self._forms: dict[Cues, tuple[Survival, float]] = {}  # until more is learned
        self._news = _Cells(max_cells)  # the same answers, counted since `take_news`

    @property
    def cells(self) -> int:
        """How many cells are held."""
        return len(self._cells)

    def observe(self, tokens: int, *, ended: bool, cues: Cues = Cues()) -> None:  # noqa: B008
        """Count an answer of `tokens` tokens; `ended` is False where it was stopped early."""
        self._forms.clear()
        plain, ratio = _chain("length", cues), _chain("ratio", cues)
        scale = _scale(cues)
        lead = 0.0
        if scale:
            lead = self._loss(plain, tokens, 1.0, ended) - self._loss(ratio, tokens, scale, ended)
            lead = max(-_LEAD_CLIP, min(_LEAD_CLIP, lead))
        for table in (self._cells, self._news):
            for cell in table.touch(plain):
                cell.add(tokens, ended=ended)
            if scale:
                found = table.touch(ratio)
                for cell in found:
                    cell.add(tokens * scale, ended=ended)
                found[-1].lead = _LEAD_KEEP * found[-1].lead + lead

    def longer_than(self, tokens: int, *, cues: Cues = Cues()) -> float:  # noqa: B008
        """The probability that an answer has more than `tokens` tokens."""
        survival, scale = self._form(cues)
        return at(survival, tokens * scale)

    def quantile(self, quantile: float, *, done: int = 0, cues: Cues = Cues()) -> int:  # noqa: B008
        """Tokens still to come, given that `done` are there, not exceeded with that probability."""
        survival, scale = self._form(cues)
        length = where(survival, at(survival, done * scale) * (1.0 - quantile)) / scale
        return max(1, math.ceil(length - 1e-9) - done)

    def by_ratio(self, cues: Cues) -> bool:
        """Whether answers to such requests are predicted from the length of their source."""
        leaf = self._cells.get(_chain("ratio", cues)[-1])
        return leaf is not None and leaf.lead > _LEAD and cues.source_tokens > 0

    def log_loss(self, tokens: int, *, cues: Cues = Cues()) -> float:  # noqa: B008
        """Minus the logarithm of the probability that an answer has just so many tokens, in nats:
        how much it surprises."""
        survival, scale = self._form(cues)
        return _loss(survival, tokens, scale, True)

    def _form(self, cues: Cues) -> tuple[Survival, float]:
        """The survival to be asked, and what a number of tokens is to be multiplied with for it."""
        form = self._forms.get(cues)
        if form is None:
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            if self.by_ratio(cues):
                form = self._survival(_chain("ratio", cues)), _scale(cues)
            else:
                form = self._survival(_chain("length", cues)), 1.0
            self._forms[cues] = form
        return form

    def _survival(self, chain: tuple[Key, ...]) -> Survival:
        survival, weight = _PRIOR[chain[0][0]], _PRIOR_WEIGHT
        for key in chain:
            cell = self._cells.get(key)
            if cell is None:
                break
            survival, weight = cell.survival(survival, weight), _CELL_WEIGHT
        return survival

    def _loss(self, chain: tuple[Key, ...], tokens: int, scale: float, ended: bool) -> float:
        return _loss(self._survival(chain), tokens, scale, ended)

    # -- keep ------------------------------------------------------------------------------------

    def take_news(self) -> LengthModel:
        """What was learned since the last call, by itself: to be merged into what others keep."""
        news = LengthModel(max_cells=self._cells.limit)
        news._cells, self._news = self._news, _Cells(self._cells.limit)
        return news

    def merge(self, news: LengthModel) -> None:
        """Take in what `take_news` gave, as if its answers had been observed here."""
        self._forms.clear()
        for key, later in news._cells.items():
            cell = self._cells.touch(_ancestors(key))[-1]
            cell.absorb(later)
            cell.lead = _LEAD_KEEP**later.added * cell.lead + later.lead

    def to_dict(self) -> dict[str, Any]:
        """All cells as plain values, ready for JSON, the least recently used first."""
        cells = [{"key": list(key), **cell.to_dict()} for key, cell in self._cells.items()]
        return {"version": 1, "cells": cells}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, max_cells: int = 512) -> LengthModel:
        """The inverse of `to_dict`. Raises ValueError on anything else."""
        made = cls(max_cells=max_cells)
        try:
            if values["version"] != 1:
                raise ValueError(f"version {values['version']!r} is not 1")
            for one in values["cells"]:
                key = tuple(one["key"])
                if not all(isinstance(part, str) for part in key) or key[:1] not in _ROOTS:
                    raise ValueError(f"{key!r} is no cell")
                if len(key) > _DEEPEST or any(len(part) > _APP_CHARS for part in key):
                    raise ValueError(f"the cell {key!r} is too deep or its name too long")
                made._cells.touch(_ancestors(key))
                made._cells.put(key, Histogram.from_dict(one))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not saved lengths: {error!r}") from error
        return made


class _Cells:
    """Histograms by key, at most `limit` of them, the least recently touched first. A cell is less
    recent than those above it, so it is forgotten before them."""

    def __init__(self, limit: int) -> None:
        if limit < _LEAST_CELLS:
            raise ValueError(f"max_cells is {limit}; it must be at least {_LEAST_CELLS}")
        self.limit = limit
        self._cells: dict[Key, Histogram] = {}
        self.get = self._cells.get
        self.items = self._cells.items

    def __len__(self) -> int:
        return len(self._cells)

    def touch(self, chain: tuple[Key, ...]) -> list[Histogram]:
        """The cells of a chain, made where they are not there, and the most recent from now on."""
        cells = self._cells
        found = []
        for key in reversed(chain):
            cell = cells.pop(key) if key in cells else Histogram()
            cells[key] = cell
            found.append(cell)
        while len(cells) > self.limit:
            del cells[next(iter(cells))]
        return found[::-1]

    def put(self, key: Key, cell: Histogram) -> None:
        """Replace a cell that is there, without making it more recent."""
        if key in self._cells:
            self._cells[key] = cell


def _chain(form: str, cues: Cues) -> tuple[Key, ...]:
    """Keys of the cells that a request falls into, from all answers down to those most like it."""
    app = cues.app[:_APP_CHARS]
    kind = f"{cues.task} {cues.script}"
    key = (form, app, kind, f"target {_half_octave(cues.target_words)}",
           f"source {_octave(cues.source_tokens)}")  # fmt: skip
    return _ancestors(key if form == "length" else key[:3])


def _ancestors(key: Key) -> tuple[Key, ...]:
    return tuple(key[:depth] for depth in range(1, len(key) + 1))


def _octave(value: int) -> int:
    return value.bit_length()


def _half_octave(value: int) -> int:
    return (value * value).bit_length()


def _scale(cues: Cues) -> float:
    return _RATIO_UNIT / cues.source_tokens if cues.source_tokens > 0 else 0.0


def _loss(survival: Survival, tokens: int, scale: float, ended: bool) -> float:
    """Nats of an answer that ended with so many tokens, or was stopped there."""
    if not ended:
        return -math.log(max(1e-9, at(survival, tokens * scale)))
    tokens = max(1, tokens)
    share = at(survival, (tokens - 1) * scale) - at(survival, tokens * scale)
    return -math.log(max(1e-9, share))
