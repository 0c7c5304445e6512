"""Ladder: the mixed gears of an artifact, to and from its gears.json.

It must not know how a gear was found, or how fast it is: speeds belong to a machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from onesec.core.gear import Gear, name_in_gears

from .config import ModelConfig
from .jsonfile import Fields
from .planes import packed_names

MAX_GEARS = 24  # 12 rungs, five more at the ends, a target asked for four times, two uniform ones
_NAME = re.compile(r"g[1-9]\d?")
_WIDTHS = (0, 4, 8)
_FIGURES = ("kld_mean", "kld_mean_se", "same_top", "perplexity_ratio")  # those that are shown
_MOST = 1e308


def gear_records(
    gears: Sequence[Gear], figures: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Gears as the values of gears.json, each with its measured `figures` (by the gear's name).

    >>> gear_records([Gear("g1", 4, {"layers.0.o": 8})], {"g1": {"kld_mean": 0.01}})
    [{'name': 'g1', 'width': 4, 'widths': {'layers.0.o': 8}, 'kld_mean': 0.01}]
    """
    return [
        {"name": g.name, "width": g.width, "widths": dict(g.widths)}
        | ({"fine": sorted(g.fine)} if g.fine else {})
        | dict(figures.get(g.name, {}))
        for g in gears
    ]


def read_narrow(path: Path, values: Mapping[str, Any], config: ModelConfig) -> frozenset[str]:
    """The matrices of which the artifact holds `hi` alone. Raises CorruptFile."""
    return frozenset(_matrices(Fields(path, values), "narrow", packed_names(config)))


def read_ladder(path: Path, values: Mapping[str, Any], config: ModelConfig) -> tuple[Gear, ...]:
    """The mixed gears in the values of a gears.json; () where there are none.

    Raises CorruptFile for gears that this model cannot run: unknown matrices or widths, half a
    sublayer skipped, 8 bits of a narrow matrix, a name twice; for a "fine" that is no list of
    matrices; and for figures that are no numbers (they may be missing, or null).
    """
    fields = Fields(path, values)
    narrow = read_narrow(path, values, config)
    items = fields.raw("gears")
    if items is None:
        return ()
    if not isinstance(items, list) or len(items) > MAX_GEARS:
        fields.fail("gears", f"must be a list of at most {MAX_GEARS} gears")
    gears: list[Gear] = []
    for item in items:
        if not isinstance(item, dict):
            fields.fail("gears", "must hold objects only")
        gear = _gear(Fields(path, item), config)
        if any(gear.name == other.name for other in gears):
            fields.fail("gears", f"has {gear.name!r} twice")
        if not gear.name.isdecimal():
            for matrix in narrow:
                if gear.width_of(name_in_gears(matrix, tied=config.tie_embeddings)) == 8:
                    fields.fail("gears", f"has {gear.name!r}, but {matrix} has no 8 bits")
        gears.append(gear)
    return tuple(gear for gear in gears if not gear.name.isdecimal())


def _matrices(fields: Fields, key: str, known: Collection[str]) -> list[str]:
    found = fields.raw(key) or []
    if not isinstance(found, list) or not all(isinstance(m, str) and m in known for m in found):
        fields.fail(key, "must be a list of this model's matrices")
    return found


def _gear(fields: Fields, config: ModelConfig) -> Gear:
    name = fields.text("name")
    if not _NAME.fullmatch(name) and name not in ("4", "8"):
        fields.fail("name", f"is {name[:40]!r}; gears are called g1, g2, … (or 4, 8)")
    width = fields.integer("width", low=0, high=8)
    widths = fields.inner("widths")
    chosen = dict(widths.values) if widths is not None else {}
    known = set(packed_names(config)) | {"head"}
    for matrix, value in chosen.items():
        if matrix not in known:
            fields.fail("widths", f"names {matrix[:60]!r}, which this model has not")
        if type(value) is not int or value not in _WIDTHS:
            fields.fail("widths", f"gives {matrix} {str(value)[:20]}; a width is one of {_WIDTHS}")
    if width not in (4, 8):
        fields.fail("width", f"is {width}; a gear's own width is 4 or 8")
    for figure in _FIGURES:
        fields.number(figure, 0.0, low=-_MOST, high=_MOST)
    gear = Gear(name, width, chosen, fine=frozenset(_matrices(fields, "fine", known)))
    if gear.width_of("head") == 0 or gear.width_of("embed") == 0:
        fields.fail("widths", "skips the embedding or the head")
    for sublayer in sublayers(config):
        skipped = [gear.width_of(matrix) == 0 for matrix in sublayer]
        if any(skipped) and not all(skipped):
            fields.fail("widths", f"skips a part of {' and '.join(sublayer)}")
    return gear


def sublayers(config: ModelConfig) -> list[tuple[str, str]]:
    """The pairs of matrices that are skipped together, from the first layer on.

    >>> sublayers(config)[0]  # doctest: +SKIP
    ('layers.0.qkv', 'layers.0.o')
    """
    ffn = "gate_up" if config.gated else "up"
    pairs = (("qkv", "o"), (ffn, "down"))
    return [
        (f"layers.{i}.{first}", f"layers.{i}.{second}")
        for i in range(config.num_layers)
        for first, second in pairs
    ]
