"""fit: whatever was measured, a step is predicted to take some time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.fit import PrefillSample, StepSample, fit

TIMES = st.floats(1e-3, 1e4)
STEPS = st.tuples(st.integers(0, 4096), TIMES, st.sampled_from([1, 1, 2, 8]))


def test_noise_that_hides_the_constant_part() -> None:
    steps = [StepSample("4", 0, 100.0), StepSample("4", 10, 1.0), StepSample("4", 20, 2.5)]
    model = fit([PrefillSample("4", 10, 5.0), *steps])
    assert model.step_ms("4", 0) > 0.0


@given(st.lists(STEPS, min_size=1, max_size=12), TIMES)
def test_any_measurements_give_a_model(steps: list[tuple[int, float, int]], first: float) -> None:
    samples = [StepSample("4", context, ms, batch) for context, ms, batch in steps]
    model = fit([PrefillSample("4", 10, 5.0), StepSample("4", 0, first), *samples])
    assert model.step_ms("4", 0) > 0.0
    assert model.step_ms("4", 100, 3) > 0.0
