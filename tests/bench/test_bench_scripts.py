"""Programs of bench/ that are started by hand: they run, and time what they say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
try:
    import apps
    import host_overhead
finally:
    del sys.path[0]

from onesec.core.deadline import Budget


@pytest.mark.parametrize("max_steps", [1, 8])
@pytest.mark.parametrize("budget", [Budget(), Budget(total_ms=600_000.0)])
def test_the_loops_own_time_is_measured(budget: Budget, max_steps: int) -> None:
    sampled: dict[str, object] = {"temperature": 0.8, "seed": 1}
    assert host_overhead.measure(1, tokens=20, params=sampled, budget=budget, max_steps=max_steps)


def test_texts_are_made_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = False
    read: list[str] = []

    def long_text(lang: str, rng: Any) -> str:
        assert not timing
        return f"{lang} {rng.random()}"

    def measure(repeat: int, deadline_ms: float | None, call: Any) -> dict[str, Any]:
        nonlocal timing
        timing = True
        for number in range(repeat):
            call(number)
        timing = False
        return {"refused": repeat}

    class Silent:
        def __init__(self, *_: Any, **__: Any) -> None:
            """Of whatever it is given."""

        def __enter__(self) -> Silent:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing."""

        def __call__(self, *words: str) -> None:
            read.extend(word for word in words if word.startswith(("en ", "zh ")))

        ask = __call__

    for name in ("LLM", "Support", "Translate", "Answer", "Summarize"):
        monkeypatch.setattr(apps, name, Silent)
    monkeypatch.setattr(apps, "long_text", long_text)
    monkeypatch.setattr(apps, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["apps.py", "--repeat", "3"])
    apps.main()
    assert len(read) == len(set(read)) == 2 * 5 * 3  # each call reads another text
