"""What callers say beside a deadline: the policy, and budgets for the first and for each token."""

from __future__ import annotations

import pytest
from fake_backend import EOS, FakeBackend, decode_text, jitter, prompt

from onesec.budget.policy import POLICIES
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.request import PolicyName, Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.sequence import Sequence


def engine_with(**options: object) -> Engine:
    backend = FakeBackend(FakeClock(10**9), eos_rate=0.0, **options)  # type: ignore[arg-type]
    return Engine(
        backend,
        backend.clock,
        latency=backend.latency(),
        eos_ids=(EOS,),
        decode_text=decode_text,
        cache_key=b"test",
    )


def request(name: str, *, tokens: int = 30, words: int = 10, **values: object) -> Request:
    return Request(
        id=name,
        prompt_tokens=prompt(1, words),
        params=SamplingParams(max_tokens=tokens),
        **values,  # type: ignore[arg-type]
    )


def run(engine: Engine, *requests: Request) -> list[Sequence]:
    sequences = [engine.add_request(each) for each in requests]
    while engine.has_work:
        engine.step()
    return sequences


@pytest.mark.parametrize(
    ("policy", "min_gear", "gear"),
    [
        ("quality", None, "8"),
        ("balanced", None, "8"),
        ("fastest", None, "4"),
        ("fastest", "8", "8"),
    ],
)
def test_a_policy_means_something_without_a_deadline(
    policy: PolicyName, min_gear: str | None, gear: str
) -> None:
    (done,) = run(engine_with(), request("a", policy=policy, min_gear=min_gear))
    assert done.trace.gears == {gear: 30}
    assert done.trace.policy == policy


def test_an_explicit_gear_stands_above_the_policy() -> None:
    (done,) = run(engine_with(), request("a", policy="fastest", gear="8"))
    assert done.trace.gears == {"8": 30}


def test_policies_differ_under_the_same_deadline_and_all_keep_it() -> None:
    """Lengths are spread: four of five answers take 8 gears' time, the median far less."""
    better, elapsed = {}, {}
    for policy in POLICIES:
        engine = engine_with(noise=jitter(3))
        for number in range(200):
            engine.length.observe(20 if number % 10 < 7 else 60, ended=True)
        (done,) = run(engine, request("a", tokens=50, policy=policy, budget=Budget(total_ms=420.0)))
        assert done.trace.met
        assert len(done.tokens) == 50
        better[policy], elapsed[policy] = done.trace.gears.get("8", 0), done.trace.elapsed_ms
    assert better["quality"] > better["balanced"] > better["fastest"] == 0
    assert elapsed["fastest"] == min(elapsed.values())
