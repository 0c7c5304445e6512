"""The questions that a person wrote: their keys take the right answer, and no refusal for it."""

import json
from pathlib import Path

import pytest

from onesec.apps.judge import is_right

ITEMS = [
    json.loads(line)
    for line in Path("training/written-suite.jsonl").read_text(encoding="utf-8").splitlines()
]
REFUSALS = {
    "support": ("Sorry, I don't have that information.", "抱歉，我没有这方面的信息。"),
    "answer": ("The text does not say.", "文中没有提到。"),
    "answer_none": ("The text does not say.", "文中没有提到。"),
}


def test_ids_are_their_own() -> None:
    assert len({item["id"] for item in ITEMS}) == len(ITEMS) > 100


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["id"])
def test_the_key_tells_right_from_wrong(item) -> None:
    refusal = REFUSALS[item["skill"]][item["language"] == "zh"]
    assert is_right(item, item["answer"])
    assert is_right(item, refusal) == (item["kind"] == "unknown")


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["id"])
def test_what_is_asked_for_stands_in_the_text(item) -> None:
    told = item["messages"][0]["content"]
    for fact in item["required"]:
        if fact.split("|")[0][:2] not in ("No", "no", "不"):
            assert any(way in told for way in fact.split("|")), fact
