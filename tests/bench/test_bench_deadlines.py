"""The benchmark as a whole, on a fake model: its record holds together, and its page shows it."""

import itertools
import json
import re
from pathlib import Path
from random import Random

import pytest
from fake_backend import EOS, FakeBackend, decode_text, prompt
from test_bench_virtual import recording

from onesec.bench.deadlines import ALL, monotone, point, refusals, split, systems
from onesec.bench.disturbed import disturbed
from onesec.bench.drive import Asked, Driver, step_errors
from onesec.bench.load import BURST, bursts, capacity_per_s, poisson, under_load
from onesec.bench.questions import Question, of_traffic
from onesec.bench.real import in_real_time, real_record
from onesec.bench.report import document, write_pair
from onesec.bench.scores import OURS, Machine, World, cells, full_runs, natural_ms
from onesec.core.clock import FakeClock
from onesec.core.cues import Cues
from onesec.core.errors import InvalidRequest
from onesec.core.request import SamplingParams
from onesec.core.trace import Trace
from onesec.engine.engine import Engine


class Letters:
    """The fake model's words."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def decode(self, ids) -> str:
        return decode_text(ids)

    def stream(self) -> "Letters":
        return Letters()

    def push(self, token: int) -> str:
        return decode_text([token])


def ask(number: int) -> Question:
    return Question(
        id=f"q{number}",
        group="odd" if number % 2 else "even",
        language="en",
        prompt_tokens=prompt(number, 5 + number % 20),
        params=SamplingParams(max_tokens=40),
        cues=Cues(app="fake"),
        worth=lambda reply, ended: float(ended),
    )


QUESTIONS = [ask(number) for number in range(24)]


@pytest.fixture(scope="module")
def world() -> World:
    return World(
        backend=FakeBackend(FakeClock(1), num_blocks=512, eos_rate=0.06),
        tokenizer=Letters(),
        eos_ids=(EOS,),
        recording=recording((1.0, 1.05, 0.97, 1.1)),
    )


@pytest.fixture(scope="module")
def runs(world: World):
    return full_runs(world, QUESTIONS)


def test_full_runs_tell_each_tokens_instant(world: World, runs) -> None:
    assert set(runs) == {question.id for question in QUESTIONS}
    for by_gear in runs.values():
        assert list(by_gear) == ["4", "8"]
        for run in by_gear.values():
            assert list(run.token_ms) == sorted(run.token_ms)
            assert all(ms <= run.elapsed_ms for ms in run.token_ms)
        slow, quick = by_gear["8"], by_gear["4"]
        assert not (slow.token_ms and quick.token_ms) or slow.token_ms[0] > quick.token_ms[0]
        assert natural_ms(by_gear) == slow.elapsed_ms


def test_every_system_answers_every_question_of_a_cell(world: World, runs) -> None:
    grid = cells(world, QUESTIONS, runs, at=(0.5, 1.0, 1.5))
    ids = [question.id for question in QUESTIONS]
    for share, cell in grid.items():
        assert {"onesec", "gear 4", "gear 8", "max_tokens", "oracle"} < set(cell)
        for outcomes in cell.values():
            assert [o.question.id for o in outcomes] == ids
        for outcome in cell[OURS]:
            assert outcome.budget_ms == pytest.approx(share * natural_ms(runs[outcome.question.id]))
            assert not outcome.accepted or outcome.met
        found = point(share, cell)["groups"]
        assert found[ALL]["systems"][OURS]["count"] == 24
        assert found["odd"]["systems"][OURS]["count"] == 12
    late = systems(grid[0.5])["gear 8"]
    assert late["hit_rate"] == 0.0
    assert late["score"] == 0.0
    assert monotone(grid) == []
    for row in refusals(grid, runs):
        assert row["wrongly"] <= row["refused"] <= row["asked"] == 24


def test_one_question_has_no_interval_and_valid_json(tmp_path: Path, world: World, runs) -> None:
    found = point(1.0, cells(world, QUESTIONS[:1], runs, at=(1.0,))[1.0])
    write_pair(tmp_path, "one", found, "")
    text = (tmp_path / "one.json").read_text()
    gain = json.loads(text, parse_constant=pytest.fail)["groups"][ALL]["gains"][OURS]
    assert gain["half_width"] is None


def test_load_and_disturbances(world: World, runs) -> None:
    loads = under_load(world, QUESTIONS, runs)
    assert list(loads) == ["0.5x", "1x", "2x", "burst"]
    for cell in loads.values():
        for outcomes in cell.values():
            assert sorted(o.question.id for o in outcomes) == sorted(runs)
    busy = systems(loads["2x"])
    assert busy[OURS]["hit_rate"] > busy["gear 8, client abort"]["hit_rate"]
    for cell in disturbed(world, QUESTIONS, runs, share=1.5).values():
        assert len(cell[OURS]) == len(QUESTIONS)


def test_arrivals(runs) -> None:
    rate = capacity_per_s(runs)
    total_s = sum(natural_ms(by_gear) for by_gear in runs.values()) / 1e3
    assert rate == pytest.approx(len(runs) / total_s)
    arrivals = poisson(QUESTIONS * 40, runs, rate, Random(1))
    gaps = [b.arrival_ns - a.arrival_ns for a, b in itertools.pairwise(arrivals)]
    assert min(gaps) >= 0
    assert sum(gaps) / len(gaps) == pytest.approx(1e9 / rate, rel=0.1)
    burst = bursts(QUESTIONS, runs, rate)
    assert len({asked.arrival_ns for asked in burst}) == -(-len(QUESTIONS) // BURST)


def test_a_client_that_gives_up_frees_its_place(world: World, runs) -> None:
    machine = Machine(world)
    question = QUESTIONS[0]
    asked = [
        Asked(question=question, budget_ms=20.0, arrival_ns=1, gear="8", told=False),
        Asked(question=question, budget_ms=1e5, arrival_ns=2, gear="8", told=False),
    ]
    gone, served = machine.driver.at_their_times(asked)
    assert (gone.met, gone.value, gone.ending) == (False, 0.0, "cut")
    assert served.met
    assert served.value == 1.0


def test_real_time_asks_again_as_offered() -> None:
    clock = FakeClock(1)
    backend = FakeBackend(clock, eos_rate=0.06)
    engine = Engine(
        backend, clock, latency=backend.latency(), eos_ids=(EOS,), decode_text=decode_text
    )
    driver = Driver(engine, clock, Letters(), clock.advance_ms)
    found = in_real_time(driver, QUESTIONS, [4.0, 400.0])
    low, high = (real_record(budget, cell) for budget, cell in found.items())
    assert low["accepted"] == 0
    assert low["offers"] == 24
    assert low["offers_kept"] == 24
    assert high["accepted"] == 24
    assert high["hit_rate"] == 1.0
    assert high["offers"] == 0
    assert high["step_error_p99"] < 1e-3  # a backend without noise, and the model that it follows


def test_errors_of_steps_are_those_of_what_stands_in_the_trace() -> None:
    trace = Trace("r")
    trace.add(1.0, "prefill", tokens=9, ms=4.0, expected_ms=2.0)
    trace.add(2.0, "decode", tokens=8, ms=8.8, expected_ms=8.0)
    trace.add(3.0, "decode", tokens=2, ms=1.5, expected_ms=2.0)
    assert step_errors(trace) == pytest.approx((0.1, 0.25))


def test_what_is_taught_is_not_asked() -> None:
    taught, asked = split(QUESTIONS, taught=3)
    assert len(taught) == 6
    assert not {q.id for q in taught} & {q.id for q in asked}


def test_traffic_gives_its_lengths(tmp_path) -> None:
    path = tmp_path / "conv.csv"
    path.write_text("ContextTokens,GeneratedTokens\n100,20\n50,9\n5000,10\n7,3\n")
    found = of_traffic(path, count=50, longest=512, vocab_size=1000, rng=Random(0))
    assert {(len(q.prompt_tokens), q.params.max_tokens) for q in found} == {(100, 20), (50, 9)}
    assert all(q.params.ignore_eos and min(q.prompt_tokens) >= 300 for q in found)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidRequest, match="none of the columns"):
        of_traffic(path, count=1, longest=512, vocab_size=1000, rng=Random(0))
    path.write_text("ContextTokens,GeneratedTokens\nx,20\n")
    with pytest.raises(InvalidRequest, match="line 2"):
        of_traffic(path, count=1, longest=512, vocab_size=1000, rng=Random(0))


def test_the_page_shows_the_record_and_fetches_nothing(world: World, runs) -> None:
    grid = cells(world, QUESTIONS, runs, at=(0.5, 1.0))
    record = {
        "model": "a <model>",
        "machine": {"cpu": "one"},
        "onesec": "0",
        "virtual": {
            "shape": "a shape",
            "questions": {"odd": 12, "even": 12},
            "capacity_per_s": 2.0,
            "grid": [point(share, cell) for share, cell in grid.items()],
            "load": {"1x": systems(grid[1.0])},
            "disturbed": {"quiet": systems(grid[1.0])},
            "refusals": refusals(grid, runs),
        },
        "real": [],
    }
    text = document(record)
    assert "a &lt;model&gt;" in text
    assert "<model>" not in text
    assert not re.search(r"https?://|<script|@import|url\(", text)
    score = record["virtual"]["grid"][1]["groups"][ALL]["systems"][OURS]["score"]
    assert f"{score:.3f} ±" in text
