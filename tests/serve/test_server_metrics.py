"""Metrics: what they count, and that dashboards and alerts name nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from live import HI, Live, live
from prometheus_client.parser import text_string_to_metric_families

from onesec.core.deadline import Budget
from onesec.core.trace import Trace
from onesec.serve.door import Terms
from onesec.serve.metrics import OUTCOMES, TOKEN_KINDS, Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: Any = json.loads((DEPLOY / "grafana" / "onesec.json").read_text(encoding="utf-8"))
RULES: Any = yaml.safe_load((DEPLOY / "prometheus" / "onesec.rules.yaml").read_text("utf-8"))
RULE_LIST = [rule for group in RULES["groups"] for rule in group["rules"]]
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUERIES += [rule["expr"] for rule in RULE_LIST]
_NAME = re.compile(r"\b(?:onesec|gen_ai)[_:][a-z0-9_:]+")
_LABEL = re.compile(r'(\w+)=~?"([^"$]*)"')


def trace() -> Trace:
    """One of an answer that had everything."""
    found = Trace(
        "r",
        ttft_ms=20.0,
        tpot_ms=9.5,  # less than 80 / 8: the end took a step, too
        elapsed_ms=100.0,
        predicted_ms=120.0,
        ending="landed",
        prompt_tokens=50,
        cached_tokens=16,
        answer_tokens=9,
        drafted_tokens=4,
        accepted_tokens=3,
        gears={"4": 6, "8": 3},
        preemptions=2,
    )
    found.add(10.0, "prefill", ms=6.0)
    found.add(20.0, "prefill", ms=5.0)
    found.add(40.0, "decode", ms=15.0)
    found.add(50.0, "shift")
    found.add(60.0, "stall", ms=9.0)
    found.add(90.0, "decode", ms=30.0)
    return found


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All that a server exports after one answer in time, a late one, and every refusal."""
    metrics = Metrics("m")
    budget = Budget(total_ms=150.0)
    for elapsed_ms, met in ((110.0, True), (200.0, False)):
        metrics.answered(trace(), budget=budget, elapsed_ms=elapsed_ms, met=met)
        metrics.whole(elapsed_ms)
    metrics.over("landed", met=True)
    metrics.over("cut", met=False)
    for code in ("deadline_infeasible", "queue_full", "engine_closed"):
        metrics.refused(code)
        metrics.over(code, met=None)
    metrics.cancelled(2)
    metrics.cancelled(3)
    metrics.over("left", met=None)
    metrics.retried()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_an_answer_is_counted(samples: Any) -> None:
    def value(name: str, **labels: str) -> float:
        return float(samples[name, frozenset(labels.items())])

    assert value("onesec_request_seconds_sum") == pytest.approx(0.31)
    assert value("onesec_queue_seconds_sum") == pytest.approx(2 * 0.004)
    assert value("onesec_prefill_seconds_sum") == pytest.approx(2 * 0.011)
    assert value("onesec_decode_seconds_sum") == pytest.approx(2 * 0.045)
    assert value("onesec_tpot_seconds_sum") == pytest.approx(2 * 0.0095)
    slack = [value("onesec_deadline_slack_seconds_bucket", le=le) for le in ("0.0", "0.05")]
    assert slack == [1, 2]  # 50 ms late; 40 ms left
    less = "onesec_predicted_minus_actual_seconds_bucket"
    assert [value(less, le=le) for le in ("0.01", "0.02")] == [0, 2]
    assert value("onesec_gear_tokens_total", gear="4") == 12
    assert value("onesec_tokens_total", kind="cached") == 32
    assert value("onesec_wasted_tokens_total") == 9 + 5
    assert value("onesec_gear_shifts_total") == value("onesec_stalls_total") == 2
    assert value("onesec_preemptions_total") == 4
    for outcome in OUTCOMES:
        assert value("onesec_deadline_total", outcome=outcome) == 1


def test_opentelemetrys_names_tell_the_same(samples: Any) -> None:
    for own, theirs in (
        ("onesec_request_seconds", "gen_ai_server_request_duration_seconds"),
        ("onesec_ttft_seconds", "gen_ai_server_time_to_first_token_seconds"),
        ("onesec_tpot_seconds", "gen_ai_server_time_per_output_token_seconds"),
    ):
        names = [name for name, _ in samples]
        assert names.count(f"{own}_bucket") == names.count(f"{theirs}_bucket") > 10
        for (name, labels), value in list(samples.items()):
            if name.startswith(f"{own}_"):
                model = frozenset({("gen_ai_request_model", "m")})
                assert samples[theirs + name.removeprefix(own), labels | model] == value


def test_what_has_not_happened_yet_is_there_with_0() -> None:
    text = Metrics("m").text().decode()
    for outcome in OUTCOMES:
        assert f'onesec_deadline_total{{outcome="{outcome}"}} 0.0' in text
    for kind in TOKEN_KINDS:
        assert f'onesec_tokens_total{{kind="{kind}"}} 0.0' in text


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_what_the_server_exports(samples: Any, query: str) -> None:
    exported = {name for name, _ in samples} | {r["record"] for r in RULE_LIST if "record" in r}
    used = set(_NAME.findall(query))
    assert used
    assert used <= exported
    pairs = {pair for _, labels in samples for pair in labels}
    for label, values in _LABEL.findall(query):
        assert {(label, value) for value in values.split("|")} <= pairs
    for braces in ("()", "{}", "[]"):
        assert query.count(braces[0]) == query.count(braces[1])


