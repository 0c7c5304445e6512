"""Do guesses ahead pay, and do they change nothing? The same prompts with and without, interleaved.

Greedy answers of both are compared token by token; what is timed is the decode (elapsed less the
first token), from the traces. A suite's questions are real prompts with long stretches to copy.

    python bench/speculation.py onesec-mini --suite mini --tokens 10000 --out mini.json
    python bench/speculation.py FOLDER --text story.txt --gear 8
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onesec import LLM
from onesec.compress.suite import chosen, find_suite, read_suite
from onesec.loading import load_model
from onesec.machine import describe


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
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    ms: dict[str, dict[bool, float]] = defaultdict(lambda: {True: 0.0, False: 0.0})
    ratios: dict[str, list[float]] = defaultdict(list)
    tokens = differing = drafted = accepted = 0
    doors = {
        on: LLM.over(load_model(args.model, threads=args.threads), speculate=on)
        for on in (True, False)
    }
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
