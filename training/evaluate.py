"""Asks a model the held-out examination and counts right answers, per skill and language.

The model is a training folder (torch, weights rounded to bfloat16) or anything that the engine
runs (an exported folder at 8 bit, an artifact, `onesec-mini`). It must not know how questions are
made, how replies are judged, or how the model was trained.

    python -m training.evaluate --model DIR/onesec-mini --out FILE
    python -m training.evaluate --run DIR/run --tokenizer DIR/data/tokenizer.json --out FILE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onesec.apps.judge import facts_missing, invented, is_right
from onesec.apps.metrics import check_chrf, sentence_chrf
from onesec.compress.scores import average, wilson

from .shop import LANGUAGES
from .suite import SKILLS, make_suite

LIMIT = 160  # tokens of a reply
Item = Mapping[str, Any]
Reply = tuple[str, bool]  # the text, and whether it ended by itself


def torch_replies(items: Sequence[Item], run: Path, tokenizer_file: Path) -> list[Reply]:
    """Greedy replies of a training folder's model."""
    import torch
    from tokenizers import Tokenizer

    from .export import load_run
    from .model import generate
    from .tokenizer import END, prompt_text

    torch.set_num_threads(2)
    model = load_run(run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    prompts = [tokenizer.encode(prompt_text(item["messages"])).ids for item in items]
    end = tokenizer.token_to_id(END)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    replies: list[Reply] = [("", False)] * len(prompts)
    for first in range(0, len(order), 64):
        indices = order[first : first + 64]
        with torch.autocast("cpu", torch.bfloat16, enabled=False):
            found = generate(model, [prompts[i] for i in indices], end, LIMIT)
        for index, tokens in zip(indices, found, strict=True):
            ended = tokens[-1] == end
            replies[index] = (tokenizer.decode(tokens[:-1] if ended else tokens), ended)
    return replies


def engine_replies(items: Sequence[Item], model: str, gear: str | None) -> list[Reply]:
    """Greedy replies of a model that the engine runs."""
    from onesec import LLM

    replies: list[Reply] = []
    with LLM(model) as llm:
        for item in items:
            made = llm.chat(item["messages"], gear=gear, max_tokens=LIMIT, temperature=0.0)
            replies.append((made.text, made.ending == "natural"))
    return replies


def judge(items: Sequence[Item], replies: Sequence[Reply]) -> list[dict[str, Any]]:
    """Each item with its reply and what it scored."""
    found = []
    for item, (reply, ended) in zip(items, replies, strict=True):
        entry = {**item, "reply": reply, "ended": ended, "right": is_right(item, reply, ended)}
        if item["metric"] == "chrf":
            entry["chrf"] = 100 * sentence_chrf(reply, item["answer"])
            entry["right"] = reply.strip() == item["answer"]
        if item["skill"] == "summarize":
            entry["complete"] = ended and not facts_missing(item, reply)
            entry["clean"] = not invented(item, reply)
        found.append(entry)
    return found


def share(entries: Sequence[Mapping[str, Any]], key: str = "right") -> str:
    """A share with its Wilson interval, as text."""
    right = sum(bool(entry[key]) for entry in entries)
    low, high = wilson(right, len(entries))
    return f"{100 * right / len(entries):.1f} [{100 * low:.0f}–{100 * high:.0f}]"


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table: a line a measure, a column a language and wording."""
    columns = [(lang, wording) for lang in LANGUAGES for wording in ("known", "new")]
    lines = ["| % right | " + " | ".join(f"{a}, {b} wording" for a, b in columns) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    measures = [(skill, "right") for skill in SKILLS if skill != "translate"]
    measures += [("summarize", "complete"), ("summarize", "clean")]
    measures += [("translate", "chrf"), ("translate", "right")]
    for skill, key in measures:
        cells = []
        for lang, wording in columns:
            cell = [
                e
                for e in entries
                if (e["skill"], e["language"], e["wording"]) == (skill, lang, wording)
            ]
            if not cell:
                cells.append("")
            elif key == "chrf":
                score = average([e["chrf"] / 100 for e in cell])
                low, high = 100 * score.low, 100 * score.high
                cells.append(f"{100 * score.value:.1f} [{low:.0f}–{high:.0f}] ({len(cell)})")
            else:
                cells.append(f"{share(cell, key)} ({len(cell)})")
        label = skill if key == "right" else f"{skill}: {key}"
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def kinds_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The same by kind of question, both wordings together."""
    lines = ["| kind | en | zh |", "|---|---|---|"]
    for skill, kind in dict.fromkeys((e["skill"], e["kind"]) for e in entries):
        cells = []
        for lang in LANGUAGES:
            cell = [
                e for e in entries if (e["skill"], e["kind"], e["language"]) == (skill, kind, lang)
            ]
            cells.append(f"{share(cell)} ({len(cell)})" if cell else "")
        lines.append(f"| {skill}: {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="what the engine runs; or else --run and --tokenizer")
    parser.add_argument("--gear", help="the engine's gear (default: the best)")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--per-skill", type=int, default=200)
    args = parser.parse_args()
    check_chrf()
    items = list(make_suite(args.per_skill, args.seed))
    if args.model:
        replies = engine_replies(items, args.model, args.gear)
    elif args.run and args.tokenizer:
        replies = torch_replies(items, args.run, args.tokenizer)
    else:
        parser.error("--model, or --run with --tokenizer")
    entries = judge(items, replies)
    text = f"{table(entries)}\n\n{kinds_table(entries)}\n"
    wrong = [entry for entry in entries if not entry["right"]]
    report = {"tables": text, "wrong": wrong}
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
