"""Are deadlines kept? Prompts times budgets on one model: hit rate, overshoot, honest refusals.

It must not know how time is planned. One user, one request at a time.

    python bench/budget.py onesec-mini --prompts 200 --out budget.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from onesec import LLM, DeadlineInfeasible
from onesec.llm import Output
from onesec.machine import describe

BUDGETS_MS = (5, 10, 20, 50, 100, 200)
THINGS = ("kettle", "lamp", "teapot", "mug", "tray", "candle", "clock", "basket", "vase", "bowl")
COLOURS = ("blue", "red", "green", "white", "black")
QUESTIONS = ("How much is the {}?", "Do you sell the {}?", "Tell me about the {}.", "{}多少钱？")


def prompts(count: int) -> list[list[dict[str, str]]]:
    """`count` different questions over shop facts of growing length."""
    result = []
    for i in range(count):
        names = [f"{COLOURS[(i + j) % 5]} {THINGS[(i + 3 * j) % 10]}" for j in range(1 + i % 8)]
        facts = " ".join(
            f"The {name} costs {10 + (7 * i + j) % 80} dollars." for j, name in enumerate(names)
        )
        question = QUESTIONS[i % len(QUESTIONS)].format(names[0])
        result.append([{"role": "system", "content": facts}, {"role": "user", "content": question}])
    return result


def run(llm: LLM, messages: list[dict[str, str]], budget_ms: float) -> tuple[float, Output]:
    start = time.perf_counter()
    output = llm.chat(messages, deadline=f"{budget_ms}ms")
    return (time.perf_counter() - start) * 1e3, output


def measure(llm: LLM, count: int, budgets_ms: tuple[float, ...]) -> list[dict[str, float]]:
    """One row a budget."""
    table = []
    for budget_ms in budgets_ms:
        elapsed: list[float] = []
        steps: list[float] = []
        endings: list[str] = []
        refused = offers_kept = 0
        for messages in prompts(count):
            try:
                ms, output = run(llm, messages, budget_ms)
            except DeadlineInfeasible as refusal:
                refused += 1
                try:
                    ms, _ = run(llm, messages, refusal.feasible_ms)
                    offers_kept += ms <= refusal.feasible_ms
                except DeadlineInfeasible:
                    pass
                continue
            elapsed.append(ms)
            endings.append(output.ending)
            steps.append(ms / max(1, len(output.tokens)))
        over = sorted(max(0.0, ms - budget_ms) for ms in elapsed)
        table.append(
            {
                "budget_ms": budget_ms,
                "accepted": len(elapsed),
                "hit_rate": sum(ms <= budget_ms for ms in elapsed) / max(1, len(elapsed)),
                "overshoot_p99_ms": over[int(0.99 * (len(over) - 1))] if over else 0.0,
                "overshoot_max_ms": over[-1] if over else 0.0,
                "token_ms": statistics.median(steps) if steps else 0.0,
                "complete": sum(e != "cut" for e in endings) / max(1, len(endings)),
                "use": statistics.mean(elapsed) / budget_ms if elapsed else 0.0,
                "refused": refused,
                "offers_kept": offers_kept,
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--budgets-ms", type=float, nargs="+", default=BUDGETS_MS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with LLM(args.model) as llm:
        table = measure(llm, args.prompts, tuple(args.budgets_ms))
    print(" ".join(f"{key:>16}" for key in table[0]))
    for row in table:
        print(" ".join(f"{value:16.4g}" for value in row.values()))
    if args.out:
        args.out.write_text(json.dumps({"machine": describe(), "rows": table}, indent=1))


if __name__ == "__main__":
    main()
