"""Known replies give known scores; late, cut and refused ones give nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from doors import Reciter, recite

from onesec.apps.judge import Item
from onesec.backend.base import Batch, BatchResult
from onesec.compress.examine import AT_ONCE, Result, examine
from onesec.compress.scores import wilson
from onesec.compress.suite_report import AUTO, differences, gear_record, item_record, timing
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, InvalidRequest
from onesec.llm import LLM


def question(number: int, **changes: Any) -> Item:
    """A question whose right answer is its number."""
    found: Any = {
        "id": str(number),
        "skill": "support",
        "kind": "fact",
        "language": "en",
        "wording": ("known", "new")[number % 2],
        "messages": [{"role": "user", "content": f"say {number}"}],
        "metric": "right",
        "answer": str(number),
        "required": [str(number)],
        "forbidden": [],
        "exact": [],
        "grounded": False,
    }
    return found | changes  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Said:
    """A finished answer."""

    text: str
    ending: str = "natural"
    elapsed_ms: float = 10.0
    met: bool | None = True


class Coming:
    """An answer that is read when it is wanted."""

    def __init__(self, model: Parrot, reply: Said) -> None:
        self._model = model
        self._reply = reply

    @property
    def output(self) -> Said:
        self._model.open -= 1
        return self._reply

    def close(self) -> None:
        self._model.open -= 1


class Parrot:
    """Answers with what it was told to for each question; an error is raised."""

    def __init__(self, replies: dict[str, Said | Exception], *, system: bool = True) -> None:
        self.replies = replies
        self.system = system
        self.open = 0
        self.most_open = 0
        self.seen: list[dict[str, Any]] = []

    def chat(
        self, messages: Sequence[Any], deadline: Any = None, params: Any = None, **options: Any
    ) -> Any:
        self.seen.append({"deadline": deadline, "params": params, **options})
        if not self.system and messages[0]["role"] == "system":
            raise InvalidRequest("The chat template refused the messages: no system role.")
        reply = self.replies[messages[-1]["content"].split()[-1]]
        if isinstance(reply, Exception):
            raise reply
        if not options.get("stream"):
            return reply
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        return Coming(self, reply)


def test_several_are_under_way_and_come_in_order() -> None:
    items = [question(n) for n in range(30)]
    wrong = {3, 4, 11}
    model = Parrot({str(n): Said("?" if n in wrong else str(n)) for n in range(30)})
    shares: list[float] = []
    results = list(examine(model, items, gear="8", progress=shares.append))
    assert [result.item["id"] for result in results] == [str(n) for n in range(30)]
    assert [n for n, result in enumerate(results) if result.value != 1.0] == sorted(wrong)
    assert (model.open, model.most_open) == (0, AT_ONCE)
    assert shares[0] == pytest.approx(1 / 30)
    assert shares[-1] == 1.0
    options = model.seen[0]
    assert (options["gear"], options["app"], options["deadline"]) == ("8", "support", None)
    assert options["params"].temperature == 0.0


def test_a_run_that_is_left_early_closes_what_is_under_way() -> None:
    model = Parrot({str(n): Said(str(n)) for n in range(30)})
    run = examine(model, [question(n) for n in range(30)])
    next(run)
    run.close()
    assert model.open == 0


def test_a_reply_that_was_cut_is_wrong_and_one_too_long_to_ask_is_told() -> None:
    too_long = ContextLengthExceeded(prompt_tokens=99, context_length=9)
    model = Parrot({"0": Said("0", ending="cut"), "1": too_long, "2": Said("2")})
    results = list(examine(model, [question(n) for n in range(3)]))
    assert [result.value for result in results] == [0.0, 0.0, 1.0]
    assert [result.refusal for result in results] == ["", "context_length_exceeded", ""]


def test_a_template_without_system_role_gets_its_text_in_the_first_turn() -> None:
    messages = [{"role": "system", "content": "facts"}, {"role": "user", "content": "say 1"}]
    model = Parrot({"1": Said("1")}, system=False)
    for deadline_ms in (None, 50.0):
        (result,) = examine(model, [question(1, messages=messages)], deadline_ms=deadline_ms)
        assert result.value == 1.0
    with pytest.raises(InvalidRequest, match="no system role"):
        list(examine(model, [question(1, messages=messages[:1])]))


def test_with_a_deadline_only_what_is_in_time_and_whole_counts() -> None:
    replies: dict[str, Said | Exception] = {
        "0": Said("0"),
        "1": Said("1", ending="landed", elapsed_ms=30.0),
        "2": Said("2", elapsed_ms=60.0, met=False),
        "3": Said("3", ending="cut"),
        "4": DeadlineInfeasible(budget_ms=50.0, feasible_ms=70.0),
        "5": Said("wrong"),
    }
    model = Parrot(replies)
    results = list(examine(model, [question(n) for n in range(6)], deadline_ms=50.0))
    assert [result.value for result in results] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert {options["deadline"] for options in model.seen} == {0.05}
    kept = timing(results)
    assert kept["hit_rate"] == pytest.approx(4 / 6)
    assert kept["complete_rate"] == pytest.approx(4 / 6)
    assert kept["refused_rate"] == pytest.approx(1 / 6)
    assert kept["ms_p50"] == 10.0


def test_chrf_counts_0_when_late() -> None:
    pytest.importorskip("sacrebleu")
    item = question(1, metric="chrf", answer="one kettle")
    for said, value in ((Said("one kettle"), 1.0), (Said("one kettle", met=False), 0.0)):
        (result,) = examine(Parrot({"1": said}), [item], deadline_ms=50.0)
        assert result.value == value


class Stumbling(Reciter):
    """A backend whose first step takes a second longer than anybody could know."""

    def forward(self, batch: Batch) -> BatchResult:
        result = super().forward(batch)
        if self.forwards == 1:
            self.clock.advance_ms(1000.0)
        return result


def test_a_late_answer_counts_0_on_the_clock() -> None:
    messages = [{"role": "user", "content": "say 9"}]
    item = question(9, messages=messages)
    prompt = "user: say 9|assistant: "
    for kind, value in ((Reciter, 1.0), (Stumbling, 0.0)):
        loaded, clock, _ = recite("")
        loaded.backend = kind(f"{prompt}It is 9.", clock)
        with LLM.over(loaded, clock=clock) as llm:
            (result,) = examine(llm, [item], deadline_ms=300.0)
        assert result.value == value
        assert result.met is (value == 1.0)
        assert result.elapsed_ms is not None
        assert (result.elapsed_ms > 300.0) is (value == 0.0)


def test_the_engine_answers_several_as_it_answers_one() -> None:
    prompt = "user: say 9|assistant: "
    items = [question(9, id=str(n)) for n in range(5)]
    loaded, clock, _ = recite(f"{prompt}It is 9.")
    with LLM.over(loaded, clock=clock) as llm:
        results = list(examine(llm, items))
    assert [result.reply for result in results] == ["It is 9."] * 5
    assert all(result.value == 1.0 and result.complete for result in results)


def test_without_a_template_nothing_is_asked() -> None:
    loaded, clock, _ = recite("x", template=False)
    with (
        LLM.over(loaded, clock=clock) as llm,
        pytest.raises(InvalidRequest, match="no chat template"),
    ):
        list(examine(llm, [question(1)]))


def results(*values: float, metric: str = "right", skill: str = "support") -> list[Result]:
    return [
        Result(item=question(n, metric=metric, skill=skill), value=value, reply="x")
        for n, value in enumerate(values)
    ]


def test_scores_by_cell_keep_the_metrics_apart() -> None:
    both = [*results(1, 0, 1, 1), *results(0.5, 0.7, metric="chrf", skill="translate")]
    record = gear_record("8", both, None)
    scores = {(s["metric"], s["skill"], s["wording"]): s for s in record["scores"]}
    assert "timing" not in record
    known = scores["right", "support", "known"]
    assert (known["count"], known["value"]) == (2, 1.0)
    total = scores["right", None, None]
    assert (total["count"], total["value"]) == (4, 0.75)
    assert (total["low"], total["high"]) == wilson(3, 4)
    assert scores["chrf", "translate", None]["value"] == pytest.approx(0.6)
    assert gear_record("8", both, 50.0)["timing"][-1]["count"] == 6


def test_gears_are_compared_with_the_best_fixed_one() -> None:
    found = {"4": results(0, 1, 1, 0), "8": results(1, 1, 0, 1), AUTO: results(1, 1, 0, 1)}
    told = {
        (d["gear"], d["skill"]): d
        for d in differences(found)
        if d["language"] is None and d["best"] == "8"
    }
    assert set(told) == {("4", "support"), ("4", None), (AUTO, "support"), (AUTO, None)}
    four = told["4", "support"]
    assert (four["count"], four["value"], four["lost"], four["gained"]) == (4, -0.25, 2, 1)
    assert told[AUTO, None]["value"] == 0.0
    assert differences({AUTO: found[AUTO]}) == []


def test_an_item_record_is_flat() -> None:
    (result,) = results(1.0)
    record = item_record("8", replace(result, ending="natural", elapsed_ms=3.5))
    assert (record["gear"], record["id"], record["reply"], record["value"]) == ("8", "0", "x", 1.0)
    assert (record["ending"], record["elapsed_ms"], record["answer"]) == ("natural", 3.5, "0")
