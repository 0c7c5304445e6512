import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.length import LengthModel
from onesec.core.cues import Cues

K = Cues(app="k")


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=60),
    st.integers(0, 3000),
)
def test_quantiles_rise_and_are_positive(answers: list[tuple[int, bool]], done: int) -> None:
    model = LengthModel()
    for tokens, ended in answers:
        model.observe(tokens, ended=ended, cues=K)
    for cues in (Cues(), K):
        values = [model.quantile(q, done=done, cues=cues) for q in (0.1, 0.5, 0.8, 0.95, 0.99)]
        assert values == sorted(values)
        assert values[0] >= 1
        survival = [model.longer_than(n, cues=cues) for n in range(0, 6000, 97)]
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
        model.observe(300, ended=True, cues=Cues(app="long"))
    pooled = model.quantile(0.5, cues=Cues(app="never seen"))
    assert pooled > 200
    for _ in range(100):
        model.observe(10, ended=True, cues=Cues(app="short"))
    assert model.quantile(0.5, cues=Cues(app="short")) <= 20
    assert model.quantile(0.5, cues=Cues(app="long")) > 200


def test_it_forgets_and_stays_bounded() -> None:
    model = LengthModel()
    for _ in range(3000):
        model.observe(20, ended=True)
    for _ in range(3000):
        model.observe(200, ended=True)
    assert model.quantile(0.5) > 150
    for i in range(500):
        model.observe(5, ended=True, cues=Cues(app=f"k{i}"))
    assert model.quantile(0.5, cues=Cues(app="k499")) == model.quantile(0.5)


# -- cues ----------------------------------------------------------------------------------------


def test_what_is_asked_for_tells_more_than_the_app() -> None:
    rng = random.Random(2)
    model = LengthModel()
    for _ in range(300):
        for words, task in ((20, "summary"), (200, "summary"), (0, "question")):
            tokens = rng.randint(1, 9) if not words else round(words * rng.uniform(1.0, 1.5))
            cues = Cues(app="a", task=task, target_words=words, source_tokens=500)
            model.observe(tokens, ended=True, cues=cues)
    short = Cues(app="a", task="summary", target_words=20, source_tokens=500)
    long = Cues(app="a", task="summary", target_words=200, source_tokens=500)
    assert 20 <= model.quantile(0.5, cues=short) <= 30
    assert 200 <= model.quantile(0.5, cues=long) <= 300
    assert model.quantile(0.95, cues=Cues(app="a", task="question", source_tokens=500)) <= 12
    never = Cues(app="a", task="summary", target_words=90, source_tokens=500)
    assert model.quantile(0.5, cues=short) < model.quantile(0.5, cues=never)  # the app's, then


def test_lengths_that_go_with_the_source_are_told_by_it() -> None:
    rng = random.Random(3)
    model = LengthModel()

    def translation(source: int) -> Cues:
        return Cues(app="t", task="translation", source_tokens=source)

    for _ in range(200):
        source = rng.choice([10, 12, 14, 100, 110, 120])
        model.observe(round(1.5 * source), ended=True, cues=translation(source))
        model.observe(rng.randint(5, 20), ended=True, cues=Cues(app="q", source_tokens=source))
    assert model.by_ratio(translation(40))
    assert not model.by_ratio(Cues(app="q", source_tokens=40))
    assert not model.by_ratio(translation(0))
    for source in (40, 200):  # lengths of source that were never seen
        assert abs(model.quantile(0.5, cues=translation(source)) - 1.5 * source) < 0.25 * source
    done = model.quantile(0.5, done=50, cues=translation(40))
    assert done < 15  # of about 60


def test_the_news_merged_are_the_whole() -> None:
    rng = random.Random(4)
    whole, kept, mine, other = (LengthModel() for _ in range(4))
    for round_number in range(3):
        for model in (mine, other):
            for _ in range(20):
                cues = Cues(app=rng.choice("ab"), task="question", source_tokens=rng.randint(1, 99))
                tokens, ended = rng.randint(1, 300), rng.random() < 0.8
                model.observe(tokens, ended=ended, cues=cues)
                whole.observe(tokens, ended=ended, cues=cues)
            kept.merge(model.take_news())
        assert kept.cells == whole.cells, round_number
    found, expected = ({tuple(cell["key"]): cell for cell in model.to_dict()["cells"]}
                       for model in (kept, whole))  # fmt: skip
    assert found.keys() == expected.keys()
    for key, cell in found.items():
        for counts in ("ended", "stopped"):
            assert np.allclose(cell[counts], expected[key][counts], atol=2e-4), key
    assert mine.take_news().cells == 0


def test_it_comes_back_from_json() -> None:
    rng = random.Random(5)
    model = LengthModel()
    for _ in range(200):
        source = rng.randint(5, 100)
        cues = Cues(app="t", task="translation", script="han", source_tokens=source)
        model.observe(source, ended=True, cues=cues)
    again = LengthModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again.cells == model.cells
    for source in (7, 70):
        cues = Cues(app="t", task="translation", script="han", source_tokens=source)
        assert again.by_ratio(cues)
        assert model.by_ratio(cues)
        assert again.quantile(0.8, cues=cues) == model.quantile(0.8, cues=cues)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"version": 2, "cells": []},
        {"version": 1},
        {"version": 1, "cells": [{"key": ["length"]}]},
        {"version": 1, "cells": [{"key": ["width"], "ended": [], "stopped": [], "lead": 0}]},
        {"version": 1, "cells": [{"key": [], "ended": [], "stopped": [], "lead": 0}]},
        {"version": 1, "cells": [{"key": ["length", 5], "ended": [], "stopped": [], "lead": 0}]},
        {"version": 1, "cells": [{"key": ["length"] * 6, "ended": [], "stopped": [], "lead": 0}]},
        {"version": 1, "cells": [{"key": ["length", "a" * 65], "ended": [], "stopped": [],
                                  "lead": 0}]},
        {"version": 1, "cells": 5},
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not saved lengths|is not 1|no cell|too deep"):
        LengthModel.from_dict(wrong)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 400)), max_size=80))
def test_its_size_is_bounded_and_the_least_recent_is_forgotten(
    asked: list[tuple[int, int]],
) -> None:
    model = LengthModel(max_cells=24)
    for app, source in asked:
        cues = Cues(app=f"app {app}", source_tokens=source)
        model.observe(7, ended=True, cues=cues)
        assert model.cells <= 24
        assert len(model.to_dict()["cells"]) == model.cells
        keys = {tuple(cell["key"]) for cell in model.to_dict()["cells"]}
        assert all(key[:-1] in keys for key in keys if len(key) > 1)  # no cell without its prior
        assert ("length", f"app {app}") in keys


def test_a_changed_use_is_followed() -> None:
    model = LengthModel()
    for _ in range(2000):
        model.observe(20, ended=True, cues=K)
    for _ in range(250):
        model.observe(200, ended=True, cues=K)
    assert model.quantile(0.5, cues=K) > 150


def test_what_is_merged_is_known_at_once() -> None:
    kept, news = LengthModel(), LengthModel()
    before = kept.quantile(0.5, cues=K)
    for _ in range(100):
        news.observe(20 * before, ended=True, cues=K)
    kept.merge(news.take_news())
    assert kept.quantile(0.5, cues=K) > 10 * before


def test_an_application_of_any_name_is_kept() -> None:
    model = LengthModel()
    model.observe(7, ended=True, cues=Cues(app="a" * 500, source_tokens=9))
    assert LengthModel.from_dict(model.to_dict()).cells == model.cells
