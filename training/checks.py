"""Judges replies: exact answers, facts that must and must not occur, words that nobody said.

Standard library only, so that any runner of the suite can use it. It must not know how questions
are made up, or how replies are computed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

NUMBER = re.compile(r"\d+")
WORD = re.compile(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+")
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
Item = Mapping[str, Any]


def contains(text: str, value: str) -> bool:
    """Whether the value stands in the text, not as a part of a longer number or word.

    >>> contains("It costs $12.50.", "$12.50"), contains("It costs 125.", "12")
    (True, False)
    """
    before = r"(?<![\dA-Za-z.,])" if value[:1].isascii() and value[:1].isalnum() else ""
    after = r"(?![\dA-Za-z]|[.,]\d)" if value[-1:].isascii() and value[-1:].isalnum() else ""
    return re.search(before + re.escape(value) + after, text, re.IGNORECASE) is not None


def words_of(text: str) -> set[str]:
    """Words in lower case; every Chinese character is one."""
    return {word.lower() for word in WORD.findall(text)}


def invented(item: Item, reply: str) -> set[str]:
    """Words of a reply that stand neither in what was given nor in the right answer; of replies
    that may use words of their own, only the numbers."""
    given = " ".join(message["content"] for message in item["messages"]) + " " + item["answer"]
    if item["grounded"]:
        return (
            words_of(reply) - words_of(item["messages"][-1]["content"]) - words_of(item["answer"])
        )
    return set(NUMBER.findall(reply)) - set(NUMBER.findall(given))


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
        entitled = set(NUMBER.findall(" ".join((question, item["answer"]))))
        if set(NUMBER.findall(reply)) - entitled:
            return False
    return not facts_missing(item, reply)


def chrf(reply: str, reference: str, order: int = 6, beta: float = 2.0) -> float:
    """The character n-gram F-score of a reply, 0 to 100 (chrF, without white space).

    >>> round(chrf("the cat", "the cat")), round(chrf("dog", "the cat"))
    (100, 0)
    """
    ours, theirs = "".join(reply.split()), "".join(reference.split())
    scores: list[float] = []
    for n in range(1, order + 1):
        a = Counter(ours[i : i + n] for i in range(len(ours) - n + 1))
        b = Counter(theirs[i : i + n] for i in range(len(theirs) - n + 1))
        if not b:
            break
        common = sum((a & b).values())
        if not common:
            scores.append(0.0)
            continue
        precision, recall = common / sum(a.values()), common / sum(b.values())
        scores.append((1 + beta**2) * precision * recall / (beta**2 * precision + recall))
    return 100 * sum(scores) / len(scores) if scores else 0.0


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share.

    >>> [round(x, 3) for x in wilson(90, 100)]
    [0.826, 0.945]
    """
    if not count:
        return 0.0, 1.0
    z = 1.959964
    share = right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """A mean and half the width of its 95 % interval."""
    mean = sum(values) / len(values)
    spread = sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)
    return mean, 1.96 * math.sqrt(spread / len(values))
