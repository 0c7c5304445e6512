"""The taped backend gives what the backend beneath gives, whatever gears an answer goes through."""

import random

import pytest
from fake_backend import ALPHABET, EOS, FakeBackend, decode_text, prompt

from onesec.backend.base import Batch, BatchResult
from onesec.bench.tapes import TapedBackend
from onesec.core.clock import FakeClock
from onesec.core.gear import Gear
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine


class Wandering:
    """A backend that computes steps in gears of its own choice, by where the first row stands, so
    that answers shift in every way."""

    def __init__(self, inner, shifts: float) -> None:
        self._inner, self._shifts = inner, shifts

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def forward(self, batch: Batch) -> BatchResult:
        first = batch.rows[0]
        rng = random.Random(f"{first.start} {first.tokens[-1]}")
        if batch.exact and rng.random() < self._shifts:
            batch.gear = rng.choice(self._inner.gears)
        result = self._inner.forward(batch)
        result.step_ms = [1.0] * len(result.step_ms)
        return result


def answers(backend, order, shifts: float) -> list[tuple[int, ...]]:
    """Answers to the prompts of these numbers, two at a time."""
    engine = Engine(
        Wandering(backend, shifts),
        FakeClock(1),
        latency=FakeBackend(FakeClock(1)).latency(),
        eos_ids=(EOS,),
        decode_text=decode_text,
        prefix_cache=False,
        speculate=False,
        chunk_tokens=5,
        max_steps=1,
    )
    found: list[tuple[int, ...]] = []
    for pair in zip(order[::2], order[1::2], strict=True):
        sequences = [
            engine.add_request(
                Request(
                    id=f"{len(found)}-{number}-{i}",
                    prompt_tokens=prompt(number, 6 + number % 9),
                    params=SamplingParams(max_tokens=24),
                    gear=gear,
                )
            )
            for i, (number, gear) in enumerate(pair)
        ]
        while engine.has_work:
            engine.step()
        found += [sequence.output().tokens for sequence in sequences]
    return found


@pytest.mark.parametrize("shifts", [0.0, 0.3])
def test_answers_are_those_of_the_backend_beneath(shifts: float) -> None:
    rng = random.Random(3)
    order = [(rng.randrange(12), rng.choice("48")) for _ in range(80)]
    plain = answers(FakeBackend(FakeClock(1)), order, shifts)
    taped = TapedBackend(FakeBackend(FakeClock(1)))
    assert answers(taped, order, shifts) == plain
    assert taped.taped_tokens > 100
    assert taped.computed_tokens > 0


def test_what_was_computed_once_is_not_computed_again() -> None:
    inner = FakeBackend(FakeClock(1))
    taped = TapedBackend(inner)
    order = [(number, "8") for number in range(8)]
    first = answers(taped, order, 0.0)
    calls = len(inner.batches)
    assert answers(taped, order, 0.0) == first
    assert len(inner.batches) == calls


def test_statistics_are_computed() -> None:
    taped = TapedBackend(FakeBackend(FakeClock(1)))
    for _ in range(2):
        engine = Engine(
            taped,
            FakeClock(1),
            latency=FakeBackend(FakeClock(1)).latency(),
            eos_ids=(EOS,),
            decode_text=decode_text,
            prefix_cache=False,
            speculate=False,
        )
        params = SamplingParams(max_tokens=5, logprobs=0, ignore_eos=True)
        sequence = engine.add_request(Request(id="a", prompt_tokens=(1, 2, 3), params=params))
        while engine.has_work:
            engine.step()
        assert len(sequence.output().logprobs) == 5


def test_it_has_the_shape_of_what_is_beneath() -> None:
    inner = FakeBackend(FakeClock(1))
    taped = TapedBackend(inner)
    assert taped.vocab_size == len(ALPHABET)
    assert taped.gears == inner.gears
    assert taped.bytes_per_token(Gear("8", 8)) == inner.bytes_per_token(Gear("8", 8))
