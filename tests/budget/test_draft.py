import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.draft import LEAST_GAIN, MAX_DRAFT_TOKENS, MAX_MATCH, DraftModel
from onesec.budget.latency import GearCost, LatencyModel

CHEAP_CHECKS = ((1, 1.0), (2, 1.05), (4, 1.1), (8, 1.3))
MIDDLING_CHECKS = ((1, 1.0), (2, 1.3), (4, 1.6), (8, 2.2))
DEAR_CHECKS = ((1, 1.0), (2, 1.9), (4, 3.6), (8, 7.0))


def model(batch: tuple[tuple[int, float], ...] = CHEAP_CHECKS, guess: float = 0.7) -> DraftModel:
    costs = {
        "4": GearCost(b_ms=1.0, q_ms=5.0, batch=batch),
        "8": GearCost(b_ms=1.0, q_ms=10.0, batch=batch),
    }
    return DraftModel(LatencyModel(costs), {"lookup": (guess,)})


def teach(drafts: DraftModel, rate: float, *, count: int = 300, drafted: int = 4) -> None:
    rng = random.Random(1)
    for _ in range(count):
        right = 0
        while right < drafted and rng.random() < rate:
            right += 1
        check_ms = drafts.check_ms("8", 0, drafted)
        drafts.observe("lookup", "8", context=0, drafted=drafted, right=right, check_ms=check_ms)


@given(rate=st.floats(0.05, 0.95), limit=st.integers(0, 9), step=st.floats(0.0, 8.0))
def test_the_best_length_is_the_best_of_all(rate: float, limit: int, step: float) -> None:
    drafts = model(guess=rate)
    found, gain = drafts.best("lookup", "8", context=0, limit=limit, draft_step_ms=step)

    def gain_of(tokens: int) -> float:
        """Tokens a millisecond by adding up what may happen, over plain steps."""
        expected = sum((k + 1) * rate**k * (1 - rate) for k in range(tokens))
        expected += (tokens + 1) * rate**tokens
        cost_ms = drafts.check_ms("8", 0, tokens) + tokens * step
        return expected * 10.0 / cost_ms

    gains = {tokens: gain_of(tokens) for tokens in range(min(limit, MAX_DRAFT_TOKENS) + 1)}
    if found == 0:
        assert max(gains.values()) <= LEAST_GAIN + 1e-9
    else:
        assert gain == pytest.approx(gains[found])
        assert gain == pytest.approx(max(gains.values()))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_acceptance_is_learned(rate: float) -> None:
    drafts = model()
    teach(drafts, rate)
    assert drafts.acceptance("lookup", "8") == pytest.approx(rate, abs=0.12)
    assert drafts.acceptance("lookup", "4") == pytest.approx(0.7)  # nothing was seen there


def test_guesses_behind_a_longer_match_are_trusted_apart() -> None:
    """The first token of a draft has the match that was found, each further one a longer one."""
    drafts = model(guess=0.5)
    rates = [0.1, 0.3, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    rng = random.Random(2)
    for _ in range(400):
        match, right = rng.randint(1, MAX_MATCH), 0
        while right < 4 and rng.random() < rates[min(match + right, MAX_MATCH) - 1]:
            right += 1
        check_ms = drafts.check_ms("8", 0, 4)
        drafts.observe(
            "lookup", "8", context=0, drafted=4, right=right, check_ms=check_ms, match=match
        )
    for match, rate in enumerate(rates, 1):
        assert drafts.acceptance("lookup", "8", match) == pytest.approx(rate, abs=0.15)
    lengths = [
        drafts.best("lookup", "8", context=0, limit=7, match=match)[0]
        for match in range(1, MAX_MATCH + 1)
    ]
    assert lengths[0] < 7
    assert lengths[2:] == [7] * 6
    expected, all_right = 1.0, 1.0
    for i in range(7):
        all_right *= drafts.acceptance("lookup", "8", min(3 + i, MAX_MATCH))
        expected += all_right
    gain = drafts.best("lookup", "8", context=0, limit=7, match=3)[1]
    assert gain == pytest.approx(expected * 10.0 / drafts.check_ms("8", 0, 7))


def test_first_guesses_are_by_match() -> None:
    drafts = DraftModel(LatencyModel({"8": GearCost(b_ms=1.0, q_ms=1.0)}), {"lookup": (0.2, 0.6)})
    assert [drafts.acceptance("lookup", "8", match) for match in (0, 1, 2, 8)] == [
        pytest.approx(rate) for rate in (0.2, 0.2, 0.6, 0.6)
    ]


def test_what_loses_is_switched_off_and_tried_again_later() -> None:
    drafts = model(MIDDLING_CHECKS)
    teach(drafts, 0.02)
    assert drafts.best("lookup", "8", context=0, limit=7) == (0, 1.0)
    unused = 0
    while drafts.best("lookup", "8", context=0, limit=7)[0] == 0:
        drafts.pass_by("lookup", "8")
        unused += 1
    assert 10 < unused < 200


def test_dear_checks_switch_drafts_off() -> None:
    assert model(DEAR_CHECKS, guess=0.8).best("lookup", "8", context=0, limit=7)[0] == 0


def test_the_cost_of_checks_is_learned() -> None:
    drafts = model(guess=0.9)
    for _ in range(200):
        drafts.observe("lookup", "8", context=0, drafted=3, right=3, check_ms=35.0)
    assert drafts.check_ms("8", 0, 3) == pytest.approx(35.0, rel=0.01)
    assert drafts.check_ms("8", 0, 0) == 10.0


def test_without_evidence_nothing_is_sure() -> None:
    drafts = model()
    assert drafts.best("lookup", "8", context=0, limit=7)[0] > 0
    assert drafts.best("lookup", "8", context=0, limit=7, sure=True)[0] == 0
    teach(drafts, 0.9)
    assert drafts.best("lookup", "8", context=0, limit=7, sure=True)[0] > 0


def test_a_check_that_is_quicker_than_a_plain_step_tells_that_the_machine_is() -> None:
    """After a slow spell, while all that runs is drafted."""
    latency = LatencyModel({"8": GearCost(b_ms=1.0, q_ms=10.0, batch=CHEAP_CHECKS)})
    drafts = DraftModel(latency, {"lookup": (0.9,)})
    latency.start_at(4.0)
    for _ in range(40):
        drafts.observe("lookup", "8", context=0, drafted=3, right=3, check_ms=11.0)
    assert latency.step_ms("8", 0) < 11.0 / 0.8 + 0.1
    for _ in range(40):
        drafts.observe("lookup", "8", context=0, drafted=3, right=3, check_ms=60.0)
    assert latency.step_ms("8", 0) < 11.0 / 0.8 + 0.1  # a dear check says nothing of plain steps
