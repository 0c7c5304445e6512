"""Are deadlines kept? Prompts times budgets on one model: hit rate, overshoot, honest refusals.

It must not know how time is planned. One user, one request at a time; what is timed is the call,
from outside. A model with a chat template answers questions about a shop. With `--traffic` the
prompts are random tokens, and the lengths of prompt and answer come from records of real traffic
(CSV: ContextTokens and GeneratedTokens, or prompt_words and output_words): for random weights,
which never end an answer by themselves. A refused request is asked again with the budget offered.

    python bench/budget.py onesec-mini --prompts 200 --out mini.json
    python bench/budget.py qwen.onesec --budgets-ms 300 1000 --traffic conv.csv --samples s.jsonl

`--samples` keeps every sample in a file; a later run goes on behind the last prompt in it, so that
a long measurement can be taken in pieces. The report is over all of them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from onesec import LLM, DeadlineInfeasible
from onesec.llm import Output
from onesec.machine import describe

BUDGETS_MS = (5, 10, 20, 50, 100, 200)
THINGS = ("kettle", "lamp", "teapot", "mug", "tray", "candle", "clock", "basket", "vase", "bowl")
COLOURS = ("blue", "red", "green", "white", "black")
QUESTIONS = ("How much is the {}?", "Do you sell the {}?", "Tell me about the {}.", "{}多少钱？")
TOKENS_A_WORD = 4 / 3
SHORTEST_ANSWER = 8  # tokens: shorter ones are not taken from the traffic
FIRST_ID = 300  # random tokens begin behind what may be bytes and special tokens

# (number of the prompt, budget in ms) -> the answer
Asker = Callable[[int, float], Output]


@dataclass(frozen=True)
class Sample:
    """One request. `ms` is what the caller waited for the answer, at the budget offered where
    `offered_ms` is not None (None: not refused); then `ms` is None if that was refused too."""

    prompt: int
    budget_ms: float
    offered_ms: float | None
    refusal_ms: float | None
    ms: float | None
    prompt_tokens: int = 0
    tokens: int = 0
    ttft_ms: float | None = None
    predicted_ms: float | None = None
    ending: str = ""
    gears: str = ""


def shop_messages(number: int) -> list[dict[str, str]]:
    """A question over shop facts, more of them for some numbers than for others."""
    i = number
    names = [f"{COLOURS[(i + j) % 5]} {THINGS[(i + 3 * j) % 10]}" for j in range(1 + i % 8)]
    facts = " ".join(
        f"The {name} costs {10 + (7 * i + j) % 80} dollars." for j, name in enumerate(names)
    )
    question = QUESTIONS[i % len(QUESTIONS)].format(names[0])
    return [{"role": "system", "content": facts}, {"role": "user", "content": question}]


def shop(llm: LLM) -> Asker:
    """Questions through the chat template; answers end where the model ends them."""
    return lambda number, budget_ms: llm.chat(shop_messages(number), deadline=f"{budget_ms}ms")


def lengths(path: Path, longest: int) -> list[tuple[int, int]]:
    """(prompt, answer) tokens of the requests in a record whose sum is at most `longest`."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        found = []
        for row in csv.DictReader(file):
            if "ContextTokens" in row:
                prompt, answer = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            else:
                prompt = round(int(row["prompt_words"]) * TOKENS_A_WORD)
                answer = round(int(row["output_words"]) * TOKENS_A_WORD)
            if prompt >= 1 and answer >= SHORTEST_ANSWER and prompt + answer <= longest:
                found.append((prompt, answer))
    return found


def random_tokens(llm: LLM, records: list[Path]) -> Asker:
    """Random prompts and fixed answer lengths, from each record in turn."""
    traffic = [lengths(path, llm.context_length) for path in records]
    top = llm.tokenizer.vocab_size

    def ask(number: int, budget_ms: float) -> Output:
        prompt, answer = Random(number).choice(traffic[number % len(traffic)])
        draw = Random(f"{number} {budget_ms}")  # another text each time: nothing is cached
        ids = [draw.randrange(FIRST_ID, top) for _ in range(prompt)]
        return llm.generate(ids, deadline=f"{budget_ms}ms", max_tokens=answer, ignore_eos=True)

    return ask


