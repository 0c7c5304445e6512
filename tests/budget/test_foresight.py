import random

import pytest

from onesec.budget.foresight import Foresight


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda rng, i: rng.lognormvariate(0.0, 0.3), id="lognormal"),
        pytest.param(lambda rng, i: 0.7, id="always early by as much"),
        pytest.param(lambda rng, i: 1.5, id="always late by as much"),
        pytest.param(lambda rng, i: rng.choice((0.6, 1.6)), id="two kinds"),
        pytest.param(lambda rng, i: 1.6 if i > 2000 else 0.8, id="slower from the middle on"),
    ],
)
def test_nineteen_of_twenty_end_by_what_was_named(error) -> None:  # type: ignore[no-untyped-def]
    rng, foresight = random.Random(7), Foresight()
    held = 0
    for i in range(4000):
        planned_ms = rng.uniform(5.0, 500.0)
        took_ms = planned_ms * error(rng, i)
        told_ms = foresight.told_ms(planned_ms)
        foresight.observe(told_ms, took_ms)
        held += took_ms <= told_ms
    assert 0.94 <= held / 4000 <= 0.96


def test_what_is_named_stays_within_its_bounds() -> None:
    foresight = Foresight()
    for _ in range(1000):
        foresight.observe(1.0, 2.0)
    assert foresight.told_ms(100.0) == pytest.approx(200.0)
    assert foresight.told_ms(100.0, most_ms=150.0) == 150.0
    for _ in range(100_000):
        foresight.observe(1.0, 1.0)
    assert foresight.told_ms(100.0) == pytest.approx(50.0)
    assert foresight.told_ms(100.0, least_ms=80.0) == 80.0
