"""Index terms: how texts and questions become words of the full-text index.

SQLite's own tokenizers fail on Chinese: unicode61 takes a whole sentence for one word, and trigram
finds nothing shorter than three characters, while most Chinese words have one or two. So Chinese is
written into the index in pairs of characters, with the last one of a run by itself: a pair finds a
word of two, and a prefix finds a lone character wherever it stands. It must not know tables or
files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from onesec.apps.text import telling_terms, terms

VERSION = 1  # of the terms; an index made by another one is made anew
MOST_TERMS = 32  # of a question
_HAN_END = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff](?![\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])"
)


def index_text(text: str) -> str:
    """What is written into the index for a text.

    >>> index_text("Refunds: 退货运费")
    'refund 退货 货运 运费 费'
    """
    return " ".join([*terms(text), *_lone_ends(text)])


def query_terms(question: str) -> list[str]:
    """The terms of a question by which entries are looked for.

    >>> query_terms("What does the delivery cost?")
    ['delivery', 'cost']
    """
    return list(dict.fromkeys(telling_terms(question) or terms(question)))[:MOST_TERMS]


def match_query(wanted: Sequence[str]) -> str:
    """An FTS5 query for the texts that hold one of the terms. Whatever a term holds is plain text:
    every one is quoted.

    >>> match_query(["refund", "or", "费"])
    '"refund" OR "or" OR "费" *'
    """
    return " OR ".join(
        f'"{term}" *' if len(term) == 1 and not term.isascii() else f'"{term}"' for term in wanted
    )


def _lone_ends(text: str) -> list[str]:
    return [match[0] for match in _HAN_END.finditer(text)]