def sample(ask: Asker, number: int, budget_ms: float) -> Sample:
    """One request, and once more with the budget offered if it is refused."""
    offered_ms = refusal_ms = None
    start = time.perf_counter()
    try:
        output = ask(number, budget_ms)
    except DeadlineInfeasible as refusal:
        refusal_ms = (time.perf_counter() - start) * 1e3
        offered_ms = refusal.feasible_ms
        start = time.perf_counter()
        try:
            output = ask(number, offered_ms)
        except DeadlineInfeasible:
            return Sample(number, budget_ms, offered_ms, refusal_ms, None)
    ms = (time.perf_counter() - start) * 1e3
    trace = output.trace
    return Sample(
        number,
        budget_ms,
        offered_ms,
        refusal_ms,
        ms,
        prompt_tokens=output.prompt_tokens,
        tokens=len(output.tokens),
        ttft_ms=trace.ttft_ms,
        predicted_ms=trace.predicted_ms,
        ending=output.ending,
        gears="+".join(trace.gears),
    )


def p99(values: Iterable[float]) -> float:
    """The smallest value that 99 of 100 do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1] if ordered else 0.0


def row(budget_ms: float, samples: list[Sample]) -> dict[str, float]:
    """One line of the report: requests that were accepted, and what became of refusals."""
    taken = [s for s in samples if s.offered_ms is None and s.ms is not None]
    refused = [s for s in samples if s.offered_ms is not None]
    again = [(s.ms, s.offered_ms) for s in refused if s.ms is not None and s.offered_ms is not None]
    over = [max(0.0, (s.ms or 0.0) - budget_ms) for s in taken]
    steps = [
        ((s.ms or 0.0) - s.ttft_ms) / (s.tokens - 1)
        for s in taken
        if s.ttft_ms is not None and s.tokens > 1
    ]
    count = max(1, len(taken))
    return {
        "budget_ms": budget_ms,
        "prompts": len(samples),
        "accepted": len(taken),
        "hit_rate": sum(ms == 0.0 for ms in over) / count,
        "overshoot_p99_ms": p99(over),
        "overshoot_max_ms": max(over, default=0.0),
        "step_ms": statistics.median(steps) if steps else 0.0,
        "tokens": statistics.mean(s.tokens for s in taken) if taken else 0.0,
        "complete": sum(s.ending != "cut" for s in taken) / count,
        "use": statistics.mean(s.ms or 0.0 for s in taken) / budget_ms if taken else 0.0,
        "refused": len(refused),
        "refusal_ms": statistics.median(s.refusal_ms or 0.0 for s in refused) if refused else 0.0,
        "offers_accepted": len(again),
        "offers_kept": sum(ms <= offered_ms for ms, offered_ms in again),
    }


def read_samples(path: Path | None) -> list[Sample]:
    """What earlier runs measured."""
    if path is None or not path.exists():
        return []
    return [Sample(**json.loads(line)) for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--budgets-ms", type=float, nargs="+", default=BUDGETS_MS)
    parser.add_argument("--traffic", type=Path, action="append", help="CSV; repeat to mix")
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    samples = read_samples(args.samples)
    with LLM(args.model, learn=False) as llm:
        ask = random_tokens(llm, args.traffic) if args.traffic else shop(llm)
        first = {ms: sum(s.budget_ms == ms for s in samples) for ms in args.budgets_ms}
        for i in range(args.prompts):
            for ms in args.budgets_ms:
                samples.append(sample(ask, first[ms] + i, ms))
                if args.samples:
                    with args.samples.open("a") as file:
                        file.write(json.dumps(asdict(samples[-1])) + "\n")
    budgets = sorted({s.budget_ms for s in samples})
    table = [row(ms, [s for s in samples if s.budget_ms == ms]) for ms in budgets]
    print(" ".join(f"{key:>16}" for key in table[0]))
    for line in table:
        print(" ".join(f"{value:16.4g}" for value in line.values()))
    if args.out:
        report: dict[str, Any] = {
            "model": Path(args.model).name,
            "prompts": [path.name for path in args.traffic or ()] or "shop questions",
            "machine": describe(),
            "rows": table,
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
