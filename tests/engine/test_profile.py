import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from fake_backend import COSTS, FakeBackend, jitter

from onesec.budget.latency import P50, GearCost, LatencyModel
from onesec.core.clock import FakeClock
from onesec.core.gear import Gear
from onesec.engine.profile import cached_profile, holds, profile, reach


def test_profile_finds_the_backend_s_times() -> None:
    clock = FakeClock()
    backend = FakeBackend(clock, num_blocks=128, context_length=300, noise=jitter(1, 0.01))
    model = profile(backend, clock, budget_s=2.0)
    true = LatencyModel(COSTS)
    assert set(model.gears) == {"4", "8"}
    for gear in COSTS:
        for batch in (1, 4, 8):
            assert model.step_ms(gear, 200, batch) == pytest.approx(
                true.step_ms(gear, 200, batch), rel=0.05
            )
        assert model.prefill_ms(gear, 200, quantile=P50) == pytest.approx(
            true.prefill_ms(gear, 200, quantile=P50), rel=0.15
        )
    assert clock.now_ns() < 4e9


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 17, 20, 40])
def test_profile_works_in_a_small_cache(num_blocks: int) -> None:
    clock = FakeClock()
    backend = FakeBackend(clock, num_blocks=num_blocks)
    model = profile(backend, clock, gears=backend.gears[:1], budget_s=0.01)
    assert model.gears == ("4",)
    assert model.step_ms("4", 0) == pytest.approx(5.0, rel=0.05)


def test_a_profile_is_measured_once_for_machine_and_artifact(tmp_path: Path) -> None:
    calls = []

    def measure() -> LatencyModel:
        calls.append(1)
        return LatencyModel({"4": GearCost(b_ms=1.0, q_ms=float(len(calls)))})

    folder = tmp_path / "deep" / "cache"
    first = cached_profile("machine", "artifact", folder, measure)
    second = cached_profile("machine", "artifact", folder, measure)
    assert first.to_dict() == second.to_dict()
    cached_profile("machine", "other", folder, measure)
    cached_profile("other", "artifact", folder, measure)
    assert len(calls) == 3
    assert all(path.suffix == ".json" for path in folder.iterdir())


HUGE = json.dumps({"version": 1, "gears": {"4": {"batch": [[math.inf, 1.0]]}}})


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", json.dumps({"version": 1, "gears": 3}), "[" * 200_000, HUGE],
)
def test_a_damaged_profile_is_measured_anew(tmp_path: Path, damage: str) -> None:
    def measure() -> LatencyModel:
        return LatencyModel({"4": GearCost(b_ms=1.0, q_ms=1.0)})

    cached_profile("m", "a", tmp_path, measure)
    [path] = tmp_path.iterdir()
    good = path.read_text()
    path.write_text(damage)
    assert cached_profile("m", "a", tmp_path, measure).gears == ("4",)
    assert path.read_text() == good


def test_a_cache_that_cannot_be_written_is_not_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    model = cached_profile("m", "a", file, lambda: LatencyModel({"4": GearCost(b_ms=1, q_ms=1)}))
    assert model.gears == ("4",)


def test_a_fresh_profile_replaces_the_kept_one(tmp_path: Path) -> None:
    def model(gear: str) -> LatencyModel:
        return LatencyModel({gear: GearCost(b_ms=1, q_ms=1)})

    cached_profile("m", "a", tmp_path, lambda: model("4"))
    assert cached_profile("m", "a", tmp_path, lambda: model("8"), fresh=True).gears == ("8",)
    assert cached_profile("m", "a", tmp_path, lambda: model("4")).gears == ("8",)


def slower(times: float) -> LatencyModel:
    """What a profile says that was taken while everything took `times` as long."""
    costs = {
        name: replace(cost, b_ms=cost.b_ms * times, q_ms=cost.q_ms * times)
        for name, cost in COSTS.items()
    }
    return LatencyModel(costs)


def test_a_profile_taken_beside_other_work_is_measured_anew(tmp_path: Path) -> None:
    clock = FakeClock()
    backend = FakeBackend(clock)

    def take(times: float) -> LatencyModel:
        return cached_profile(
            "m", "a", tmp_path, lambda: slower(times), still_holds=lambda m: holds(backend, m)
        )

    assert take(4.0).cost("8").q_ms == 36.0
    assert take(1.0).cost("8").q_ms == 9.0  # four times too slow: not believed
    assert take(2.0).cost("8").q_ms == 9.0  # kept
    # Of another ladder:
    assert not holds(FakeBackend(clock), LatencyModel({"4": COSTS["4"]}))


