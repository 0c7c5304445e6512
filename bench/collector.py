"""What Python's garbage collector adds to an answer, in a process that holds many objects.

A host application keeps a heap of small objects and allocates more while an answer is streamed. The
CPU time of each collection before the last token is measured from inside the collector
(gc.callbacks), with and without `LLM(quiet_gc=True)`.

    PYTHONPATH=src python bench/collector.py
"""

from __future__ import annotations

import argparse
import gc
import time

from onesec import LLM


def measure(objects: int, kept_a_token: int, *, quiet: bool, tokens: int) -> str:
    """One line: collections while an answer was due, the longest, and all of them together."""
    heap: list[object] = [[i] for i in range(objects)]
    pauses_ms: list[float] = []
    begun = [0.0]

    def watch(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            begun[0] = time.thread_time()
        else:
            pauses_ms.append((time.thread_time() - begun[0]) * 1e3)

    with LLM("onesec-mini", quiet_gc=quiet) as llm:
        counts = [0, 0]  # when the last two pieces of text came; the last comes when nothing is due
        gc.callbacks.append(watch)
        with llm.stream("The", deadline="60s", max_tokens=tokens, ignore_eos=True) as stream:
            for _ in stream:
                counts = [counts[1], len(pauses_ms)]
                heap.extend([i] for i in range(kept_a_token))
        gc.callbacks.remove(watch)
    due_ms = pauses_ms[: counts[0]]
    longest_ms = max(due_ms, default=0.0)
    return f"{objects:>10} {quiet!s:>6} {len(due_ms):>12} {longest_ms:>12.2f} {sum(due_ms):>10.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[100_000, 2_000_000])
    parser.add_argument("--kept", type=int, default=3_000, help="objects kept with each token")
    parser.add_argument("--tokens", type=int, default=300)
    options = parser.parse_args()
    print(f"{'objects':>10} {'quiet':>6} {'collections':>12} {'longest, ms':>12} {'all, ms':>10}")
    for objects in options.objects:
        for quiet in (False, True):
            print(measure(objects, options.kept, quiet=quiet, tokens=options.tokens))


if __name__ == "__main__":
    main()
