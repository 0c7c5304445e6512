"""Small talk without any shop: greetings, thanks, and what the assistant is.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random

from .chat import Conversation, Turn
from .reading import choose
from .shop import PHRASES, expand, expansions

WHO = (
    "I'm OneSec mini, a small assistant. I can answer customers, translate, read and summarize.",
    "我是OneSec mini，一个小助手。我会回答顾客、翻译、阅读和概括。",
)
HELP = (
    "I can answer questions from notes, translate between English and Chinese, "
    "and summarize texts.",
    "我可以根据资料回答问题、翻译中文和英文、概括文章。",
)
TOPICS = ("greet", "how", "thanks", "bye", "who", "robot", "help", "language")


def talk_turn(rng: random.Random, lang: int, topic: str, new: bool = False) -> Turn:
    """One of the topics, and what is said to it."""
    table = PHRASES[lang].TALK[topic]
    said = {"who": (WHO[lang],), "robot": (WHO[lang],), "help": (HELP[lang],)}.get(topic)
    replies = said or table["reply"]
    right = tuple(sorted({text for reply in replies for text in expansions(reply)}))
    asked = expand(rng, choose(rng, table["ask"], new))
    reply = expand(rng, rng.choice(replies))
    return Turn("talk", lang, asked, reply, anything_of=right)


def small_talk(rng: random.Random, lang: int, new: bool = False) -> Conversation:
    """One to three turns of small talk."""
    topics = rng.sample(TOPICS, rng.randint(1, 3))
    return Conversation("", [talk_turn(rng, lang, topic, new) for topic in topics])
