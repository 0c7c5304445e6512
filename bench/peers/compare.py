#!/usr/bin/env python3
"""OneSec beside its peers, in one run.

Every round starts each engine once, in turn (A B C A B C ...), so that a slow spell of the machine
meets all of them.

    python compare.py WORK --shapes qwen0.5b --rounds 3 --out result.json

WORK is the folder that setup.sh filled. OneSec's command prints a JSON object with the keys of
workload.py, at least one of them. Several variants: --onesec int4="onesec bench ..." --onesec
int8="..."; {shape} and {threads} are filled in. --onesec none leaves OneSec out. README.md says
more.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import engines
import machine
import tables
import workload

KEYS = {key for key, *_ in tables.COLUMNS}


def numbers(out: str) -> dict[str, float]:
    """The numbers among a program's output: a JSON object as the whole of it or as one line."""
    for text in [out, *reversed(out.splitlines())]:
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and KEYS & found.keys():
            return {k: float(found[k]) for k in KEYS & found.keys() if found[k] is not None}
    return {}


def repeat(name: str, shape: str, places: engines.Places, limit: float, nice: int) -> tables.Row:
    """One repeat of one engine."""
    env = {"HF_HUB_OFFLINE": "1", "PEER_THREADS": str(places.threads)}
    done = machine.run(engines.command(name, shape, places), env, limit, nice)
    row: tables.Row = {"shape": shape, "engine": name, **numbers(done.out)}
    row |= {"others": round(done.others, 3), "stolen": round(done.stolen, 3)}
    if done.code or not KEYS & row.keys():
        row["error"] = f"exit {done.code}: {(done.err.strip() or done.out.strip())[-400:]}"
    return row


def variants(given: list[str] | None) -> dict[str, str]:
    """--onesec NAME=COMMAND ... as a mapping."""
    if given == ["none"]:
        return {}
    named = [item.split("=", 1) if "=" in item else ["default", item] for item in given or []]
    return dict(named) or engines.ONESEC


def main() -> None:
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("work", type=Path)
    ap.add_argument("--shapes", default="qwen0.5b,llama1b,smol135m")
    ap.add_argument("--peers", default=",".join(engines.DEFAULT), help="comma between, or empty")
    ap.add_argument("--onesec", action="append", metavar="[NAME=]COMMAND")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--metrics", default=",".join(workload.METRICS), help="comma between")
    ap.add_argument("--limit", type=float, default=600, help="seconds for one repeat")
    ap.add_argument("--nice", type=int, default=0, help="of every engine; below 0 needs root")
    ap.add_argument("--out", type=Path, help="JSON file with machine, settings and all rows")
    args = ap.parse_args()

    onesec = variants(args.onesec)
    places = engines.Places(args.work.resolve(), args.threads, args.metrics, onesec)
    shapes = args.shapes.split(",")
    names = [f"onesec/{n}" for n in onesec] + [p for p in args.peers.split(",") if p]
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": engines.versions(names, places),
        "settings": {
            "threads": args.threads,
            "rounds": args.rounds,
            "metrics": args.metrics,
            "nice": args.nice,
            "onesec": onesec,
        },
        "rows": [],
    }
    rows: list[tables.Row] = result["rows"]
    for shape in shapes:
        for round_ in range(args.rounds):
            for name in names:
                row = {"round": round_} | repeat(name, shape, places, args.limit, args.nice)
                rows.append(row)
                print(json.dumps(row), flush=True)
                if args.out:
                    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + json.dumps(result["machine"]) + "\n\n" + tables.report(rows, shapes, names))


if __name__ == "__main__":
    main()