def test_on_a_slower_machine_a_kept_profile_begins_with_that() -> None:
    backend = FakeBackend(FakeClock(), noise=lambda: 3.0)
    kept = LatencyModel(COSTS)
    assert holds(backend, kept)
    assert kept.step_ms("8", 0) == pytest.approx(27.0, rel=0.01)
    assert kept.prefill_ms("4", 100, quantile=P50) == pytest.approx(3 * 5.5, rel=0.01)


def test_mixed_gears_between_uniform_ones_are_not_measured() -> None:
    clock = FakeClock()
    backend = FakeBackend(clock, num_blocks=128, context_length=300)
    sizes = {"4": 400, "g1": 500, "8": 800}
    backend.bytes_per_token = lambda gear: sizes[gear.name]  # type: ignore[method-assign]
    low, high = backend.gears
    between = Gear("g1", 4, {"head": 8})
    model = profile(backend, clock, gears=[low, between, high], budget_s=0.1)
    assert model.gears == ("4", "g1", "8")
    for ms in (lambda g: model.step_ms(g, 100, 2), lambda g: model.prefill_ms(g, 200)):
        assert ms("g1") == pytest.approx(0.75 * ms("4") + 0.25 * ms("8"), rel=1e-6)


@pytest.mark.parametrize(
    ("sizes", "ladder", "measured"),
    [
        # Fine activations take time that no bytes tell.
        (
            {"4": 400, "g1": 500, "8": 800, "g2": 800},
            (Gear("g1", 4, {"head": 8}), Gear("g2", 8, fine=frozenset({"head"}))),
            {"4", "8", "g2"},
        ),
        (
            {"4": 400, "g1": 500, "8": 800},
            (Gear("g1", 4, {"head": 8}, fine=frozenset({"head"})),),
            {"4", "g1", "8"},
        ),
        # Without a gear "8" the last one is measured.
        (
            {"4": 400, "g1": 500, "g2": 600},
            (Gear("g1", 4, {"head": 8}), Gear("g2", 8, {"layers.0.o": 4})),
            {"4", "g2"},
        ),
    ],
)
def test_only_gears_whose_bytes_tell_their_time_are_not_measured(
    sizes: dict[str, int], ladder: tuple[Gear, ...], measured: set[str]
) -> None:
    clock = FakeClock()
    costs = dict.fromkeys(sizes, COSTS["8"]) | {"4": COSTS["4"]}
    backend = FakeBackend(clock, num_blocks=128, context_length=300, costs=costs)
    backend.bytes_per_token = lambda gear: sizes[gear.name]  # type: ignore[method-assign]
    known = {gear.name: gear for gear in (*backend.gears, *ladder)}
    model = profile(backend, clock, gears=[known[name] for name in sizes], budget_s=0.1)
    assert {batch.gear.name for batch in backend.batches} == measured
    assert model.gears == tuple(sizes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"b_ms": 0.5},
        {"batch": ((1, 1.0), (2, 5.0), (4, 5.0), (8, 24.0))},
    ],
)
def test_a_profile_wrong_in_one_of_its_parts_is_measured_anew(wrong: dict[str, object]) -> None:
    # Single steps as they are, but prompts or batches from a moment when others were busy.
    backend = FakeBackend(FakeClock())
    assert holds(backend, LatencyModel(COSTS))
    kept = {name: replace(cost, **wrong) for name, cost in COSTS.items()}  # type: ignore[arg-type]
    assert not holds(backend, LatencyModel(kept))


def test_a_profile_does_not_take_others_bursts_for_the_machine() -> None:
    clock = FakeClock()
    busy = random.Random(3)
    # Seven calls of ten as they are, the others three times as long.
    backend = FakeBackend(
        clock,
        num_blocks=128,
        context_length=300,
        noise=lambda: 3.0 if busy.random() < 0.3 else 1.0,
    )
    model, true = profile(backend, clock, budget_s=4.0), LatencyModel(COSTS)
    for gear in COSTS:
        for batch in (1, 2, 4, 8):
            step_ms = true.step_ms(gear, 200, batch)
            assert model.step_ms(gear, 200, batch) == pytest.approx(step_ms, rel=0.05)
        prompt_ms = true.prefill_ms(gear, 200, quantile=P50)
        assert model.prefill_ms(gear, 200, quantile=P50) == pytest.approx(prompt_ms, rel=0.1)


def test_caches_of_other_sizes_share_a_profile_where_it_says_the_same() -> None:
    clock = FakeClock()
    sizes = {n: reach(FakeBackend(clock, num_blocks=n, context_length=300)) for n in (2, 128, 512)}
    assert sizes[128] == sizes[512] != sizes[2]
