"""cues: what a prompt's text tells of how long its answer will be, as plain values.

Only the beginning and the end of the last message are looked at, so that a long text costs no more
than a short one. It must not know models, and judges nothing: a wrong guess costs a little
foresight and no answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from onesec.apps.target import Target
from onesec.core.cues import Cues

_LOOK = 200  # characters at either end
_HEAD, _TAIL = 80, 40  # characters in which a task is named
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_TRANSLATE = re.compile(r"translat|翻译|译成|译为|in(?:to)? (?:english|chinese)\b")
_SUMMARIZE = re.compile(r"summar|tl;?dr|概括|总结|摘要|概述")
_ASK = re.compile(r"\b(?:who|what|when|where|which|why|how)\b|[吗呢几哪谁]|什么|多少|怎么|如何")
_WORDS: Mapping[str, Mapping[str, float]] = {  # of one, about
    "sentences": {"han": 30, "": 20},
    "words": {"han": 1, "": 1},
    "characters": {"han": 1, "": 1 / 6},
}


def cues(text: str, *, source_tokens: int, app: str = "") -> Cues:
    """The cues of a request whose last message is `text`, of about `source_tokens` tokens.

    >>> cues("Summarize in at most 40 words: …", source_tokens=9).target_words
    40
    >>> cues("早上好，译成英语", source_tokens=6).task
    'translation'
    """
    ends = text if len(text) <= 2 * _LOOK else f"{text[:_LOOK]}\n{text[-_LOOK:]}"
    han, letters = sum(map(len, _HAN.findall(ends))), sum(map(str.isalpha, ends))
    share = han / letters if letters else 0.0
    script = "" if not letters else "han" if share > 0.5 else "mixed" if share > 0.05 else "latin"
    target = Target.said(ends)
    words = 0
    if target is not None:
        words = round(target.count * _WORDS[target.unit]["han" if script == "han" else ""])
    return Cues(
        app=app,
        task=_task(ends.lower()),
        script=script,
        target_words=words,
        source_tokens=source_tokens,
    )


def _task(ends: str) -> str:
    named = ends if len(ends) <= _HEAD + _TAIL else f"{ends[:_HEAD]}\n{ends[-_TAIL:]}"
    if _TRANSLATE.search(named):
        return "translation"
    if _SUMMARIZE.search(named):
        return "summary"
    last = ends[-120:]
    return "question" if "?" in last or "？" in last or _ASK.search(last) else ""
