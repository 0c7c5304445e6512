"""Do hard tokens deserve a better gear by themselves? A suite's answers, drawn under several rules.

    python bench/second_look.py onesec-mini --limit 24 --out second_look.json

Rules: one gear throughout; `redo M`: the cheap gear draws with statistics, and where its margin
(p1 - p2) is below M the position is run again in the best gear, whose token counts; `ahead M`:
after such a token the next four are drawn in the best gear. Told for each: the score, the share of
answers that are the best gear's word by word, steps run in the best gear (share of the tokens), and
the milliseconds a token by the median steps of this run (and what is read, over the cheapest gear's
bytes). Then which signal at the cheap gear tells where the best one would disagree: here or at the
next token. `--limit` counts questions of each skill.

It must not know how the engine steers: positions are run one by one, straight through `forward`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onesec.backend.base import Batch, BatchRow, RowResult
from onesec.compress.examine import max_tokens, worth
from onesec.compress.suite import chosen, find_suite, read_suite
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams
from onesec.loading import LoadedModel, load_model

MARGINS = (0.1, 0.2, 0.4)
AHEAD_TOKENS = 4
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)


class Runner:
    """Runs one conversation's positions in any gear, and keeps the time of every step."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        backend = loaded.backend
        self.gears = {gear.name: gear for gear in backend.gears}
        self.cheap, self.best = backend.gears[0], backend.gears[-1]
        self.step_ms: dict[tuple[str, bool], list[float]] = defaultdict(list)
        self._table = np.arange(backend.num_blocks, dtype=np.int32)
        self._sampler = backend.sampler(SamplingParams(), eos_ids=())

    def prompt(self, gear: Gear, tokens: Sequence[int]) -> int:
        row = self._row(tokens, 0, statistics=False)
        found = self.loaded.backend.forward(Batch(gear, [row]))
        return found.rows[0].tokens[0]

    def step(self, gear: Gear, token: int, position: int, *, statistics: bool) -> RowResult:
        row = self._row([token], position, statistics=statistics)
        found = self.loaded.backend.forward(Batch(gear, [row], exact=True))
        self.step_ms[gear.name, statistics].append(found.step_ms[0])
        return found.rows[0]

    def _row(self, tokens: Sequence[int], start: int, *, statistics: bool) -> BatchRow:
        ids = np.array(tokens, dtype=np.int32)
        return BatchRow(ids, start, self._table, self._sampler, statistics=statistics)


def drawn(
    runner: Runner, prompt: Sequence[int], limit: int, rule: str, value: float
) -> tuple[list[int], int]:
    """An answer under a rule, and how many steps in the best gear it took."""
    cheap, best = runner.cheap, runner.best
    gear = runner.gears.get(rule, cheap)
    token, better, ahead = runner.prompt(gear, prompt), 0, 0
    tokens: list[int] = []
    while token not in runner.loaded.eos_ids and len(tokens) < limit:
        tokens.append(token)
        position = len(prompt) + len(tokens) - 1
        if rule in runner.gears:
            token = runner.step(gear, token, position, statistics=False).tokens[0]
        elif ahead:
            found = runner.step(best, token, position, statistics=True)
            better, ahead = better + 1, ahead - 1
            token = found.tokens[0]
            ahead = AHEAD_TOKENS if found.margins[0] < value else ahead
        else:
            found = runner.step(cheap, token, position, statistics=True)
            hard = found.margins[0] < value
            if hard and rule == "redo":
                better += 1
                found = runner.step(best, token, position, statistics=False)
            elif hard:
                ahead = AHEAD_TOKENS
            token = found.tokens[0]
    return tokens, better


def disagreements(
    runner: Runner, prompt: Sequence[int], limit: int
) -> tuple[list[float], list[float], list[bool]]:
    """Margins and entropies along the cheap gear's answer, and whether the best gear would have
    drawn another token from the same cache. The cheap gear's own keys and values are put back."""
    token = runner.prompt(runner.cheap, prompt)
    margins: list[float] = []
    entropies: list[float] = []
    differs: list[bool] = []
    while token not in runner.loaded.eos_ids and len(margins) < limit:
        position = len(prompt) + len(margins)
        other = runner.step(runner.best, token, position, statistics=True).tokens[0]
        found = runner.step(runner.cheap, token, position, statistics=True)
        margins.append(found.margins[0])
        entropies.append(found.entropies[0])
        differs.append(other != found.tokens[0])
        token = found.tokens[0]
    return margins, entropies, differs


