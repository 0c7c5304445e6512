"""Virtual time: the clock moves by the recorded times, and by nothing else."""

import math
from random import Random

import pytest
from fake_backend import COSTS, EOS, FakeBackend, decode_text, prompt

from onesec.bench.disturbed import SLOWDOWN, STALL_MS, slowdown, stall
from onesec.bench.recording import GearRecord, Recording, record
from onesec.bench.virtual import VirtualBackend, shares
from onesec.budget.latency import P50, GearCost
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import InvalidRequest
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine

SLOW = {
    "4": GearCost(a_ms=5.0, b_ms=2.0, q_ms=10.0, p_ms=0.01),
    "8": GearCost(a_ms=5.0, b_ms=3.0, q_ms=16.0, p_ms=0.01),
}


def recording(ratios: tuple[float, ...] = (1.0,)) -> Recording:
    gears = {
        name: GearRecord(cost, 100 if name == "4" else 200, ratios, ratios)
        for name, cost in SLOW.items()
    }
    return Recording("a shape", {"cpu": "a machine"}, gears)


def machine(ratios: tuple[float, ...] = (1.0,)) -> tuple[Engine, VirtualBackend, FakeClock]:
    inner = FakeBackend(FakeClock(1), eos_rate=0.0)
    clock = FakeClock(1)
    replay = recording(ratios).replay(shares(inner))
    virtual = VirtualBackend(inner, clock, replay)
    engine = Engine(
        virtual,
        clock,
        latency=recording().replay(shares(inner)).latency,
        eos_ids=(EOS,),
        decode_text=decode_text,
        prefix_cache=False,
        speculate=False,
    )
    return engine, virtual, clock


def run(engine: Engine, *, gear: str | None = None, tokens: int = 10, ms: float | None = None):
    request = Request(
        id="a",
        prompt_tokens=prompt(1, 20),
        params=SamplingParams(max_tokens=tokens),
        gear=gear,
        budget=Budget(total_ms=ms),
    )
    sequence = engine.add_request(request)
    while engine.has_work:
        engine.step()
    return sequence.output()


@pytest.mark.parametrize("gear", ["4", "8"])
def test_an_answer_takes_what_the_recorded_machine_takes(gear: str) -> None:
    engine, _, clock = machine()
    run(engine, gear=gear)
    cost = SLOW[gear]
    steps = sum(cost.q_ms + cost.p_ms * (20 + i) for i in range(9))
    assert (clock.now_ns() - 1) / 1e6 == pytest.approx(cost.a_ms + 20 * cost.b_ms + steps, rel=1e-6)


def test_noise_is_replayed_in_its_order() -> None:
    ratios = (1.0, 2.0, 3.0)
    replay = recording(ratios).replay({"4": 0.0})
    replay.begin(5)
    first = [replay.step_ms("4", 0, 1) / 10.0 for _ in range(6)]
    replay.begin(5)
    assert [replay.step_ms("4", 0, 1) / 10.0 for _ in range(6)] == first
    assert first[:3] == first[3:]
    assert sorted(first[:3]) == [1.0, 2.0, 3.0]


def test_a_deadline_binds_in_virtual_time() -> None:
    engine, _, clock = machine()
    output = run(engine, tokens=100, ms=200.0)
    assert (clock.now_ns() - 1) / 1e6 <= 200.0
    assert 5 <= len(output.tokens) < 100
    assert output.trace.met


def test_a_stall_comes_once_and_a_slow_machine_stays_slow() -> None:
    engine, virtual, clock = machine()
    quiet_ms = SLOW["8"].a_ms + 20 * SLOW["8"].b_ms
    virtual.disturb = stall(1 + round((quiet_ms + 50.0) * 1e6))
    run(engine, gear="8")
    stalled_ms = (clock.now_ns() - 1) / 1e6
    other, calm, other_clock = machine()
    run(other, gear="8")
    plain_ms = (other_clock.now_ns() - 1) / 1e6
    assert stalled_ms == pytest.approx(plain_ms + STALL_MS)
    third, slow, third_clock = machine()
    at_ms = quiet_ms + 40.0
    slow.disturb = slowdown(1 + round(at_ms * 1e6))
    run(third, gear="8")
    slow_ms = (third_clock.now_ns() - 1) / 1e6
    assert slow_ms == pytest.approx(at_ms + SLOWDOWN * (plain_ms - at_ms), rel=1e-3)
    assert calm.disturb(0, 3.0) == 3.0


def test_mixed_gears_lie_between() -> None:
    replay = recording().replay({"4": 0.0, "g1": 0.5, "8": 1.0})
    assert replay.latency.step_ms("g1", 0) == pytest.approx(13.0)


def test_a_recording_comes_back_as_it_was_saved(tmp_path) -> None:
    path = tmp_path / "r.json"
    recording((0.9, 1.1)).save(path)
    loaded = Recording.load(path)
    assert loaded == recording((0.9, 1.1))


def test_a_refused_file_is_not_repeated(tmp_path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"\xff" * 10_000)
    with pytest.raises(InvalidRequest, match="UnicodeDecodeError") as caught:
        Recording.load(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"version": 2}', '{"version": 1, "shape": "s", "machine": {}, "gears": 3}'],
)
def test_what_is_no_recording_is_refused(tmp_path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match="not a recording"):
        Recording.load(path)


def test_what_is_recorded_is_what_the_machine_did() -> None:
    rng = Random(2)
    clock = FakeClock(1)
    backend = FakeBackend(
        clock, num_blocks=2048, context_length=4096, noise=lambda: math.exp(rng.gauss(0.0, 0.05))
    )
    found = record(backend, clock, shape="s", machine={}, rounds=4)
    for name, cost in COSTS.items():
        latency, gear = found.latency(), found.gears[name]
        assert latency.step_ms(name, 100) == pytest.approx(cost.q_ms + 0.1, rel=0.05)
        assert latency.prefill_ms(name, 256, quantile=P50) == pytest.approx(
            cost.a_ms + 256 * cost.b_ms, rel=0.05
        )
        ratios = sorted(gear.step_ratios)
        assert len(ratios) == 4 * 5 * 64
        assert ratios[len(ratios) // 2] == pytest.approx(1.0, abs=0.03)
        assert ratios[int(0.975 * len(ratios))] == pytest.approx(math.exp(0.098), abs=0.03)
