"""How long the four applications take on one model, and how much of a long text they read in time.

    python bench/apps.py [--model onesec-mini] [--repeat 20] [--json FILE]

The long texts are 50 kB, English and Chinese, made from sentences; no quality is measured here.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onesec import LLM, DeadlineInfeasible
from onesec.apps import Answer, Entry, Summarize, Support, Translate
from onesec.machine import describe

BYTES = 50_000
FAQ = [
    Entry("hours", "We are open from 9:00 to 18:00, Monday to Friday.", "Opening hours"),
    Entry("fee", "Delivery costs 5 dollars; it is free over 50 dollars.", "Delivery fee"),
    Entry("returns", "七天内可以退货，运费由买家承担。", "退货"),
]
EN = (
    "The {a} {b} costs {n} dollars.", "Our {b} is made in a small factory near the river.",
    "Customers may return the {a} {b} within {n} days.", "The {b} has a warranty of {n} months.",
    "In the year 19{n} the first {a} {b} was sold.", "Nobody expected the {b} to be so popular.",
)  # fmt: skip
ZH = (
    "{a}{b}的价格是{n}元。", "我们的{b}在河边的一家小工厂生产。", "{a}{b}可以在{n}天内退货。",
    "{b}的保修期是{n}个月。", "19{n}年卖出了第一个{a}{b}。", "没有人想到{b}会这么受欢迎。",
)  # fmt: skip
WORDS = {
    "en": (("red", "blue", "green", "white"), ("kettle", "lamp", "chair", "phone")),
    "zh": (("红色", "蓝色", "绿色", "白色"), ("水壶", "台灯", "椅子", "手机")),
}


def long_text(lang: str, rng: random.Random) -> str:
    """Paragraphs of six sentences, BYTES of UTF-8 in all."""
    colours, things = WORDS[lang]
    templates, gap = (EN, " ") if lang == "en" else (ZH, "")
    paragraphs: list[str] = []
    size = 0
    while size < BYTES:
        sentences = [
            rng.choice(templates).format(
                a=rng.choice(colours), b=rng.choice(things), n=rng.randint(10, 99)
            )
            for _ in range(6)
        ]
        paragraphs.append(gap.join(sentences))
        size += len(paragraphs[-1].encode()) + 2
    return "\n\n".join(paragraphs)


def measure(repeat: int, deadline_ms: float | None, call: Callable[[int], Any]) -> dict[str, Any]:
    """Milliseconds of `repeat` calls, and what else the results tell."""
    times, reads, calls, refused = [], [], [], 0
    for number in range(repeat):
        start = time.perf_counter()
        try:
            made = call(number)
        except DeadlineInfeasible:
            refused += 1
            continue
        times.append(1e3 * (time.perf_counter() - start))
        reads.append(getattr(made, "read_share", None))
        calls.append(getattr(made, "calls", 1))
    if not times:
        return {"refused": refused}
    times.sort()
    figures: dict[str, Any] = {
        "p50_ms": times[len(times) // 2],
        "p95_ms": times[int(0.95 * (len(times) - 1))],
        "max_ms": times[-1],
        "calls": sum(calls) / len(calls),
        "refused": refused,
    }
    if deadline_ms is not None:
        figures["deadline_ms"] = deadline_ms
        figures["in_time"] = sum(took <= deadline_ms for took in times) / len(times)
    if reads[0] is not None:
        figures["read_share"] = sum(share for share in reads if share) / len(reads)
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="onesec-mini")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = random.Random(1)

    def texts(lang: str) -> list[str]:
        """One for each call, made before any is timed."""
        return [long_text(lang, rng) for _ in range(args.repeat)]

    rows: dict[str, dict[str, Any]] = {}
    with LLM(args.model, learn=False) as llm:
        desk, translate, answer = Support(llm, FAQ), Translate(llm), Answer(llm)
        summarize = Summarize(llm)
        # Numbers differ from call to call, so that no prompt is found in the prefix cache whole.
        rows["support"] = measure(
            args.repeat, 1000, lambda n: desk.ask(f"How much is delivery to house {n}?", "1s")
        )
        rows["translate, one sentence"] = measure(
            args.repeat, 300, lambda n: translate(f"Where is my order number {n}?", "300ms")
        )
        for lang, question in (("en", "How much does chair {} cost?"), ("zh", "椅子{}多少钱？")):
            read = texts(lang)
            rows[f"answer, 50 kB {lang}"] = measure(
                args.repeat,
                1000,
                lambda n, read=read, question=question: answer(question.format(n), read[n], "1s"),
            )
            for deadline_ms in (200, 500, 1000, 2000):
                read = texts(lang)
                rows[f"summarize, 50 kB {lang}, {deadline_ms} ms"] = measure(
                    args.repeat,
                    deadline_ms,
                    lambda n, read=read, ms=deadline_ms: summarize(read[n], "40 words", f"{ms}ms"),
                )
    show(rows)
    if args.json:
        figures = {"model": args.model, "machine": describe(), "rows": rows}
        args.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1, default=str) + "\n")


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    heads = ("p50 ms", "p95", "max", "in time", "calls", "refused", "read")
    print(" " * 32, *(f"{head:>8}" for head in heads))
    for name, row in rows.items():
        if "p50_ms" not in row:  # there is no figure of what never ran
            print(f"{name:32} refused every time")
            continue
        read = f"{row['read_share']:.0%}" if "read_share" in row else ""
        print(
            f"{name:32} {row['p50_ms']:8.1f} {row['p95_ms']:8.1f} {row['max_ms']:8.1f} "
            f"{row['in_time']:8.0%} {row['calls']:8.1f} {row['refused']:8} {read:>8}"
        )


if __name__ == "__main__":
    main()