def test_groupings_are_labels_that_there_are(samples: Any) -> None:
    labels = {label for _, pairs in samples for label, _ in pairs} | {"instance"}
    for query in QUERIES:
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            assert {name.strip() for name in grouped.split(",")} <= labels


def test_the_dashboard_and_the_alerts_are_whole() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    for rule in RULE_LIST:
        assert ("record" in rule) != ("alert" in rule)
        if "alert" in rule:
            assert rule.keys() >= {"expr", "for", "labels", "annotations"}
            assert rule["annotations"].keys() == {"summary", "description"}


def test_prompts_that_wait_are_told_by_their_tokens() -> None:
    with live() as server, server.client() as client:

        def told(name: str) -> float:
            text = client.get("/metrics").text
            return float(re.findall(rf"^onesec_{name} (\S+)$", text, re.MULTILINE)[0])

        assert told("ready") == 1
        assert told("queue_tokens") == 0
        client.post("/v1/chat/completions", json={"messages": HI})
        assert told("queue_tokens") == 0
        _while_waiting(server, lambda: told("queue_tokens"))
        assert told("queue_tokens") == 0
        server.soon(lambda: setattr(server.door, "draining", True))
        assert told("ready") == 0


def test_what_has_no_deadline_is_no_deadline_that_was_not_kept() -> None:
    with live(terms=Terms(max_open=0)) as server, server.client() as client:

        def rejected(path: str, **asked: Any) -> str:
            assert client.post(path, json=asked).status_code == 429
            text = client.get("/metrics").text
            [count] = re.findall(
                r'^onesec_deadline_total{outcome="rejected"} (.*)$', text, re.MULTILINE
            )
            return count

        assert rejected("/tokenize", prompt="x") == rejected("/detokenize", tokens=[1]) == "0.0"
        assert rejected("/v1/chat/completions", messages=HI, deadline_ms=500) == "1.0"


COUNTED: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"messages": HI, "n": 3, "deadline_ms": 60_000}, "met"),
    ("/v1/chat/completions", {"messages": HI, "n": 3, "deadline_ms": 2}, "infeasible"),
    ("/v1/chat/completions", {"messages": HI, "n": 3, "ttft_ms": 1}, "infeasible"),
    ("/v1/chat/completions", {"messages": HI, "n": 4, "deadline_ms": 60_000}, "rejected"),
    ("/v1/completions", {"prompt": ["a", "b", "c"], "deadline_ms": 60_000}, "met"),
    ("/v1/embeddings", {"input": ["a", "b", "c"], "deadline_ms": 60_000}, "met"),
    ("/v1/apps/translate", {"text": "早上好。你好吗？", "deadline_ms": 60_000}, "met"),
]


@pytest.mark.parametrize(("path", "asked", "outcome"), COUNTED)
def test_a_request_has_one_outcome_however_many_answers(
    path: str, asked: dict[str, Any], outcome: str
) -> None:
    with live(terms=Terms(max_open=3 + (outcome == "rejected"))) as server:
        if outcome == "rejected":
            server.door.shares.take("", 1, now_ns=0)  # somebody else's place
        with server.client() as client:
            client.post(path, json=asked)
            # Without a deadline there is no outcome.
            client.post("/v1/chat/completions", json={"messages": HI, "n": asked.get("n", 1)})
            text = client.get("/metrics").text
    counts = dict(re.findall(r'^onesec_deadline_total{outcome="(\w+)"} (.*)$', text, re.MULTILINE))
    assert {name: float(count) for name, count in counts.items() if float(count)} == {outcome: 1}


def test_a_client_that_leaves_has_one_outcome_however_many_answers() -> None:
    with live() as server, server.client() as client:
        server.backend.gate.clear()
        server.backend.reached.clear()
        asked = {"messages": HI, "n": 3, "deadline_ms": 60_000, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=asked):
            assert server.backend.reached.wait(30)
        server.wait(server.door.idle.wait())
        server.backend.gate.set()
        text = client.get("/metrics").text
    assert 'onesec_deadline_total{outcome="cancelled"} 1.0' in text


def _while_waiting(server: Live, told: Any) -> None:
    """Ask with the model held still, and look at what waits."""
    server.backend.gate.clear()
    server.backend.reached.clear()
    asked = {"messages": HI}
    with (
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as reply,
    ):
        assert server.backend.reached.wait(30)
        assert told() == len("user: Hi|assistant: ")
        server.backend.gate.set()
        assert list(reply.iter_lines())


def test_a_request_is_timed_once_however_many_answers() -> None:
    with live() as server, server.client() as client:
        client.post("/v1/chat/completions", json={"messages": HI, "n": 3})
        client.post("/v1/embeddings", json={"input": ["a", "b"]})
        client.post("/v1/chat/completions", json={"messages": HI, "deadline_ms": 0.001})
        text = client.get("/metrics").text
    assert "onesec_request_seconds_count 2.0" in text


def test_who_has_no_budget_tells_nothing_of_predictions() -> None:
    metrics = Metrics("m")
    metrics.answered(trace(), budget=Budget(), elapsed_ms=100.0, met=None)
    assert "onesec_predicted_minus_actual_seconds_count 0.0" in metrics.text().decode()
