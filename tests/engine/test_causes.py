"""Every decision in a trace has its cause beside it: over many simulated answers, on a machine that
is sometimes noisy, sometimes stalls, and is often shared."""

import random

import pytest
from fake_backend import FakeBackend, engine_over, jitter, prompt

from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import Request, SamplingParams
from onesec.core.trace import Trace
from onesec.explain.check import check
from onesec.explain.sentences import LANGUAGES, explain
from onesec.explain.timeline import token_gears, token_times

ENGINES, ANSWERS = 16, 96


def simulate(seed: int) -> list[Trace]:
    """The traces of the answers of one engine; requests come while others run."""
    rng = random.Random(seed)
    shake = jitter(seed, rng.choice([0.02, 0.2, 0.6]))
    stalls = 0.02 if seed % 4 == 0 else 0.0
    backend = FakeBackend(
        FakeClock(10**9),
        num_blocks=rng.choice([40, 64, 256]),
        eos_rate=rng.choice([0.0, 0.01, 0.05]),
        noise=lambda: shake() * (20.0 if rng.random() < stalls else 1.0),
        memory=rng.choice([None, None, 2]),
    )
    engine = engine_over(backend)
    traces: list[Trace] = []
    asked = 0
    while asked < ANSWERS or engine.has_work:
        if asked < ANSWERS and (not engine.has_work or rng.random() < 0.1):
            asked += 1
            request = Request(
                id=str(asked),
                prompt_tokens=prompt(rng.randrange(6), rng.randrange(3, 60)),
                params=SamplingParams(
                    max_tokens=rng.choice([None, 40, 120]),
                    temperature=rng.choice([0.0, 1.0]),
                    stop=rng.choice([(), (". a",)]),
                ),
                budget=Budget(
                    total_ms=rng.choice([None, 60, 150, 400, 900, 2000]),
                    ttft_ms=rng.choice([None, None, None, 300]),
                    tpot_ms=rng.choice([None, None, 8, 15, 40]),
                ),
                policy=rng.choice(["balanced", "balanced", "quality", "fastest"]),
                best_effort=rng.random() < 0.2,
            )
            try:
                engine.add_request(request, stream=rng.random() < 0.5)
            except DeadlineInfeasible:
                continue
        for delta in engine.step():
            assert delta.error is None
            if delta.trace is not None:
                traces.append(delta.trace)
    return traces


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return [trace for seed in range(ENGINES) for trace in simulate(seed)]


def test_every_cause_is_borne_out_by_its_numbers(traces: list[Trace]) -> None:
    assert len(traces) >= 1000
    kinds = [event.kind for trace in traces for event in trace.events]
    assert all(kinds.count(kind) > 30 for kind in ("plan", "shift", "land", "no_time", "stop"))
    assert [fault for trace in traces for fault in check(trace)] == []


def test_every_token_has_its_gear_and_its_instant(traces: list[Trace]) -> None:
    for trace in traces:
        gears, times = token_gears(trace), token_times(trace)
        assert len(gears) == len(times) == trace.answer_tokens
        assert {name: gears.count(name) for name in set(gears)} == trace.gears
        assert times == sorted(times)
        assert all(0.0 <= at_ms <= trace.elapsed_ms + 0.002 for at_ms in times)


def test_each_of_them_can_be_told(traces: list[Trace]) -> None:
    for trace in traces[::7]:
        for language in LANGUAGES:
            told = explain(trace, language)
            assert not any("?" in line for line in told)
            shifts = sum(event.kind == "shift" for event in trace.events)
            word = {"en": "shifted", "zh": "由"}[language]
            assert sum(word in line for line in told) == shifts
