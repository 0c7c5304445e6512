"""How fast and how completely the knowledge store finds entries; also beside SQLite's trigrams.

python bench/knowledge.py [--entries 10000] [--json FILE]

A search is told in milliseconds of the clock and of the processor: where the two are far apart,
other programs had the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
from pathlib import Path

from onesec.apps.support import Entry
from onesec.knowledge import Knowledge

THINGS = (
    ("kettle", "水壶"), ("lamp", "台灯"), ("chair", "椅子"), ("phone", "手机"), ("watch", "手表"),
    ("charger", "充电器"), ("blanket", "毯子"), ("bicycle", "自行车"), ("camera", "相机"),
    ("keyboard", "键盘"), ("rice cooker", "电饭锅"), ("umbrella", "雨伞"), ("backpack", "背包"),
)  # fmt: skip
TOPICS = [
    ("returned", "退货", "within {n} days", "{n}天内可以退货"),
    ("refunded", "退款", "after {n} days", "退款需要{n}天到账"),
    ("delivered", "送货", "in {n} days", "下单后{n}天送到"),
    ("repaired", "维修", "for {n} yuan", "维修费用是{n}元"),
    ("insured", "保险", "up to {n} yuan", "最高赔付{n}元"),
    ("exchanged", "换货", "{n} times", "最多可以换{n}次"),
    ("invoiced", "发票", "on day {n}", "每月{n}号开发票"),
]
MAKERS_EN = ("Alba", "Brio", "Corva", "Delmo", "Enzo", "Fira", "Gusto", "Hale", "Ivo", "Juno")
MAKERS_ZH = ("晨光", "远山", "青木", "白鹿", "长河", "明月", "金桥", "红叶", "蓝海", "春雨")
SHORT = ("退", "货", "换", "伞", "退货", "退款", "发票", "保险", "水壶", "手机", "青木", "电饭锅")
COMMON = (  # of words that half of the entries hold
    "请带上小票到柜台办理，关于这件事的问题请拨打分机，可以退货吗？",
    "Bring the receipt to the counter, questions go to extension, can the kettle be returned?",
    "分机",
)


def entries(count: int, rng: random.Random) -> list[Entry]:
    """Shop knowledge of both languages, half of each, three sentences an entry."""
    made = []
    for number in range(count):
        thing, topic = rng.choice(THINGS), rng.choice(TOPICS)
        n, model = rng.randint(1, 99), rng.randint(100, 9999)
        if number % 2:
            maker = rng.choice(MAKERS_EN)
            title = f"Can the {maker} {thing[0]} {model} be {topic[0]}?"
            text = (
                f"Yes, it is {topic[0]} {topic[2].format(n=n)}. Bring the receipt to the counter."
            )
            text += (
                f" Questions about the {maker} {thing[0]} go to extension {rng.randint(10, 99)}."
            )
        else:
            maker = rng.choice(MAKERS_ZH)
            title = f"{maker}{thing[1]}{model}怎么{topic[1]}？"
            text = f"{topic[3].format(n=n)}。请带上小票到柜台办理。"
            text += f"关于{maker}{thing[1]}的问题请拨打分机{rng.randint(10, 99)}。"
        made.append(Entry(f"e{number}", text, title))
    return made


def questions(known: list[Entry], count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Questions as customers put them, each with the id of the entry that answers it."""
    asked = []
    for entry in rng.sample(known, count):
        title = entry.title
        if title.startswith("Can the "):
            title = "hello, " + title.removeprefix("Can the ").lower() + " please tell me"
        else:
            title = "你好，请问" + title.replace("怎么", "可不可以")
        asked.append((title, entry.id))
    return asked


