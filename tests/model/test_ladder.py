"""gears.json: what was written comes back, and what a model cannot run is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from onesec.core.errors import CorruptFile
from onesec.core.gear import UNIFORM, Gear
from onesec.model.ladder import MAX_GEARS, gear_records, read_ladder, read_narrow, sublayers
from onesec.model.shapes import shape

CONFIG = shape("smollm2-135m")
PATH = Path("gears.json")
LADDER = (
    Gear("g1", 4, {"layers.0.qkv": 0, "layers.0.o": 0}),
    Gear("g2", 4, {"layers.3.down": 8, "head": 8}),
    Gear("g3", 8, fine=frozenset({"layers.3.down", "head"})),
)


def test_gears_come_back_without_the_uniform_ones() -> None:
    everyone = (LADDER[0], UNIFORM[4], LADDER[1], UNIFORM[8], LADDER[2])
    values = {"gears": gear_records(everyone, {"g1": {"kld_mean": 0.5}})}
    assert values["gears"][0]["kld_mean"] == 0.5
    assert read_ladder(PATH, values, CONFIG) == LADDER
    assert read_ladder(PATH, {}, CONFIG) == ()
    unmeasured = GOOD | {"kld_mean": None}
    assert read_ladder(PATH, {"gears": [unmeasured]}, CONFIG) == LADDER[:1]


def test_sublayers_are_pairs_of_this_model_s_matrices() -> None:
    pairs = sublayers(CONFIG)
    assert len(pairs) == 2 * CONFIG.num_layers
    assert pairs[-1] == (
        f"layers.{CONFIG.num_layers - 1}.gate_up",
        f"layers.{CONFIG.num_layers - 1}.down",
    )


GOOD = gear_records(LADDER, {})[0]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "16"},
        {"name": "g0"},
        {"name": "../x"},
        {"name": 4},
        {"name": None},
        {"width": 0},
        {"width": 16},
        {"width": 5},
        {"width": "4"},
        {"widths": []},
        {"widths": {"layers.0.qkv": 0}},
        {"widths": {"layers.999.qkv": 8}},
        {"widths": {"layers.0.up": 8}},
        {"widths": {"layers.0.qkv": 16}},
        {"widths": {"layers.0.qkv": True}},
        {"widths": {"layers.0.qkv": 8.0}},
        {"widths": {"head": 0}},
        {"widths": {"embed": 0}},
        {"widths": {"x" * 10_000: 8}},
        {"fine": "head"},
        {"fine": {"head": 16}},
        {"fine": [5]},
        {"fine": ["layers.999.qkv"]},
        {"kld_mean": "little"},
        {"kld_mean_se": [0.1]},
        {"same_top": True},
        {"perplexity_ratio": 10**400},
    ],
    ids=lambda change: str(change)[:50],
)
def test_gears_that_the_model_cannot_run_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptFile, match=r"gears\.json"):
        read_ladder(PATH, {"gears": [copy.deepcopy(GOOD) | change]}, CONFIG)


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"width": 4, "widths": {}}, True),
        ({"width": 4, "widths": {"layers.0.o": 8}}, True),
        ({"width": 8, "widths": {"head": 4}}, True),
        ({"width": 8, "widths": {}}, False),
        ({"width": 4, "widths": {"head": 8}}, False),
    ],
    ids=str,
)
def test_a_narrow_matrix_has_no_8_bits(change: dict[str, Any], fits: bool) -> None:
    assert CONFIG.tie_embeddings  # so the head is stored as the embedding
    values = {"gears": [GOOD | change, {"name": "8", "width": 8}], "narrow": ["embed"]}
    if fits:
        assert read_ladder(PATH, values, CONFIG)[0].name == "g1"
        return
    with pytest.raises(CorruptFile, match="no 8 bits"):
        read_ladder(PATH, values, CONFIG)


@pytest.mark.parametrize("narrow", ["embed", ["head"], ["layers.99.o"], [5], {"embed": True}, 5])
def test_narrow_names_stored_matrices(narrow: Any) -> None:
    with pytest.raises(CorruptFile, match="narrow"):
        read_narrow(PATH, {"narrow": narrow}, CONFIG)


@pytest.mark.parametrize(
    "gears", [5, {}, "g1", [[]], [None], [GOOD, GOOD], [GOOD] * (MAX_GEARS + 1)], ids=repr
)
def test_lists_that_are_none_are_refused(gears: Any) -> None:
    with pytest.raises(CorruptFile):
        read_ladder(PATH, {"gears": gears}, CONFIG)
