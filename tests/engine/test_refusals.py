"""Refusals held against an oracle: the same request without a deadline, in the cheapest gear."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import pytest
from fake_backend import ALPHABET, EOS, FakeBackend, FakeSampler, engine_over, jitter

from onesec.core.clock import FakeClock
from onesec.core.cues import Cues
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import Request, SamplingParams
from onesec.engine.sequence import Sequence as Running

SPREAD = {"yes": (1, 3), "number": (2, 7), "sentence": (9, 30), "essay": (40, 110), "any": (1, 40)}
APPS = tuple(SPREAD)


def length_of(prompt: Sequence[int]) -> int:
    """Tokens of the answer to a prompt: its first token names the app, all of it the length."""
    low, high = SPREAD[APPS[prompt[0] - 1]]
    return random.Random(repr(tuple(prompt))).randint(low, high)


class Fixed(FakeSampler):
    """Ends after as many tokens as the prompt has for its answer; a sentence has 12 of them."""

    length = 0

    def observe(self, tokens: Sequence[int]) -> None:
        if not self.drawn:
            self.length = length_of(tokens)

    def draw(self, state: int, vocab_size: int, eos_rate: float) -> int:
        self.drawn += 1
        if self.drawn > self.length:
            return EOS
        return ALPHABET.index(".") if self.drawn % 12 == 0 else 2 + state % 26


class FixedBackend(FakeBackend):
    """Answers of known lengths, the same in every gear."""

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> FakeSampler:
        return Fixed(params, eos_ids)


class Desk:
    """An engine, and the traffic that it meets: one request after the other."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.backend = FixedBackend(FakeClock(10**9), num_blocks=128, noise=jitter(seed, 0.03))
        self.engine = engine_over(self.backend, prefix_cache=False, speculate=False)
        self.number = 0

    def prompt(self) -> tuple[int, ...]:
        app = self.rng.randint(1, len(APPS))
        return (app, *(self.rng.randint(1, 29) for _ in range(self.rng.randint(5, 120))))

    def ask(self, prompt: tuple[int, ...], ms: float | None, gear: str | None = None) -> Running:
        self.number += 1
        sequence = self.engine.add_request(
            Request(
                id=f"r{self.number}",
                prompt_tokens=prompt,
                budget=Budget(total_ms=ms),
                gear=gear,
                cues=Cues(app=APPS[prompt[0] - 1], source_tokens=len(prompt)),
            )
        )
        while self.engine.has_work:
            self.engine.step()
        return sequence

    def least_ms(self, prompt: tuple[int, ...]) -> float:
        """What the cheapest gear needs for the whole answer, about."""
        latency = self.engine.latency
        decode_ms = latency.decode_ms("4", len(prompt), length_of(prompt))  # its end is one more
        return latency.prefill_ms("4", len(prompt)) + decode_ms

    def eight_ms(self, prompt: tuple[int, ...]) -> float:
        """What the cheapest gear needs for eight tokens."""
        latency = self.engine.latency
        return latency.prefill_ms("4", len(prompt)) + latency.decode_ms("4", len(prompt), 7)


def test_few_are_refused_wrongly_and_the_counter_offer_works() -> None:
    desk = Desk(1)
    for _ in range(250):  # learns what answers are like
        desk.ask(desk.prompt(), None)
    refused = wrong = works = 0
    for _ in range(800):
        prompt = desk.prompt()
        budget_ms = desk.rng.uniform(0.1, 1.5) * desk.least_ms(prompt)
        try:
            desk.ask(prompt, budget_ms)
        except DeadlineInfeasible as refusal:
            refused += 1
            oracle = desk.ask(prompt, None, gear="4").trace
            wrong += oracle.ending == "natural" and oracle.elapsed_ms <= budget_ms
            with suppress(DeadlineInfeasible):
                trace = desk.ask(prompt, refusal.feasible_ms).trace
                works += bool(trace.met) and trace.ending in ("natural", "landed")
    assert refused > 150
    assert wrong <= 0.05 * refused
    assert works >= 0.95 * refused


def test_a_fresh_engine_refuses_no_more_than_eight_tokens_need() -> None:
    desk = Desk(3)
    prompt = desk.prompt()
    with pytest.raises(DeadlineInfeasible):
        desk.ask(prompt, 5.0)
    desk.ask(prompt, desk.eight_ms(prompt) * 1.02 + 1.0)  # the margin


def test_a_slow_spell_that_is_over_does_not_refuse_for_ever() -> None:
    desk = Desk(5)
    for _ in range(60):
        desk.ask(desk.prompt(), None)
    prompt = (3, *range(1, 29))
    budget_ms = 1.3 * desk.eight_ms(prompt)
    desk.ask(prompt, budget_ms)
    quick, desk.backend.noise = desk.backend.noise, lambda: 3.0
    for _ in range(20):
        desk.ask(desk.prompt(), None)
    desk.backend.noise = quick
    refusals = 0
    while True:
        try:
            desk.ask(prompt, budget_ms)
            break
        except DeadlineInfeasible:
            refusals += 1
            assert refusals < 20
    assert refusals  # it had been believed


def test_what_cannot_be_done_is_refused_however_often_it_is_asked() -> None:
    desk = Desk(6)
    for _ in range(60):
        desk.ask(desk.prompt(), None)
    prompt = (3, *range(1, 29))
    cannot_ms = 0.5 * desk.eight_ms(prompt)
    for _ in range(50):
        with pytest.raises(DeadlineInfeasible):
            desk.ask(prompt, cannot_ms)


def test_nineteen_of_twenty_end_by_what_their_plans_named() -> None:
    desk = Desk(8)
    for _ in range(100):
        desk.ask(desk.prompt(), None)
    held = []
    for _ in range(600):
        prompt = desk.prompt()
        budget_ms = desk.rng.uniform(1.5, 4.0) * desk.least_ms(prompt)
        with suppress(DeadlineInfeasible):
            trace = desk.ask(prompt, budget_ms).trace
            if trace.ending == "natural":
                assert trace.predicted_ms is not None
                held.append(trace.elapsed_ms <= trace.predicted_ms)
    assert len(held) > 400
    assert 0.93 <= sum(held) / len(held) <= 0.97