def short_recall(store: Knowledge, known: list[Entry], trigrams: sqlite3.Connection) -> list[dict]:
    """Share of the entries with a short word in them that a search for it finds."""
    rows = []
    for word in SHORT:
        right = {entry.id for entry in known if word in entry.title + "\n" + entry.text}
        ours = {entry.id for entry in store.search(word, len(known))}
        match = "SELECT id FROM trigram WHERE trigram MATCH ?"
        theirs = {row[0] for row in trigrams.execute(match, (f'"{word}"',))}
        rows.append(
            {
                "query": word,
                "entries": len(right),
                "recall": len(ours & right) / max(1, len(right)),
                "precision": len(ours & right) / max(1, len(ours)),
                "trigram_recall": len(theirs & right) / max(1, len(right)),
            }
        )
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = random.Random(1)
    known = entries(args.entries, rng)
    asked = questions(known, min(args.queries, len(known)), rng)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "faq.jsonl"
        lines = [
            json.dumps({"id": e.id, "title": e.title, "text": e.text}, ensure_ascii=False)
            for e in known
        ]
        source.write_text("\n".join(lines), encoding="utf-8")
        store = Knowledge(Path(folder) / "shop.db")
        loads = {}
        for name in ("first", "unchanged", "one entry changed"):
            if name == "one entry changed":
                lines[17] = lines[17].replace('"text": "', '"text": "New: ')
                source.write_text("\n".join(lines), encoding="utf-8")
            start = time.perf_counter()
            report = store.load(source)
            loads[name] = {"ms": 1e3 * (time.perf_counter() - start), "report": str(report)}
        times, cpu_times, hits = [], [], {1: 0, 8: 0}
        for question, identity in asked:
            start, cpu = time.perf_counter(), time.thread_time()
            found = [entry.id for entry in store.search(question)]
            cpu_times.append(1e3 * (time.thread_time() - cpu))
            times.append(1e3 * (time.perf_counter() - start))
            for depth in hits:
                hits[depth] += identity in found[:depth]
        trigrams = sqlite3.connect(":memory:")
        trigrams.execute("CREATE VIRTUAL TABLE trigram USING fts5 (id, body, tokenize = trigram)")
        trigrams.executemany(
            "INSERT INTO trigram VALUES (?, ?)", [(e.id, e.title + "\n" + e.text) for e in known]
        )
        short = short_recall(store, known, trigrams)
        short_ms = []
        for word in SHORT * 20:
            start = time.perf_counter()
            store.search(word)
            short_ms.append(1e3 * (time.perf_counter() - start))
        common_ms = []
        for question in COMMON * 20:
            start = time.perf_counter()
            store.search(question)
            common_ms.append(1e3 * (time.perf_counter() - start))
        store.close()
    figures = {
        "entries": len(known),
        "queries": len(times),
        "sqlite": sqlite3.sqlite_version,
        "search_ms": percentiles(times),
        "search_cpu_ms": percentiles(cpu_times),
        "short_search_ms": percentiles(short_ms),
        "common_search_ms": percentiles(common_ms),
        "hit_at_1": hits[1] / len(asked),
        "hit_at_8": hits[8] / len(asked),
        "load": loads,
        "short_chinese": short,
    }
    show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n")


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the most, in the unit of `times`."""
    ordered = sorted(times)
    at = {
        name: ordered[int(share * (len(ordered) - 1))]
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    return {**at, "max": ordered[-1]}


def show(figures: dict) -> None:
    """The table."""
    print(
        f"{figures['entries']} entries, {figures['queries']} questions, SQLite {figures['sqlite']}"
    )
    for name in ("search_ms", "search_cpu_ms", "short_search_ms", "common_search_ms"):
        print(f"{name:18}", "  ".join(f"{k} {v:.2f}" for k, v in figures[name].items()))
    print(f"right entry first {figures['hit_at_1']:.1%}, among eight {figures['hit_at_8']:.1%}")
    for name, load in figures["load"].items():
        print(f"load, {name:18} {load['ms']:8.1f} ms  {load['report']}")
    print(f"{'query':8} {'entries':>8} {'recall':>8} {'precision':>10} {'trigram recall':>15}")
    for row in figures["short_chinese"]:
        print(
            f"{row['query']:8} {row['entries']:8} {row['recall']:8.1%} {row['precision']:10.1%} "
            f"{row['trigram_recall']:15.1%}"
        )


if __name__ == "__main__":
    main()
