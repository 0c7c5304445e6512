"""What is said of a trace: every number is the trace's, causes only where numbers bear them out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import story

from onesec.cli.main import main
from onesec.core.errors import InvalidRequest
from onesec.core.trace import Event, Trace
from onesec.explain.check import check
from onesec.explain.picture import picture
from onesec.explain.record import read_trace
from onesec.explain.sentences import LANGUAGES, explain

KINDS = ("plan", "prefill", "decode", "shift", "land", "no_time", "stop")
SURE = [1.0, 0.98, 0.25, 0.99]


def test_the_story_in_english() -> None:
    assert explain(story(confidence=SURE)) == [
        "The budget was 1000 ms.",
        "32 prompt tokens came from the cache.",
        "Planned at 0.4 ms: gear 8, room for 80 tokens, done by 900 ms.",
        "Prefill of 28 tokens in gear 8 took 78 ms, as expected.",
        "The first token came at 84 ms.",
        "Up to 330 ms, 20 tokens in gear 8 took 245 ms, 45 more than expected.",
        "At token 17 something else took the machine: 55 ms for one step.",
        "At token 21 (330 ms) shifted down from 8 to g2: the 70 tokens still wanted needed 700 ms "
        "of 660 left.",
        "From then on expected: done at 650 ms in the median, by 830 ms at p95.",
        "Up to 870 ms, 24 tokens in gear g2 took 500 ms, 380 more than expected.",
        "Began landing at 870 ms, after token 45: 12 more fitted; landing begins at 12.",
        "Up to 941 ms, 5 tokens in gear g2 took 68 ms, as expected.",
        "Landed at 941 ms, where the text ends well.",
        "That was in time, 59 ms before the deadline.",
        "Sure of its tokens to 0.80 on average, least of token 3 (0.25); below 0.5: 1 of 4.",
        "Used: 1700 CPU-ms, 25.0 MB of weights and cache read, 64 kB of cache at most.",
    ]


def test_chinese_says_as_much() -> None:
    trace = story(
        confidence=SURE, drafted_tokens=9, accepted_tokens=7, dropped_events=3, preemptions=2
    )
    told = "More urgent requests took its room 2 times; each time it was computed anew."
    assert told in explain(trace)
    english, chinese = explain(trace), explain(trace, "zh")
    assert len(english) == len(chinese)
    for one, other in zip(english, chinese, strict=True):
        assert sorted(_numbers(one)) == sorted(_numbers(other))


def _numbers(line: str) -> list[str]:
    cleaned = "".join(
        c if c.isdigit() or c == "." else " " for c in line.replace("g2", "").replace("p95", "")
    )
    return [word.strip(".") for word in cleaned.split() if word.strip(".")]


def test_a_cause_is_given_only_where_the_numbers_bear_it_out() -> None:
    def shifted(**numbers: Any) -> str:
        detail = {"token": 5, "gear": "4", "was": "8", "want_tokens": 9} | numbers
        return explain(Trace("r", events=[Event(7.0, "shift", detail)]))[1]

    assert "down" in shifted(left_ms=10.0, need_ms=11.0, need_there_ms=6.0)
    assert "up" in shifted(left_ms=10.0, need_ms=5.0, need_there_ms=9.0)
    assert shifted() == "At token 5 (7 ms) shifted from 8 to 4."
    assert "down" not in shifted(left_ms=10.0, need_ms=9.0, need_there_ms=12.0)


@pytest.mark.parametrize(
    ("ending", "met", "budget", "words"),
    [
        ("natural", None, None, ["There was no budget.", "Ended by itself at 941 ms."]),
        ("cut", False, 900.0, ["Cut off at 941 ms (deadline).", "That was not in time."]),
    ],
)
def test_endings(ending: str, met: bool | None, budget: float | None, words: list[str]) -> None:
    found = explain(story(ending=ending, met=met, budget_ms=budget))
    assert all(line in found for line in words)


def test_a_picture_has_a_lane_a_gear_and_its_marks() -> None:
    root = ElementTree.fromstring(picture(story(gears={"<&>": 1}, confidence=[0.9, 0.7, 0.2, 0.8])))
    space = "{http://www.w3.org/2000/svg}"
    kinds = [rect.get("class") for rect in root.iter(f"{space}rect")]
    assert kinds.count("wait") == 2
    assert kinds.count("prefill") == 1
    assert kinds.count("decode") == 3
    assert kinds.count("band") == 3  # the plan's, the shift's, the landing's
    assert (kinds.count("sure"), kinds.count("fair"), kinds.count("unsure")) == (2, 1, 1)
    words = " ".join(text.text or "" for text in root.iter(f"{space}text"))
    for word in (
        "gear 8",
        "gear g2",
        "budget 1000 ms",
        "predicted 900 ms",
        "landing 870 ms",
        "CPU-ms",
    ):
        assert word in words
    assert [t.text for t in root.iter(f"{space}text") if "gear" in (t.text or "")] == [
        "gear 8",
        "gear g2",
    ]
    for rect in root.iter(f"{space}rect"):
        assert 0.0 <= float(rect.get("x", "")) <= 760.0


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    )
)
def test_hostile_traces_are_refused_or_told(value: Any) -> None:
    numbers = (
        "left_ms",
        "need_ms",
        "need_there_ms",
        "likely_ms",
        "predicted_ms",
        "tokens",
        "gears",
    )
    filled = dict.fromkeys(numbers, value)
    details = [(kind, detail) for kind in KINDS for detail in (value, filled)]
    events = [{"at_ms": 1.0, "kind": kind, "detail": detail} for kind, detail in details]
    trace = {"request_id": "r", "ttft_ms": 1.0, "answer_tokens": 9, "events": events}
    raw = json.dumps(trace).encode()
    try:
        found = read_trace(raw, source="test")
    except InvalidRequest:
        return
    for language in LANGUAGES:
        assert explain(found, language)
    ElementTree.fromstring(picture(found))
    assert isinstance(check(found), list)


def test_a_number_too_large_for_a_float_is_none() -> None:
    huge = {"ms": 10**400, "need_ms": 10**400, "tokens": 1}
    events = [Event(1.0, kind, huge) for kind in ("fit", "no_time", "stall", "decode")]
    assert any("needed ? ms of ? left" in line for line in explain(Trace("r1", events=events)))


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"[]", b"{}", b"nonsense", b'{"trace": {}}', b"[" * 100_000, b"\xff", b"17"),
        b'{"request_id": "r", "ttft_ms": NaN, "answer_tokens": 1, "confidence": [0.5]}',
        b'{"request_id": "r", "events": [{"at_ms": 1e999, "kind": "stop", "detail": {}}]}',
        b'{"request_id": "r", "bytes_read": 1%s}' % (b"0" * 400),
        b'{"request_id": "r", "ttft_ms": 1, "answer_tokens": 1000000000000}',
    ],
)
def test_what_is_no_trace_is_one_clear_error(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the file"):
        read_trace(raw, source="the file")


def test_the_verb_reads_files_and_the_last_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["explain", "--last"]) == 2
    assert "onesec generate" in capsys.readouterr().err
    assert main(["generate", "onesec-mini", "Hello", "--deadline", "5s", "--json"]) == 0
    answer = tmp_path / "answer.json"
    answer.write_text(capsys.readouterr().out)
    svg = tmp_path / "line.svg"
    assert main(["explain", str(answer), "--picture", str(svg)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("The budget was 5000 ms.")
    ElementTree.parse(svg)
    assert main(["explain", "--last"]) == 0
    assert capsys.readouterr().out == told
    assert main(["explain", "--last", "--check"]) == 0
    assert "each holds" in capsys.readouterr().out
    record = json.loads(answer.read_text())
    record["trace"]["answer_tokens"] += 1
    answer.write_text(json.dumps(record))
    assert main(["explain", str(answer), "--check"]) == 1
    assert "in the answer" in capsys.readouterr().out
    assert main(["explain"]) == 2
    assert main(["explain", str(tmp_path / "nothing")]) == 2


def test_closed_thinking_and_closing_text_are_told() -> None:
    trace = Trace("r1", budget_ms=100.0, elapsed_ms=95.0, ending="landed", met=True)
    trace.add(50.0, "close_thinking", token=40, tokens=3, room_tokens=30, zone_tokens=32)
    trace.add(95.0, "stop", finish_reason="stop", ending="landed", closing='"}')
    lines = explain(trace)
    closed = "Ended the thinking at 50 ms, after token 40: 30 more fitted;"
    assert f"{closed} closing and the answer want 32." in lines
    assert any("closed with '\"}'" in line for line in lines)
    assert any("思考" in line for line in explain(trace, "zh"))
