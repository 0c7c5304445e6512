"""Do guesses ahead pay, and do they change nothing? The same prompts with and without, interleaved.

Greedy answers of both are compared token by token; what is timed is the decode (elapsed less the
first token), from the traces. A suite's questions are real prompts with long stretches to copy.

    python bench/speculation.py onesec-mini --suite mini --tokens 10000 --out mini.json
    python bench/speculation.py FOLDER --text story.txt --gear 8
    python bench/speculation.py onesec-mini --suite mini --shape qwen2.5-0.5b    # that shape's time

A small model's weights stay in the processor's caches, where two tokens cost nearly twice one. With
`--shape` each forward is run by random weights of that shape too, over as many rows and steps, and
its time is the one that counts: the text, and so what guesses are right, is MODEL's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from onesec import LLM
from onesec.backend.base import Batch, BatchResult
from onesec.backend.cpu import CpuBackend
from onesec.compress.suite import chosen, find_suite, read_suite
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams
from onesec.engine.profile import profile
from onesec.loading import LoadedModel, load_model
from onesec.machine import describe
from onesec.model.shapes import shape as shape_of


class Lent:
    """A backend with the tokens of `text`, and the time of `work` running as many rows and steps.

    It must not know deadlines: a batch's `until_ns` and `watch_ns` hold for `text` alone.
    """

    leaves_steps = False

    def __init__(self, text: CpuBackend, work: CpuBackend) -> None:
        self._text, self._work = text, work
        self.vocab_size, self.block_size = text.vocab_size, text.block_size
        self.context_length = min(text.context_length, work.context_length)
        self.num_blocks = min(text.num_blocks, work.num_blocks)
        self._gears = {gear.name: gear for gear in work.gears}
        self.gears = tuple(gear for gear in text.gears if gear.name in self._gears)
        self.sampler, self.rest, self.logits = text.sampler, text.rest, text.logits
        self._greedy = [
            work.sampler(SamplingParams(ignore_eos=True), eos_ids=()) for _ in range(16)
        ]

    def bytes_per_token(self, gear: Gear) -> int:
        return self._work.bytes_per_token(self._gears[gear.name])

    def forward(self, batch: Batch) -> BatchResult:
        told = self._text.forward(batch)
        rows = [
            replace(row, sampler=row.sampler and self._greedy[i], stop_ids=(), next_token=None)
            for i, row in enumerate(batch.rows)
        ]
        done = self._work.forward(
            Batch(self._gears[batch.gear.name], rows, len(told.step_ms), exact=batch.exact)
        )
        step_ms = [sum(pair) for pair in zip(told.step_ms, done.step_ms, strict=True)]
        return replace(
            told, step_ms=step_ms, cpu_ms=told.cpu_ms + done.cpu_ms, bytes_read=done.bytes_read
        )

    def close(self) -> None:
        self._text.close()
        self._work.close()


def lent(loaded: LoadedModel, shape: str, threads: int | None) -> LoadedModel:
    """`loaded` with the time of a shape."""
    text = loaded.backend
    assert isinstance(text, CpuBackend)
    tokens = text.num_blocks * text.block_size
    work = CpuBackend.random(shape_of(shape), context_tokens=tokens, threads=threads)
    backend = Lent(text, work)
    return replace(
        loaded,
        backend=backend,
        measure_latency=lambda clock, use: profile(backend, clock),
        machine="",
    )


def prompts_of(args: argparse.Namespace) -> Iterator[tuple[str, str | list[dict[str, str]]]]:
    """(kind, prompt) pairs: a suite's messages, or pieces of a text to go on from."""
    if args.text is not None:
        text = args.text.read_text(encoding="utf-8")
        for begin in range(0, len(text) - 600, 600):
            yield "text", text[begin : begin + 600]
        return
    items = chosen(read_suite(find_suite(args.suite)), limit=args.limit)
    for item in items:
        yield f"{item['skill']} {item['language']}", [dict(m) for m in item["messages"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--suite", default="mini")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--limit", type=int, help="questions of each skill and language")
    parser.add_argument("--gear", default="8")
    parser.add_argument("--tokens", type=int, default=10_000, help="drawn in all, at least")
    parser.add_argument("--max-tokens", type=int, default=150)
    parser.add_argument("--shape", help="a public shape whose time counts")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    ms: dict[str, dict[bool, float]] = defaultdict(lambda: {True: 0.0, False: 0.0})
    ratios: dict[str, list[float]] = defaultdict(list)
    tokens = differing = drafted = accepted = 0

    def door(speculate: bool) -> LLM:
        loaded = load_model(args.model, threads=args.threads)
        if args.shape is not None:
            loaded = lent(loaded, args.shape, args.threads)
        return LLM.over(loaded, speculate=speculate)

    doors = {on: door(on) for on in (True, False)}
    for kind, prompt in prompts_of(args):
        took: dict[bool, float] = {}
        answers = {}
        for on in (True, False):
            llm = doors[on]
            ask = llm.generate if isinstance(prompt, str) else llm.chat
            answer: Any = ask(prompt, gear=args.gear, max_tokens=args.max_tokens, temperature=0.0)
            answers[on] = answer.tokens
            took[on] = answer.trace.elapsed_ms - (answer.trace.ttft_ms or 0.0)
            if on:
                drafted += answer.trace.drafted_tokens
                accepted += answer.trace.accepted_tokens
        tokens += len(answers[False])
        differing += answers[True] != answers[False]
        if len(answers[False]) > 1:
            ms[kind][True] += took[True]
            ms[kind][False] += took[False]
            ratios[kind].append(took[False] / took[True])
        if tokens >= args.tokens:
            break
    report = {
        "machine": describe(),
        "model": args.model,
        "shape": args.shape,
        "gear": args.gear,
        "tokens": tokens,
        "answers_that_differ": differing,
        "drafted": drafted,
        "accepted": accepted,
        "worth": doors[True].speculation(args.gear),
        "speedup": {
            kind: {
                "all": round(both[False] / both[True], 3),
                "median": round(statistics.median(ratios[kind]), 3),
                "answers": len(ratios[kind]),
            }
            for kind, both in sorted(ms.items())
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")
    for llm in doors.values():
        llm.close()


if __name__ == "__main__":
    main()
