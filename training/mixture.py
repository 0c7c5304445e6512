"""The training text: conversations of every skill and language in fixed shares.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .chat import Conversation
from .doings import doings_conversation
from .portraits import portrait_conversation
from .reading import answer_conversation, summary_conversation
from .support import conversation, desk_conversation, policy_conversation
from .tales import tale_conversation
from .talk import small_talk
from .translate import translation
from .wording import Wide
from .words import Pair

# Shares of the conversations; a translation is short and a support conversation long.
SHARES = {
    "support": 0.22,
    "desk": 0.11,
    "policy": 0.07,
    "answer": 0.18,
    "doings": 0.06,
    "tales": 0.07,
    "portraits": 0.07,
    "summarize": 0.11,
    "translate": 0.09,
    "talk": 0.02,
}


def one(rng: random.Random, skill: str, lang: int, general: Sequence[Pair]) -> Conversation | None:
    """A conversation for training (None where chance made one that has nothing to say)."""
    if skill == "support":
        return conversation(rng, lang=lang)
    if skill == "desk":
        return desk_conversation(rng, lang)
    if skill == "policy":
        return policy_conversation(rng, lang)
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
    return small_talk(rng, lang)


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
