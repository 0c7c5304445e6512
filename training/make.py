"""Makes `onesec-mini` from nothing in one command: text, tokenizer, training, examination, export.

Steps that are done are not done again, and an interrupted training goes on where it stopped.
It only calls the other files; it must not know how any of them works.

    python -m training.make --out DIR [--pairs FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def run(module: str, *arguments: object) -> None:
    """Run one of this folder's modules in a process of its own."""
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    print("$", *command[1:], flush=True)
    subprocess.run(command, check=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, help="English-Chinese sentence pairs to mix in")
    parser.add_argument("--minutes", type=float, default=100.0, help="of training at most")
    parser.add_argument("--count", type=int, default=150000, help="conversations to make")
    parser.add_argument("--per-skill", type=int, default=100)
    args = parser.parse_args()
    out: Path = args.out
    data, trained, model = out / "data", out / "run", out / "onesec-mini"
    pairs = ("--pairs", args.pairs) if args.pairs else ()
    run("prepare", "--out", data, "--count", args.count, *pairs)
    run("train", "--data", data, "--out", trained, "--minutes", args.minutes)
    tokenizer = data / "tokenizer.json"
    run("export", "--run", trained, "--tokenizer", tokenizer, "--out", model)
    report = out / "evaluation.json"
    run(
        "evaluate",
        *("--run", trained, "--tokenizer", tokenizer),
        *("--out", report, "--per-skill", args.per_skill),
    )


if __name__ == "__main__":
    main()