def caught(signal: Sequence[float], differs: Sequence[bool]) -> dict[str, float]:
    """Share of the disagreements among the tokens with the largest signal, for each of SHARES."""
    order = np.argsort(-np.array(signal), kind="stable")
    hit = np.array(differs)[order]
    return {
        f"{share:g}": round(float(hit[: round(share * len(hit))].sum() / hit.sum()), 3)
        for share in SHARES
    }


def signals(found: list[tuple[list[float], list[float], list[bool]]]) -> dict[str, Any]:
    """How well margins and entropies, here and one token earlier, tell of disagreements."""
    here: dict[str, list[float]] = defaultdict(list)
    differs: list[bool] = []
    for margins, entropies, each in found:
        if len(each) < 2:
            continue
        differs += each[1:]
        here["margin here"] += [-m for m in margins[1:]]
        here["entropy here"] += entropies[1:]
        here["margin before"] += [-m for m in margins[:-1]]
        here["entropy before"] += entropies[:-1]
    return {
        "tokens": len(differs),
        "disagree": round(sum(differs) / len(differs), 4),
        "caught": {name: caught(values, differs) for name, values in here.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--suite", default="mini")
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    items = chosen(read_suite(find_suite(args.suite)), limit=args.limit)
    with load_model(args.model, threads=args.threads) as loaded:
        report = measure(Runner(loaded), items)
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


def measure(runner: Runner, items: Sequence[Any]) -> dict[str, Any]:
    """All rules on all items; rules take turns on each item, so that the machine is fair to all."""
    rules = [(name, 0.0) for name in runner.gears]
    rules += [(rule, margin) for margin in MARGINS for rule in ("redo", "ahead")]
    values: dict[tuple[str, float], list[float]] = defaultdict(list)
    same: dict[tuple[str, float], int] = defaultdict(int)
    tokens: dict[tuple[str, float], int] = defaultdict(int)
    better: dict[tuple[str, float], int] = defaultdict(int)
    along = []
    decode = runner.loaded.tokenizer.decode
    for item in items:
        prompt, limit = runner.loaded.render(item["messages"]), max_tokens(item)
        answers = {}
        for rule in rules:
            answers[rule], more = drawn(runner, prompt, limit, *rule)
            ended = len(answers[rule]) < limit
            values[rule].append(worth(item, decode(answers[rule]), ended=ended))
            tokens[rule] += len(answers[rule])
            better[rule] += more
        for rule in rules:
            same[rule] += answers[rule] == answers[runner.best.name, 0.0]
        along.append(disagreements(runner, prompt, limit))
    steps = {key: statistics.median(ms) for key, ms in runner.step_ms.items()}
    read = {name: runner.loaded.backend.bytes_per_token(g) for name, g in runner.gears.items()}
    cheap, best = runner.cheap.name, runner.best.name

    def told(rule: tuple[str, float]) -> dict[str, Any]:
        name, margin = rule
        share = better[rule] / tokens[rule]
        if name in runner.gears:
            ms, relative = steps[name, False], read[name] / read[cheap]
        elif name == "redo":
            ms = steps[cheap, True] + share * steps[best, False]
            relative = 1.0 + share * read[best] / read[cheap]
        else:
            ms = (1.0 - share) * steps[cheap, True] + share * steps[best, True]
            relative = 1.0 + share * (read[best] / read[cheap] - 1.0)
        return {
            "rule": name if name in runner.gears else f"{name} {margin:g}",
            "score": round(100.0 * statistics.fmean(values[rule]), 2),
            "same as best": round(same[rule] / len(items), 4),
            "better steps": round(share, 4),
            "ms a token": round(ms, 4),
            "bytes of cheapest": round(relative, 3),
        }

    return {
        "items": len(items),
        "step ms": {
            f"{n}{' statistics' if s else ''}": round(ms, 4) for (n, s), ms in steps.items()
        },
        "rules": [told(rule) for rule in rules],
        "signals": signals(along),
    }


if __name__ == "__main__":
    main()
