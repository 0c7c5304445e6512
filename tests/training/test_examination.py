"""The examination: its keys agree with its texts, and wrong answers fail."""

from __future__ import annotations

import random
import re

import pytest

from onesec.apps.judge import contains, facts_missing, invented, is_right
from onesec.compress.suite import find_suite, read_suite
from training.suite import LANGUAGES, SKILLS, make_suite


@pytest.fixture(scope="module")
def items():
    return list(make_suite(40))


def test_it_is_the_same_for_the_same_seed(items):
    assert list(make_suite(3, 7)) == list(make_suite(3, 7))
    assert list(make_suite(3, 7)) != list(make_suite(3, 8))
    # A cell stands by itself: more questions do not change the first ones.
    assert list(make_suite(3, 7)) == [
        i for i in make_suite(5, 7) if int(i["id"].split("-")[-1]) < 3
    ]


def test_every_cell_has_its_number(items):
    for skill in SKILLS:
        for lang in LANGUAGES:
            cell = [i for i in items if (i["skill"], i["language"]) == (skill, lang)]
            assert len(cell) == 40
            assert sum(i["wording"] == "new" for i in cell) == 20


def test_the_right_answer_passes_its_own_check(items):
    wrong = [i for i in items if i["metric"] == "right" and not is_right(i, i["answer"])]
    assert not wrong


def test_required_facts_stand_in_what_was_given(items):
    for item in items:
        if item["kind"] not in ("answer", "summarize", "record", "record_after", "fact", "price"):
            continue
        given = "\n".join(message["content"] for message in item["messages"])
        for required in item["required"]:
            assert any(contains(given, v) for v in required.split("|")), (item["id"], required)


def test_perturbed_answers_fail(items):
    rng = random.Random(5)
    tried = 0
    for item in items:
        answer = item["answer"]
        if item["metric"] != "right" or item["skill"] == "talk":
            continue
        digits = [m.start() for m in re.finditer(r"\d", answer)]
        if digits and not item["exact"]:
            at = rng.choice(digits)
            changed = answer[:at] + str((int(answer[at]) + 5) % 10) + answer[at + 1 :]
            assert not is_right(item, changed), (item["id"], changed)
            tried += 1
        if item["required"] and not item["exact"]:
            for value in item["required"][0].split("|"):
                answer = re.sub(re.escape(value), "", answer, flags=re.IGNORECASE)
            assert not is_right(item, answer)
        assert not is_right(item, item["answer"], ended=False)
        assert not is_right(item, "")
    assert tried > 50


def test_an_evasion_is_no_answer(items):
    for item in items:
        if item["kind"] in ("answer", "record", "fact", "price"):
            for evasion in ("The text does not say.", "抱歉，我没有这方面的信息。"):
                assert not is_right(item, evasion)


def test_an_invented_word_in_a_summary_is_found(items):
    for item in (i for i in items if i["skill"] == "summarize"):
        assert not invented(item, item["answer"])
        assert invented(item, item["answer"] + " Zanzibar")
        assert not is_right(item, item["answer"] + " 龘")
        assert not facts_missing(item, item["answer"])


def test_the_shipped_suite_is_what_the_command_makes():
    assert read_suite(find_suite("mini")) == list(make_suite(200))
