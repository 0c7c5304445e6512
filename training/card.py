"""Writes the score table into the model card, from what `onesec evaluate --suite … --json` printed.

It must not know models or questions.

    onesec evaluate MODEL --suite SUITE --gear 4 --gear 8 --json > suite.json
    python -m training.card --card MODEL_CARD.md --suite suite.json [--general general.json]
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

MARK = "<!-- scores -->"
NAMES = {
    "support": "support: fact-exact",
    "answer": "answer: exact",
    "answer_none": "answer: says that it is not in the text",
    "translate": "translate: chrF",
    "summarize": "summarize: all facts, nothing invented",
    "talk": "small talk",
}
WORDINGS = {"known": "known wording", "new": "new wording", None: "all"}


def rows_of(report: dict[str, Any], name: str | None = None) -> list[str]:
    """Table lines, one a skill, language and wording; a column a gear: percent [95 % interval]."""
    gears = [gear["gear"] for gear in report["gears"]]
    cells: dict[tuple[str, str, str | None], dict[str, dict[str, Any]]] = {}
    for gear in report["gears"]:
        for score in gear["scores"]:
            skill, language, wording = score["skill"], score["language"], score["wording"]
            if skill is None or language is None or (name and wording):
                continue
            cells.setdefault((skill, language, wording), {})[gear["gear"]] = score
    lines = []
    for (skill, language, wording), by_gear in cells.items():
        said = [
            f"{name or NAMES[skill]}, {WORDINGS[wording]}",
            f"→ {language}" if name else language,
        ]
        said.append(str(next(iter(by_gear.values()))["count"]))
        for gear in gears:
            score = by_gear[gear]
            value, low, high = (100.0 * score[key] for key in ("value", "low", "high"))
            said.append(f"{value:.1f} [{low:.1f}, {high:.1f}]")
        lines.append("| " + " | ".join(said) + " |")
    return lines


def table(suite: dict[str, Any], general: dict[str, Any] | None) -> str:
    """The whole table in Markdown."""
    gears = [gear["gear"] for gear in suite["gears"]]
    heads = ["skill", "language", "questions", *(f"{gear} bit" for gear in gears)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows_of(suite)]
    if general is not None:
        lines += rows_of(general, "translate, general sentences (Tatoeba): chrF")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--general", type=Path)
    args = parser.parse_args()
    general = json.loads(args.general.read_text()) if args.general else None
    text = table(json.loads(args.suite.read_text()), general)
    card = args.card.read_text(encoding="utf-8")
    found = re.compile(f"{MARK}.*?{MARK}", re.S)
    if not found.search(card):
        parser.error(f"{args.card} has no place for scores: two lines {MARK}")
    args.card.write_text(
        found.sub(lambda _: f"{MARK}\n{text}\n{MARK}", card, count=1), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
