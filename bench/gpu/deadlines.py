"""Do answers come in time? One user after another, budgets drawn around what is possible.

The model has random weights of a shape: what counts is time, and every answer has its own length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onesec.backend.gpu.backend import GpuBackend
from onesec.core.clock import MonotonicClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.profile import profile


def hit_rate(
    backend: GpuBackend, *, requests: int, seconds: float, seed: int = 0
) -> dict[str, Any]:
    """Share of accepted requests whose answer was there in time, and the overshoot of the others.

    Stops after `requests` or `seconds`, whichever comes first.
    """
    clock = MonotonicClock()
    latency = profile(backend, clock)
    best = backend.gears[-1].name
    engine = Engine(
        backend,
        clock,
        latency=latency,
        eos_ids=(),
        decode_text=lambda tokens: "." * len(tokens),
    )
    rng = np.random.default_rng(seed)
    asked = accepted = met = 0
    over: list[float] = []
    end_ns = clock.now_ns() + round(seconds * 1e9)
    while asked < requests and clock.now_ns() < end_ns:
        asked += 1
        prompt = rng.integers(0, backend.vocab_size, int(rng.integers(16, 512))).tolist()
        tokens = int(rng.integers(8, 96))
        whole = latency.prefill_ms(best, len(prompt)) + latency.decode_ms(best, 256, tokens)
        budget = float(whole * rng.uniform(0.3, 2.0))
        start_ns = clock.now_ns()
        request = Request(
            id=str(asked),
            prompt_tokens=tuple(prompt),
            params=SamplingParams(max_tokens=tokens, ignore_eos=True),
            budget=Budget(total_ms=budget),
            arrival_ns=start_ns,
        )
        try:
            engine.add_request(request)
        except DeadlineInfeasible:
            continue
        accepted += 1
        while engine.has_work:
            engine.step()
        took = (clock.now_ns() - start_ns) / 1e6
        met += took <= budget
        if took > budget:
            over.append(took - budget)
    return {
        "seconds": seconds,
        "asked": asked,
        "accepted": accepted,
        "met": met,
        "hit_rate": met / max(1, accepted),
        "overshoot_ms": sorted(over)[-5:],
    }
