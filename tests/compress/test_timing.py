"""Timing a step: the context is the model's where that is short."""

from pathlib import Path

import pytest

from onesec.backend.cpu import CpuBackend
from onesec.compress.timing import step_times
from onesec.model.checkpoints import open_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("context", [32, 64, 128])
def test_a_short_context_is_no_obstacle(context: int) -> None:
    backend = CpuBackend.load(open_checkpoint(GOLDEN / "qwen2"), context_tokens=context)
    assert backend.context_length == context
    times = step_times(backend, backend.gears, rounds=1)
    assert len(times) == 2
    assert all(ms > 0.0 for ms in times)
