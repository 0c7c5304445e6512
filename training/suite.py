"""Makes the held-out examination: questions with keys that a program can check, one a line.

Names, products and numbers are ones that training never sees; half of the questions also use
sentences that it never sees (`wording` is `new`). It must not know any model.

    python -m training.suite --out FILE --per-skill 200
    python -m training.suite --out src/onesec/assets/suites/mini.jsonl.gz     # the one that ships
    python -m training.suite --out FILE --pairs PAIRS     # general sentences, English to Chinese
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import support
from .chat import Conversation, Turn
from .data import read_pairs
from .reading import answer_conversation, summary_conversation
from .shop import LANGUAGES
from .support import MAKERS, desk_conversation, policy_conversation
from .talk import small_talk
from .translate import APP, translation
from .world import talk

DESK = ("record", "record", "record", "record_after", "need_number", "record_only")
SKILLS = ("support", "answer", "answer_none", "translate", "summarize", "talk")


def chat_for(skill: str, rng: random.Random, lang: int, new: bool) -> Conversation | None:
    """A conversation whose last turn examines the skill (None: chance made none, try again)."""
    if skill == "support":
        part = rng.random()
        if part < 0.35:
            return desk_conversation(rng, lang, True, new, rng.choice(DESK))
        if part < 0.55:
            return policy_conversation(
                rng, lang, True, new, rng.choice(("policy", "policy", "unknown"))
            )
        makers = [m for m, _ in MAKERS if m is not talk]
        weights = [w for m, w in MAKERS if m is not talk]
        only = rng.choices(makers, weights)[0]
        return support.conversation(rng, True, new, only, lang, crossing=0.0)
    if skill == "translate":
        return translation(rng, lang, True, new, turns=1, canonical=True)
    if skill == "summarize":
        return summary_conversation(rng, lang, True, new, canonical=True, turns=1)
    if skill == "talk":
        return small_talk(rng, lang, new)
    chat = answer_conversation(rng, lang, True, new, turns=1, canonical=True)
    none = chat.turns[0].skill == "answer_none"
    return chat if none == (skill == "answer_none") else None


def item(skill: str, number: int, chat: Conversation, lang: int, new: bool) -> dict[str, Any]:
    """A line of the suite: the messages up to the last question, and the key to its answer."""
    turn = chat.turns[-1]
    return {
        "id": f"{skill}-{LANGUAGES[lang]}-{number}",
        "skill": skill,
        "kind": turn.skill,
        "language": LANGUAGES[lang],
        "wording": "new" if new else "known",
        "messages": chat.messages()[:-1],
        "metric": "chrf" if skill == "translate" else "right",
        "answer": turn.answer,
        "required": list(turn.required),
        "forbidden": list(turn.forbidden),
        "exact": list(turn.anything_of),
        "grounded": bool(turn.source),
    }


def make_suite(per_skill: int, seed: int = 900) -> Iterator[dict[str, Any]]:
    """`per_skill` questions a skill and language, half of them in new wording."""
    for skill in SKILLS:
        for lang in (0, 1):
            # A string seeds equally on every machine; each cell stands by itself.
            rng = random.Random(f"{seed} {skill} {lang}")
            number = 0
            while number < per_skill:
                new = number % 2 == 1
                chat = chat_for(skill, rng, lang, new)
                if chat and chat.turns[-1].lang == lang:
                    yield item(skill, number, chat, lang, new)
                    number += 1


def general_suite(pairs: Path, count: int) -> Iterator[dict[str, Any]]:
    """`count` general sentences a language that training left out, to translate as
    `onesec.apps.translate` asks; drawn without repeats. All are new wording."""
    held = read_pairs(pairs, held=True)
    for lang in (0, 1):
        rng = random.Random(f"general {lang}")
        for number, both in enumerate(rng.sample(held, min(count, len(held)))):
            question = APP[1 - lang].format(terms="", s=both[1 - lang])
            chat = Conversation("", [Turn("translate_general", lang, question, both[lang])])
            yield item("translate", number, chat, lang, True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-skill", type=int, default=200)
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--pairs", type=Path, help="instead: held-out pairs of this file")
    args = parser.parse_args()
    if args.pairs:
        lines = general_suite(args.pairs, args.per_skill)
    else:
        lines = make_suite(args.per_skill, args.seed)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    # No time of day goes into a .gz: the same questions make the same file.
    args.out.write_bytes(gzip.compress(text, mtime=0) if args.out.suffix == ".gz" else text)


if __name__ == "__main__":
    main()
