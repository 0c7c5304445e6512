"""The search against trying everything, and the ladder's rules."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.compress.evaluate import Divergence, Estimate, Quality
from onesec.compress.ladder import Rung, parts_of, propose, rung_times, worth_keeping
from onesec.compress.search import BINS, Option, frontier
from onesec.compress.sensitivity import Sensitivities
from onesec.compress.timing import StepCosts
from onesec.core.gear import UNIFORM, Gear

times = st.integers(0, 40).map(lambda n: n / 8)  # on the search's grid, so that rounding is exact
losses = st.floats(0.0, 4.0)
options = st.lists(st.builds(Option, times, losses), min_size=1, max_size=4)


@given(st.lists(options, min_size=1, max_size=5), st.floats(-1.0, 30.0))
@settings(max_examples=300)
def test_nothing_better_fits(parts: list[list[Option]], budget_ms: float) -> None:
    (chosen,) = frontier(parts, [budget_ms])
    assert all(option in some for option, some in zip(chosen, parts, strict=True))
    quickest = sum(min(o.ms for o in some) for some in parts)
    slack = (sum(max(o.ms for o in some) for some in parts) - quickest) / BINS * (len(parts) + 1)
    spent = sum(o.ms for o in chosen)
    assert spent <= max(budget_ms, quickest) + slack
    for other in product(*parts):
        if sum(o.ms for o in other) <= budget_ms - slack:
            assert sum(o.loss for o in chosen) <= sum(o.loss for o in other) + 1e-9


def test_rounded_times_of_the_slowest_choice_fit() -> None:
    parts = [[Option(0.0, 1.0), Option(ms, 0.0)] for ms in (0.125, 0.125, 0.5)]
    assert [option.loss for option in frontier(parts, [1.0])[0]] == [0.0, 0.0, 0.0]


def test_more_time_never_loses_more() -> None:
    parts = [[Option(0.0, 1.0 + i), Option(0.3 + 0.1 * i, 0.0)] for i in range(6)]
    found = frontier(parts, [i / 10 for i in range(40)])
    losses_found = [sum(option.loss for option in choice) for choice in found]
    assert losses_found == sorted(losses_found, reverse=True)
    assert losses_found[0] == sum(1.0 + i for i in range(6))
    assert losses_found[-1] == 0.0


PAIRS = [("layers.0.qkv", "layers.0.o"), ("layers.0.up", "layers.0.down")]
MATRICES = [name for pair in PAIRS for name in pair] + ["head"]
KINDS = ("qkv", "o", "up", "down", "head")
COSTS = StepCosts(10.0, dict.fromkeys(KINDS, 1.0), dict.fromkeys(KINDS, 0.5), {"qkv": 1.0})
LOSSES = Sensitivities(
    0.001,
    dict(zip(MATRICES, (0.1, 0.01, 0.02, 0.03, 0.04), strict=True)),
    dict(zip(MATRICES, (1e-5, 2e-5, 4e-4, 3e-5, 0.0), strict=True)),
    {"layers.0.qkv": 0.5, "layers.0.up": 9.0},
)


def test_parts_hold_every_width_of_a_sublayer_and_those_of_the_head() -> None:
    parts = parts_of(COSTS, LOSSES, MATRICES, PAIRS)
    assert [len(part) for part in parts] == [10, 10, 3]
    dearest = max(parts[1], key=lambda option: option.ms)
    assert (dearest.ms, dearest.loss) == (3.0, pytest.approx(-4.3e-4))
    assert dearest.fine == {"layers.0.up", "layers.0.down"}
    skip = parts[0][-1]
    assert (skip.ms, skip.loss) == (-1.0, 0.5)
    assert dict(skip.widths) == {"layers.0.qkv": 0, "layers.0.o": 0}
    assert (parts[2][1].ms, parts[2][1].loss) == (1.0, 0.0)


def test_the_matrix_that_loses_most_gets_its_second_plane_first() -> None:
    times = [*rung_times(COSTS, MATRICES, rungs=4), 11.1]
    found = propose(COSTS, LOSSES, MATRICES, PAIRS, times)
    one_plane = [p for p in found if p.ms == pytest.approx(11.0)]
    assert one_plane[0].gear.width_of("layers.0.qkv") == 8
    assert [one_plane[0].gear.width_of(name) for name in MATRICES[1:]] == [4] * 4
    assert one_plane[0].kld == pytest.approx(0.001 + 0.01 + 0.02 + 0.03 + 0.04)
    widths = [
        tuple((p.gear.width_of(name), p.gear.activations_of(name)) for name in MATRICES)
        for p in found
    ]
    assert len(set(widths)) == len(widths)
    assert ((4, 8),) * 5 not in widths
    assert ((8, 8),) * 5 not in widths


def test_a_sublayer_with_a_narrow_matrix_is_skipped_whole() -> None:
    narrow = ["layers.0.o"]
    times = rung_times(COSTS, MATRICES, rungs=4, narrow=narrow)
    found = propose(COSTS, LOSSES, MATRICES, PAIRS, times, narrow=narrow)
    attention = {tuple(p.gear.width_of(name) for name in PAIRS[0]) for p in found}
    assert (0, 0) in attention
    assert attention <= {(0, 0), (4, 4), (8, 4)}


def test_8_bits_of_all_but_a_narrow_embedding_are_proposed() -> None:
    narrow = ["embed"]
    (found,) = propose(COSTS, LOSSES, MATRICES, PAIRS, [15.0], narrow=narrow)
    assert (found.gear.width, found.gear.widths, found.gear.fine) == (8, {"embed": 4}, frozenset())


def test_above_8_bits_the_matrix_that_gains_most_gets_fine_activations_first() -> None:
    times = rung_times(COSTS, MATRICES, rungs=2)
    found = propose(COSTS, LOSSES, MATRICES, PAIRS, times)
    above = [p for p in found if p.ms > 15.0 + 1e-9]
    assert [set(p.gear.widths.values()) | {p.gear.width} for p in above] == [{8}] * len(above)
    some, all_ = sorted(above, key=lambda p: p.ms)
    assert "layers.0.up" in some.gear.fine
    assert all_.gear.fine == set(MATRICES) - {"head"}  # the head would gain nothing
    assert all_.kld == pytest.approx(0.001 - 4.6e-4)


def rung(name: str, ms: float, kld: float, same_top: float = 0.9) -> Rung:
    fine = frozenset({"head"}) if same_top > 0.9 else frozenset[str]()
    gear = UNIFORM[int(name)] if name.isdecimal() else Gear(name, 4, {"head": 8}, fine=fine)
    one = Estimate(1.0, 0.0)
    divergence = Divergence(Estimate(kld, 0.0), one, kld, Estimate(same_top, 0.0), one)
    return Rung(gear, ms, Quality(name, 10, 1.0, one, one, divergence))


def test_only_rungs_that_gain_are_kept_and_they_are_named_in_order() -> None:
    found = worth_keeping(
        [
            rung("8", 2.0, 0.01),
            rung("slower and worse", 1.5, 0.3),
            rung("4", 1.0, 0.2),
            rung("good", 1.4, 0.1),
            rung("ruined", 0.5, 0.7),
            rung("quick", 0.8, 0.4),
            rung("hardly better", 2.2, 0.006, 0.904),
            rung("fine", 2.3, 0.006, 0.906),
            rung("hardly better than that", 2.4, 0.004, 0.91),
        ]
    )
    assert [(r.gear.name, r.step_ms) for r in found] == [
        ("g1", 0.8),
        ("4", 1.0),
        ("g2", 1.4),
        ("8", 2.0),
        ("g3", 2.3),
    ]
