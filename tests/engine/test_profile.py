import json
from pathlib import Path

import pytest
from fake_backend import COSTS, FakeBackend, jitter

from onesec.budget.latency import P50, GearCost, LatencyModel
from onesec.core.clock import FakeClock
from onesec.core.gear import Gear
from onesec.engine.profile import cached_profile, profile


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


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", json.dumps({"version": 1, "gears": 3})])
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
