"""A whole trace, as an engine tells it, to be told, drawn, checked and bent."""

from __future__ import annotations

from typing import Any

from onesec.core.trace import Event, Trace


def story(**changes: Any) -> Trace:
    """Planned in gear 8, shifted down, landed in time; every cause is borne out."""
    decode = {"gear": "8", "tokens": 20, "calls": 5, "ms": 245.0, "expected_ms": 200.0}
    trace = Trace(
        "r1",
        budget_ms=1000.0,
        predicted_ms=900.0,
        elapsed_ms=941.0,
        ttft_ms=84.0,
        met=True,
        ending="landed",
        gears={"8": 21, "g2": 29},
        prompt_tokens=60,
        cached_tokens=32,
        answer_tokens=50,
        cpu_ms=1700.0,
        bytes_read=25_000_000,
        peak_kv_bytes=64_000,
        events=[
            Event(0.4, "plan", {"gear": "8", "prefill_gear": "8", "gears": ["4", "g2", "8"],
                                "max_tokens": 80, "predicted_ms": 900.0, "likely_ms": 600.0,
                                "feasible_ms": 120.0, "better_ms": None, "end_ms": 990.0}),
            Event(84.0, "prefill", {"gear": "8", "tokens": 28, "cached": 32, "ms": 78.0,
                                    "expected_ms": 84.0}),
            Event(330.0, "decode", decode | {"slowest_ms": 55.0, "slowest_token": 17}),
            Event(330.0, "shift", {"token": 21, "gear": "g2", "was": "8", "left_ms": 660.0,
                                   "want_tokens": 70, "need_ms": 700.0, "need_there_ms": 500.0,
                                   "likely_ms": 320.0, "by_ms": 500.0,
                                   "to_spare": 0.15}),
            Event(870.0, "decode", {"gear": "g2", "tokens": 24, "calls": 8, "ms": 500.0,
                                    "expected_ms": 120.0, "slowest_ms": 20.5,
                                    "slowest_token": 40}),
            Event(870.0, "land", {"token": 45, "room_tokens": 12, "zone_tokens": 12,
                                  "left_ms": 120.0}),
            Event(941.0, "decode", {"gear": "g2", "tokens": 5, "calls": 2, "ms": 68.0,
                                    "expected_ms": 66.0, "slowest_ms": 14.0,
                                    "slowest_token": 49}),
            Event(941.0, "stop", {"finish_reason": "stop", "stop_reason": "deadline",
                                  "ending": "landed"}),
        ],
    )  # fmt: skip
    for name, value in changes.items():
        setattr(trace, name, value)
    return trace
