"""Slices: a thread asks for its own. In a process of its own, since what is asked for stays."""

import os
import subprocess
import sys
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


def ask_in_a_thread() -> str:
    """What became of it, in a word."""
    found: dict[str, float | None] = {}

    def asking() -> None:
        if run_soon():
            found["asking"] = slice_ns(threading.get_native_id())
            child = threading.Thread(
                target=lambda: found.update(child=slice_ns(threading.get_native_id()))
            )
            child.start()
            child.join()

    before, nice = slice_ns(threading.get_native_id()), os.nice(0)
    thread = threading.Thread(target=asking)
    thread.start()
    thread.join()
    assert os.nice(0) == nice
    assert slice_ns(threading.get_native_id()) == before  # the others keep theirs
    if before is None or not found:
        return "none"
    assert found["asking"] == found["child"]
    assert found["child"] is not None
    assert found["child"] < before
    return "shorter"


def test_a_thread_asks_for_itself_and_those_that_it_starts() -> None:
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if done.stdout.strip() == "none":
        pytest.skip("this kernel has no slices to ask for, or does not show them")
    assert done.stdout.strip() == "shorter"


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not run_soon()


if __name__ == "__main__":
    print(ask_in_a_thread())
