"""Metrics: what the server counts, under names that dashboards know, for Prometheus.

It must not know requests' content; labels are few and fixed, never an id.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
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


class Metrics:
    """One server's numbers."""

    def __init__(self, model: str) -> None:
        self.registry = registry = CollectorRegistry()

        def histogram(name: str, what: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"onesec_{name}", what, buckets=buckets, registry=registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"onesec_{name}", what, labels, registry=registry)

        self._request = histogram("request_seconds", "First byte received to last byte sent.")
        self._ttft = histogram("ttft_seconds", "First byte received to the first token.")
        self._tpot = histogram("tpot_seconds", "Between two tokens of an answer, on average.")
        self._queue = histogram("queue_seconds", "First byte received to the start of work.")
        self._slack = histogram("deadline_slack_seconds", "Left at the end.", _SIGNED_SECONDS)
        self._error = histogram(
            "predicted_minus_actual_seconds", "Of whole answers, p95 predicted.", _SIGNED_SECONDS
        )
        self._deadline = counter("deadline", "Requests with a deadline.", "outcome")
        self._requests = counter("requests", "Answers by how they ended.", "reason")
        self._tokens = counter("tokens", "Tokens by kind.", "kind")
        self._wasted = counter("wasted_tokens", "Tokens of answers that were late or abandoned.")
        self._retries = counter("client_retries", "Requests that a client sent again.")
        self._gauges: dict[str, Gauge] = {
            name: Gauge(f"onesec_{name}", what, registry=registry)
            for name, what in (
                ("requests_running", "Requests that hold cache blocks."),
                ("requests_waiting", "Requests that were accepted and have not started."),
                ("requests_open", "Requests between first and last byte."),
                ("kv_cache_usage", "Share of the cache's blocks in use."),
            )
        }
        build = Gauge("onesec_build_info", "Version.", ["version", "model"], registry=registry)
        build.labels(__version__, model).set(1)

    def watch(self, gauge: str, read: Callable[[], float]) -> None:
        """Have a gauge read when it is asked for."""
        self._gauges[gauge].set_function(read)

    def answered(
        self, trace: Trace, *, budget: Budget, elapsed_ms: float, met: bool | None
    ) -> None:
        """One answer went out whole."""
        self._request.observe(elapsed_ms / 1e3)
        if trace.ttft_ms is not None:
            self._ttft.observe(trace.ttft_ms / 1e3)
            if trace.answer_tokens > 1:
                span_ms = trace.elapsed_ms - trace.ttft_ms
                self._tpot.observe(span_ms / 1e3 / (trace.answer_tokens - 1))
        for event in trace.events:
            if event.kind == "prefill":
                self._queue.observe(max(0.0, event.at_ms - event.detail["ms"]) / 1e3)
                break
        if trace.predicted_ms is not None:
            self._error.observe((trace.predicted_ms - trace.elapsed_ms) / 1e3)
        self._requests.labels(trace.ending).inc()
        kinds = {
            "prompt": trace.prompt_tokens,
            "cached": trace.cached_tokens,
            "answer": trace.answer_tokens,
            "drafted": trace.drafted_tokens,
            "accepted": trace.accepted_tokens,
        }
        for kind, count in kinds.items():
            self._tokens.labels(kind).inc(count)
        if met is not None:
            self._deadline.labels("met" if met else "missed").inc()
            if budget.total_ms is not None:
                self._slack.observe((budget.total_ms - elapsed_ms) / 1e3)
            if not met:
                self._wasted.inc(trace.answer_tokens)

    def refused(self, code: str) -> None:
        """One request was refused."""
        self._requests.labels(code).inc()
        if code == "deadline_infeasible":
            self._deadline.labels("infeasible").inc()
        elif code == "queue_full":
            self._deadline.labels("rejected").inc()

    def cancelled(self, tokens: int) -> None:
        """A client left before its answer was whole."""
        self._requests.labels("cancelled").inc()
        self._deadline.labels("cancelled").inc()
        self._wasted.inc(tokens)

    def retried(self) -> None:
        """A client says that it tries again."""
        self._retries.inc()

    def text(self) -> bytes:
        """All of it in Prometheus's format."""
        return generate_latest(self.registry)
