"""Asks a trained model held-out questions and counts exact answers, per skill and language.

Shops, names, numbers and (in `new wording`) phrasings are ones that training never saw. An answer
is right when it holds every required value, no number that it was not entitled to, nothing
forbidden, and ends by itself. It must not know how the model was trained.

    python -m training.evaluate --run DIR --tokenizer FILE --out FILE
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from .export import load_run
from .model import LanguageModel, generate
from .shop import LANGUAGES
from .tokenizer import END, prompt_text
from .world import Conversation, Turn, examination

NUMBER = re.compile(r"\d+")
REFUSAL = re.compile(
    r"sorry|do not|don't|cannot|no information|only (a|help)"
    r"|抱歉|不好意思|没有|不清楚|不能|帮不上|查不到",
    re.IGNORECASE,
)
REFUSING = {"unknown", "unknown_product", "unknown_order", "off_topic"}


def contains(text: str, value: str) -> bool:
    """Whether the value stands in the text, not as a part of a longer number or word."""
    before = r"(?<![\dA-Za-z.,])" if value[:1].isascii() and value[:1].isalnum() else ""
    after = r"(?![\dA-Za-z]|[.,]\d)" if value[-1:].isascii() and value[-1:].isalnum() else ""
    return re.search(before + re.escape(value) + after, text, re.IGNORECASE) is not None


def is_right(turn: Turn, reply: str, ended: bool) -> bool:
    """Whether a reply answers the turn."""
    if not ended:
        return False
    if turn.anything_of:
        return reply in turn.anything_of
    entitled = set(NUMBER.findall(" ".join((turn.question, turn.answer, *turn.required))))
    if set(NUMBER.findall(reply)) - entitled:
        return False
    if any(contains(reply, word) for word in turn.forbidden):
        return False
    if turn.skill in REFUSING and not REFUSAL.search(reply):
        return False
    if REFUSAL.search(reply) and not REFUSAL.search(turn.answer):
        return False
    return all(any(contains(reply, v) for v in r.split("|")) for r in turn.required)


def interval(right: int, count: int) -> float:
    """Half the width of the 95 % interval of a share (Agresti-Coull)."""
    n = count + 4
    p = (right + 2) / n
    return 1.96 * math.sqrt(p * (1 - p) / n)


def answer_all(
    model: LanguageModel, tokenizer: Tokenizer, chats: Sequence[Conversation]
) -> list[tuple[str, bool]]:
    """The model's reply to the last question of each conversation, and whether it ended."""
    prompts = [tokenizer.encode(prompt_text(chat.messages()[:-1])).ids for chat in chats]
    end = tokenizer.token_to_id(END)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    replies: list[tuple[str, bool]] = [("", False)] * len(prompts)
    for first in range(0, len(order), 64):
        indices = order[first : first + 64]
        found = generate(model, [prompts[i] for i in indices], end, 96)
        for index, tokens in zip(indices, found, strict=True):
            ended = tokens[-1] == end
            replies[index] = (tokenizer.decode(tokens[:-1] if ended else tokens), ended)
    return replies


def examine(
    model: LanguageModel, tokenizer: Tokenizer, seed: int, per_skill: int
) -> dict[str, object]:
    """Results of the three examinations, with samples of what went wrong."""
    exams = {
        "known wording": examination(seed, per_skill, False),
        "new wording": examination(seed + 1, per_skill, True),
        "other language than the facts": examination(seed + 2, per_skill // 2, False, True),
    }
    results: dict[str, object] = {}
    for name, questions in exams.items():
        replies = answer_all(model, tokenizer, [chat for _, chat in questions])
        counts: dict[str, list[int]] = {}
        wrong: list[dict[str, str]] = []
        for (skill, chat), (reply, ended) in zip(questions, replies, strict=True):
            turn = chat.turns[-1]
            right = is_right(turn, reply, ended)
            cell = counts.setdefault(f"{skill}/{LANGUAGES[turn.lang]}", [0, 0])
            cell[0] += right
            cell[1] += 1
            if not right:
                wrong.append(
                    {
                        "skill": f"{skill}/{LANGUAGES[turn.lang]}",
                        "system": chat.system,
                        "question": turn.question,
                        "expected": turn.answer,
                        "reply": reply,
                    }
                )
        results[name] = {"counts": counts, "wrong": wrong}
    return results


def table(counts: dict[str, list[int]]) -> str:
    """A table with a line a skill and a column a language."""
    skills = list(dict.fromkeys(key.split("/")[0] for key in counts))
    lines = [f"{'skill':<17}" + "".join(f"{lang:>22}" for lang in LANGUAGES)]
    totals = {lang: [0, 0] for lang in LANGUAGES}
    for skill in [*skills, "all"]:
        line = f"{skill:<17}"
        for lang in LANGUAGES:
            right, count = totals[lang] if skill == "all" else counts[f"{skill}/{lang}"]
            if skill != "all":
                totals[lang][0] += right
                totals[lang][1] += count
            share = f"{100 * right / count:.1f} % ± {100 * interval(right, count):.1f}"
            line += f"{share + f' ({count})':>22}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--per-skill", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(2)
    model = load_run(args.run)
    # The exported weights are bfloat16: examine those, not finer ones.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    results = examine(model, Tokenizer.from_file(str(args.tokenizer)), args.seed, args.per_skill)
    args.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for name, result in results.items():
        print(f"\n{name}\n{table(result['counts'])}")


if __name__ == "__main__":
    main()
