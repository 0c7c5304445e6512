"""Small talk as people type it, alone and around a customer's questions, for training only.

To the topics of the tables it adds those of `sentences/more_talk.txt`, each with one reply.
What needs knowledge that nobody gave is answered as where notes do not say it.
It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

from .chat import Conversation, Turn
from .shop import LANGUAGES, expand
from .talk import TOPICS, talk_turn
from .wording import FOLDER, entries

FACES = " :)", " 🙂", " 😊", " 👍", " 🙏", " haha", "!!"
FACES_ZH = " 🙂", " 😊", " 👍", " 🙏", "~", "哈哈", "！！"
MORE_SHARE = 0.35  # of the turns of small talk alone are of topics that only training has
BEFORE, BETWEEN, AFTER, LEAVING = 0.15, 0.05, 0.15, 0.08


@cache
def more(lang: int) -> dict[str, tuple[tuple[str, ...], str]]:
    """The topics that only training has: what is said, and the reply."""
    asks: dict[str, tuple[str, ...]] = {}
    replies: dict[str, str] = {}
    for heading, mark, sentence in entries((FOLDER / "more_talk.txt").read_text("utf-8")):
        name, topic = heading.split(".")
        if name != LANGUAGES[lang]:
            continue
        if mark == "+":
            replies[topic] = sentence
        else:
            asks[topic] = (*asks.get(topic, ()), sentence)
    return {topic: (asks[topic], reply) for topic, reply in replies.items()}


def typed(rng: random.Random, lang: int, text: str) -> str:
    """The text as it is typed in a chat: no capitals, no full stop, a face at the end."""
    if rng.random() < 0.2 and not lang:
        text = text.lower()
    if rng.random() < 0.2:
        text = text.rstrip("?？。.!！")
    elif lang and rng.random() < 0.15:
        text = text.replace("？", "?").replace("，", ",").replace("！", "!")
    if rng.random() < 0.06 and text[-1].isalpha():
        text += rng.choice(FACES_ZH if lang else FACES)
    return text


def chat_turn(rng: random.Random, lang: int, topic: str) -> Turn:
    """A topic of the tables or of training alone, as it is typed."""
    if topic in TOPICS:
        turn = talk_turn(rng, lang, topic)
    else:
        asks, reply = more(lang)[topic]
        turn = Turn("talk", lang, expand(rng, rng.choice(asks)), reply, anything_of=(reply,))
    return replace(turn, question=typed(rng, lang, turn.question))


def chatter(rng: random.Random, lang: int) -> Conversation:
    """One to four turns of small talk; it begins with a greeting and ends with a goodbye if any."""
    topics: list[str] = []
    for _ in range(rng.randint(1, 4)):
        pool = tuple(more(lang)) if rng.random() < MORE_SHARE else TOPICS
        topics.append(rng.choice([topic for topic in pool if topic not in topics]))
    topics.sort(key=lambda topic: {"greet": 0, "bye": 2}.get(topic, 1))
    return Conversation("", [chat_turn(rng, lang, topic) for topic in topics])


def mannered(rng: random.Random, chat: Conversation | None) -> Conversation | None:
    """A customer's conversation, with a greeting before, thanks after, a word in between."""
    if not chat or not chat.turns:
        return chat
    turns = list(chat.turns)
    first, last = turns[0].lang, turns[-1].lang
    if len(turns) > 1 and rng.random() < BETWEEN:
        at = rng.randint(1, len(turns) - 1)
        topic = rng.choice(("praise", "wrong", "wait", "thanks"))
        turns.insert(at, chat_turn(rng, turns[at].lang, topic))
    if rng.random() < BEFORE:
        turns.insert(0, chat_turn(rng, first, rng.choice(("greet", "greet", "greet", "how"))))
    if rng.random() < AFTER:
        turns.append(chat_turn(rng, last, rng.choice(("thanks", "thanks", "praise"))))
    if rng.random() < LEAVING:
        turns.append(chat_turn(rng, last, "bye"))
    return Conversation(chat.system, turns)
