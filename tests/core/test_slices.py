import os
import threading
from pathlib import Path

import pytest

from onesec.core.slices import run_soon


def slice_ns(thread_id: int) -> float | None:
    """What the kernel says of a thread, where it says anything of slices."""
    try:
        lines = Path(f"/proc/self/task/{thread_id}/sched").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("se.slice"):
            return float(line.split(":")[1])
    return None


def test_a_thread_asks_for_itself_and_those_that_it_starts() -> None:
    found: dict[str, float | None] = {}

    def asking() -> None:
        if run_soon():
            found["asking"] = slice_ns(threading.get_native_id())
            child = threading.Thread(
                target=lambda: found.update(child=slice_ns(threading.get_native_id()))
            )
            child.start()
            child.join()

    before = slice_ns(threading.get_native_id())
    nice = os.nice(0)
    thread = threading.Thread(target=asking)
    thread.start()
    thread.join()
    assert os.nice(0) == nice
    assert slice_ns(threading.get_native_id()) == before  # the others keep theirs
    if before is None or not found:
        pytest.skip("this kernel has no slices to ask for, or does not show them")
    assert found["asking"] == found["child"]
    assert found["child"] is not None
    assert found["child"] < before


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not run_soon()
