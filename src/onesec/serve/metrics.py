"""Metrics: what the server counts, under names that dashboards know, for Prometheus.

It must not know requests' content; labels are few and fixed, never an id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import prometheus_client
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)

from onesec import __version__
from onesec.core.deadline import Budget
from onesec.core.trace import Trace

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series each, that nobody reads
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_SIGNED_SECONDS = (
    -10.0, -1.0, -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.005, 0.0,
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0,
)  # fmt: skip


OUTCOMES = ("met", "missed", "infeasible", "rejected", "cancelled")
_OUTCOME_OF = {"left": "cancelled", "deadline_infeasible": "infeasible", "queue_full": "rejected"}
TOKEN_KINDS = ("prompt", "cached", "answer", "drafted", "accepted")


class Metrics:
    """One server's numbers."""

    def __init__(self, model: str) -> None:
        self.registry = registry = CollectorRegistry()

        def histogram(name: str, what: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"onesec_{name}", what, buckets=buckets, registry=registry)

        def counter(name: str, what: str, *labels: str) -> prometheus_client.Counter:
            return prometheus_client.Counter(f"onesec_{name}", what, labels, registry=registry)

        self._request = histogram("request_seconds", "First byte received to last byte sent.")
        self._ttft = histogram("ttft_seconds", "First byte received to the first token.")
        self._tpot = histogram("tpot_seconds", "Between two tokens of an answer, on average.")
        self._queue = histogram("queue_seconds", "First byte received to the start of work.")
        self._prefill = histogram("prefill_seconds", "Computing a prompt, without its waits.")
        self._decode = histogram("decode_seconds", "Computing an answer's steps, without waits.")
        self._slack = histogram("deadline_slack_seconds", "Left at the end.", _SIGNED_SECONDS)
        self._error = histogram(
            "predicted_minus_actual_seconds", "Of whole answers, p95 predicted.", _SIGNED_SECONDS
        )
        self._deadline = counter(
            "deadline",
            "Requests with a deadline, each once: met where all of its answers are in time.",
            "outcome",
        )
        self._requests = counter("requests", "Answers by how they ended.", "reason")
        self._tokens = counter("tokens", "Tokens by kind.", "kind")
        for labelled, values in ((self._deadline, OUTCOMES), (self._tokens, TOKEN_KINDS)):
            for value in values:  # there from the start: what is not there has no rate
                labelled.labels(value)
        self._gears = counter(
            "gear_tokens", "Tokens of answers by the gear they came from.", "gear"
        )
        self._shifts = counter("gear_shifts", "Changes of gear in the midst of answers.")
        self._stalls = counter("stalls", "Answers that a hanging step was cut out of.")
        self._preemptions = counter("preemptions", "Times that an answer gave its room away.")
        self._wasted = counter("wasted_tokens", "Tokens of answers that were late or abandoned.")
        self._retries = counter("client_retries", "Requests that a client sent again.")
        self._gauges: dict[str, Gauge] = {
            name: Gauge(f"onesec_{name}", what, registry=registry)
            for name, what in (
                ("requests_running", "Requests that hold cache blocks."),
                ("requests_waiting", "Requests that were accepted and have not started."),
                ("requests_open", "Requests between first and last byte."),
                ("queue_tokens", "Prompt tokens of requests that have no token yet."),
                ("kv_cache_usage", "Share of the cache's blocks in use."),
                ("ready", "1 while requests are taken, else 0."),
            )
        }
        build = Gauge("onesec_build_info", "Version.", ["version", "model"], registry=registry)
        build.labels(__version__, model).set(1)
        registry.register(
            _OpenTelemetry(
                model,
                {
                    "request_duration": self._request,
                    "time_to_first_token": self._ttft,
                    "time_per_output_token": self._tpot,
                },
            )
        )

    def watch(self, gauge: str, read: Callable[[], float]) -> None:
        """Have a gauge read when it is asked for."""
        self._gauges[gauge].set_function(read)

    def answered(
        self, trace: Trace, *, budget: Budget, elapsed_ms: float, met: bool | None
    ) -> None:
        """One answer went out whole; `met`: whether it kept its budget, if it has one."""
        if trace.ttft_ms is not None:
            self._ttft.observe(trace.ttft_ms / 1e3)
        if trace.tpot_ms is not None:
            self._tpot.observe(trace.tpot_ms / 1e3)
        self._worked(trace)
        if trace.predicted_ms is not None and budget.limited:  # others are planned without the load
            self._error.observe((trace.predicted_ms - trace.elapsed_ms) / 1e3)
        self._requests.labels(trace.ending).inc()
        for kind in TOKEN_KINDS:
            self._tokens.labels(kind).inc(getattr(trace, f"{kind}_tokens"))
        if budget.total_ms is not None:
            self._slack.observe((budget.total_ms - elapsed_ms) / 1e3)
        if met is False:
            self._wasted.inc(trace.answer_tokens)

    def _worked(self, trace: Trace) -> None:
        """What the steps of an answer took, and what happened on their way."""
        spent_ms = {"prefill": 0.0, "decode": 0.0}
        seen: Counter[str] = Counter()
        for event in trace.events:
            if event.kind == "prefill" and not seen["prefill"]:
                self._queue.observe(max(0.0, event.at_ms - event.detail["ms"]) / 1e3)
            seen[event.kind] += 1
            if event.kind in spent_ms:
                spent_ms[event.kind] += event.detail["ms"]
        for kind, histogram in (("prefill", self._prefill), ("decode", self._decode)):
            if seen[kind]:
                histogram.observe(spent_ms[kind] / 1e3)
        self._shifts.inc(seen["shift"])
        self._stalls.inc(seen["stall"])
        self._preemptions.inc(trace.preemptions)
        for gear, count in trace.gears.items():
            self._gears.labels(gear).inc(count)

    def whole(self, elapsed_ms: float) -> None:
        """One request was answered, however many answers it had."""
        self._request.observe(elapsed_ms / 1e3)

    def over(self, ending: str, *, met: bool | None) -> None:
        """One request with a deadline is over, however many answers it had: see recent.Done. What
        was refused for other reasons than time and room has no outcome."""
        outcome = _OUTCOME_OF.get(ending)
        if outcome is None and met is not None:
            outcome = "met" if met else "missed"
        if outcome is not None:
            self._deadline.labels(outcome).inc()

    def refused(self, code: str) -> None:
        """One request was refused."""
        self._requests.labels(code).inc()

    def cancelled(self, tokens: int) -> None:
        """A client left before its answer was whole."""
        self._requests.labels("cancelled").inc()
        self._wasted.inc(tokens)

    def retried(self) -> None:
        """A client says that it tries again."""
        self._retries.inc()

    def text(self) -> bytes:
        """All of it in Prometheus's format."""
        return generate_latest(self.registry)


class _OpenTelemetry:
    """The same histograms under the names of OpenTelemetry's conventions for generative AI."""

    def __init__(self, model: str, histograms: Mapping[str, Histogram]) -> None:
        self._model = model
        self._histograms = histograms

    def collect(self) -> Iterator[Metric]:
        """A family for each, with the model as its label."""
        for name, histogram in self._histograms.items():
            [own] = histogram.collect()
            family = Metric(f"gen_ai_server_{name}_seconds", own.documentation, "histogram")
            for sample in own.samples:
                suffix = sample.name.removeprefix(own.name)
                labels = {**sample.labels, "gen_ai_request_model": self._model}
                family.add_sample(family.name + suffix, labels, sample.value)
            yield family
