import random

from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.length import LengthModel


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=60),
    st.integers(0, 3000),
)
def test_quantiles_rise_and_are_positive(answers: list[tuple[int, bool]], done: int) -> None:
    model = LengthModel()
    for tokens, ended in answers:
        model.observe(tokens, ended=ended, key="k")
    for key in ("", "k"):
        values = [model.quantile(q, done=done, key=key) for q in (0.1, 0.5, 0.8, 0.95, 0.99)]
        assert values == sorted(values)
        assert values[0] >= 1
        survival = [model.longer_than(n, key=key) for n in range(0, 6000, 97)]
        assert survival == sorted(survival, reverse=True)
        assert 0.0 < survival[-1] <= survival[0] == 1.0


def test_it_learns_the_lengths_seen() -> None:
    rng = random.Random(0)
    model = LengthModel()
    for _ in range(500):
        model.observe(rng.randint(50, 100), ended=True)
    assert 65 <= model.quantile(0.5) <= 85
    assert 85 <= model.quantile(0.9) <= 110
    assert model.quantile(0.5, done=80) <= 20


def test_answers_that_were_stopped_early_do_not_teach_short_answers() -> None:
    honest, naive = LengthModel(), LengthModel()
    rng = random.Random(1)
    for _ in range(500):
        length = rng.randint(100, 200)
        for model, stopped_is_end in ((honest, False), (naive, True)):
            if length > 120:
                model.observe(120, ended=stopped_is_end)
            else:
                model.observe(length, ended=True)
    assert naive.quantile(0.8) <= 140
    assert honest.quantile(0.8) > 150


def test_a_key_learns_for_itself_and_starts_from_the_pool() -> None:
    model = LengthModel()
    for _ in range(100):
        model.observe(300, ended=True, key="long")
    pooled = model.quantile(0.5, key="never seen")
    assert pooled > 200
    for _ in range(100):
        model.observe(10, ended=True, key="short")
    assert model.quantile(0.5, key="short") <= 20
    assert model.quantile(0.5, key="long") > 200


def test_it_forgets_and_stays_bounded() -> None:
    model = LengthModel()
    for _ in range(3000):
        model.observe(20, ended=True)
    for _ in range(3000):
        model.observe(200, ended=True)
    assert model.quantile(0.5) > 150
    for i in range(500):
        model.observe(5, ended=True, key=f"k{i}")
    assert model.quantile(0.5, key="k499") == model.quantile(0.5)
