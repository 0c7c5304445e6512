"""Metrics: how good answers, translations and summaries are, beside what they should have been.

All are in [0, 1], 1 is best. chrF and ROUGE-L come from sacrebleu and rouge-score, which the extra
`evaluation` installs; the others need nothing. It must not know where texts come from.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from onesec.core.errors import InvalidRequest

from .text import words

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalized(text: str) -> str:
    """The text as it is compared: one width, small letters, no punctuation, no articles.

    >>> normalized("The price is ￥45.00！"), normalized("一共４５元。")
    ('price is 45.00', '一 共 45 元')
    """
    return " ".join(_tokens(text))


def _tokens(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return words(_ARTICLE.sub(" ", plain))


def exact_match(reply: str, right: str | Sequence[str]) -> float:
    """1 where the reply is one of the right answers, spelling aside.

    >>> exact_match("The  red kettle.", "red kettle"), exact_match("红色", ["红色。", "红的"])
    (1.0, 1.0)
    """
    answers = [right] if isinstance(right, str) else right
    return float(any(_tokens(reply) == _tokens(answer) for answer in answers))


def f1(reply: str, right: str | Sequence[str]) -> float:
    """Overlap of words (characters in Chinese) with the nearest right answer.

    >>> round(f1("It costs 45 dollars", "45 dollars"), 2)
    0.67
    """
    answers = [right] if isinstance(right, str) else right
    return max((_f1(_tokens(reply), _tokens(answer)) for answer in answers), default=0.0)


def _f1(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2.0 * shared / (len(found) + len(wanted))


def fact_coverage(reply: str, facts: Iterable[str]) -> float:
    """Share of the facts that the reply states; a fact's spellings are separated by "|". Whole
    words count: 5 is not in 15.

    >>> fact_coverage("Open till 6 pm, closed on Sunday.", ["6 pm|18:00", "Sunday", "Monday"])
    0.6666666666666666
    """
    text = f" {normalized(reply)} "
    given = [[normalized(spelling) for spelling in fact.split("|")] for fact in facts]
    hits = sum(any(f" {one} " in text for one in spellings if one) for spellings in given)
    return hits / len(given) if given else 1.0


def chrf(replies: Sequence[str], right: Sequence[str]) -> float:
    """chrF of a corpus of translations (sacrebleu's, characters up to 6, beta 2).

    Raises InvalidRequest without the extra `evaluation`, or where the counts differ.
    """
    _check(replies, right)
    return float(_extra("sacrebleu").corpus_chrf(list(replies), [list(right)]).score) / 100.0


def check_chrf() -> None:
    """Raises InvalidRequest where chrF cannot be computed, before any reply is waited for."""
    _extra("sacrebleu")


def sentence_chrf(reply: str, right: str) -> float:
    """chrF of one translation (sacrebleu's). Raises InvalidRequest without the extra `evaluation`.

    >>> sentence_chrf("the cat", "the cat")  # doctest: +SKIP
    1.0
    """
    return min(1.0, float(_extra("sacrebleu").sentence_chrf(reply, [right]).score) / 100.0)


def rouge_l(replies: Sequence[str], right: Sequence[str]) -> float:
    """Mean ROUGE-L F of summaries, over words and Chinese characters (rouge-score's).

    Raises InvalidRequest without the extra `evaluation`, or where the counts differ.
    """
    _check(replies, right)
    scorer = _extra("rouge_score.rouge_scorer").RougeScorer(["rougeL"], tokenizer=_Tokens())
    scores = [
        scorer.score(wanted, reply)["rougeL"].fmeasure
        for reply, wanted in zip(replies, right, strict=True)
    ]
    return float(sum(scores) / len(scores))


class _Tokens:
    """rouge-score's tokenizer interface over this module's tokens (its own drops Chinese)."""

    def tokenize(self, text: str) -> list[str]:
        return _tokens(text)


def _check(replies: Sequence[str], right: Sequence[str]) -> None:
    if len(replies) != len(right) or not replies:
        raise InvalidRequest(f"{len(replies)} replies to {len(right)} references.")


def _extra(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise InvalidRequest(
            f"{module.partition('.')[0]} is not installed.",
            hint="Install it: pip install 'onesec[evaluation]' (in a checkout: '.[evaluation]').",
        ) from None
