"""The training text: conversations of every skill and language in fixed shares.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .chat import Conversation
from .chatter import chatter, mannered
from .doings import doings_conversation
from .notes import notes_conversation
from .portraits import portrait_conversation
from .reading import answer_conversation, summary_conversation
from .support import conversation, desk_conversation, policy_conversation
from .tales import tale_conversation
from .translate import translation
from .wording import Wide
from .words import Pair

# Shares of the conversations; a translation is short and a support conversation long.
SHARES = {
    "support": 0.19,
    "desk": 0.10,
    "policy": 0.07,
    "notes": 0.10,
    "answer": 0.17,
    "doings": 0.05,
    "tales": 0.06,
    "portraits": 0.06,
    "summarize": 0.09,
    "translate": 0.085,
    "talk": 0.025,
}


def one(rng: random.Random, skill: str, lang: int, general: Sequence[Pair]) -> Conversation | None:
    """A conversation for training (None where chance made one that has nothing to say)."""
    if skill == "support":
        return mannered(rng, conversation(rng, lang=lang))
    if skill == "desk":
        return mannered(rng, desk_conversation(rng, lang))
    if skill == "policy":
        return mannered(rng, policy_conversation(rng, lang))
    if skill == "notes":
        return mannered(rng, notes_conversation(rng, lang))
    if skill == "answer":
        return answer_conversation(rng, lang, drill=True)
    if skill == "doings":
        return doings_conversation(rng, lang)
    if skill == "tales":
        return tale_conversation(rng, lang)
    if skill == "portraits":
        return portrait_conversation(rng, lang)
    if skill == "summarize":
        return summary_conversation(rng, lang)
    if skill == "translate":
        return translation(rng, lang, general=general)
    return chatter(rng, lang)


def training_conversations(
    seed: int | str, count: int, general: Sequence[Pair] = ()
) -> list[Conversation]:
    """`count` conversations, the same for the same seed."""
    rng = Wide(seed)
    skills, shares = list(SHARES), list(SHARES.values())
    found: list[Conversation] = []
    while len(found) < count:
        skill = rng.choices(skills, shares)[0]
        if chat := one(rng, skill, rng.randrange(2), general):
            found.append(chat)
    return found
