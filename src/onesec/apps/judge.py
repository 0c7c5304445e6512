"""Judge: whether a reply is right: facts that must and must not occur, words that nobody said.

Standard library only: whoever asks the questions of a suite uses these rules. It must not know how
questions are made up, or how replies are computed.
"""

from __future__ import annotations

import re
from typing import Literal, TypedDict

NUMBER = re.compile(r"\d+")
WORD = re.compile(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+")
# Letters and digits as wide as a Chinese character, and what they are.
_WIDE = {
    ord(wide): ord(wide) - 0xFEE0 for wide in map(chr, range(0xFF10, 0xFF5B)) if wide.isalnum()
}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
EVASIONS = (
    "have that information",
    "text does not say",
    "I can only help with",
    "I cannot share",
    "I cannot handle",
    "I cannot promise",
    "没有这方面的信息",
    "文中没有提到",
    "我只能回答和商店",
    "我不能透露",
    "我不能处理",
    "我不能承诺",
)


class Message(TypedDict):
    """One turn, as OpenAI's."""

    role: str
    content: str


class Item(TypedDict):
    """A question with the key to its answer: one JSON object of a suite.

    wording    "known" to the model that was trained beside the suite, or "new"
    metric     "right": the rules of `is_right`; "chrf": likeness to `answer`
    required   facts that a right reply holds; a fact's spellings are separated by "|"
    forbidden  values that it must not hold
    exact      where not empty: the only replies that are right
    grounded   every word of it stands in the last message
    """

    id: str
    skill: str
    kind: str
    language: str
    wording: str
    messages: list[Message]
    metric: Literal["right", "chrf"]
    answer: str
    required: list[str]
    forbidden: list[str]
    exact: list[str]
    grounded: bool


def _plain(text: str) -> str:
    """Of one width, and numbers without commas."""
    return _THOUSANDS.sub("", text.translate(_WIDE))


def contains(text: str, value: str) -> bool:
    """Whether the value stands in the text, not as a part of a longer number or word.

    >>> contains("It costs $12.50.", "$12.50"), contains("It costs 125.", "12")
    (True, False)
    >>> contains("It costs $8,127.14.", "$8127.14")
    True
    """
    text, value = _plain(text), _plain(value)
    before = after = ""
    if value[:1].isascii() and value[:1].isalnum():
        before = r"(?<![\dA-Za-z.])(?<!\d[,:])"
    if value[-1:].isascii() and value[-1:].isalnum():
        after = r"(?![\dA-Za-z]|[.,:]\d)"
    return re.search(before + re.escape(value) + after, text, re.IGNORECASE) is not None


def words_of(text: str) -> set[str]:
    """Words in lower case; every Chinese character is one."""
    return {word.lower() for word in WORD.findall(_plain(text))}


def _numbers_of(text: str) -> set[str]:
    return set(NUMBER.findall(_plain(text)))


def invented(item: Item, reply: str) -> set[str]:
    """Words of a reply that stand neither in what was given nor in the right answer; of replies
    that may use words of their own, only the numbers."""
    given = " ".join(message["content"] for message in item["messages"]) + " " + item["answer"]
    if item["grounded"]:
        return (
            words_of(reply) - words_of(item["messages"][-1]["content"]) - words_of(item["answer"])
        )
    return _numbers_of(reply) - _numbers_of(given)


def facts_missing(item: Item, reply: str) -> list[str]:
    """Required facts (alternatives are separated by `|`) that a reply does not hold."""
    return [r for r in item["required"] if not any(contains(reply, v) for v in r.split("|"))]


def is_right(item: Item, reply: str, ended: bool = True) -> bool:
    """Whether a reply answers an item: one of its exact answers, or all facts and nothing wrong."""
    reply = reply.strip()
    if not ended or not reply:
        return False
    if item["exact"]:
        return reply in item["exact"]
    if any(e in reply and e not in item["answer"] for e in EVASIONS):
        return False
    if any(contains(reply, word) for word in item["forbidden"]) or invented(item, reply):
        return False
    if not item["grounded"]:
        question = item["messages"][-1]["content"]
        if _numbers_of(reply) - _numbers_of(f"{question} {item['answer']}"):
            return False
    return not facts_missing(item, reply)
