"""Enders: where sentences end, script by script: which marks, what closes behind them.

Pure functions of strings, linear in their length. It must not know markup, tokens or time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Marks that end a sentence wherever they stand (Unicode's Sentence_Terminal, living scripts).
MARKS = {
    "any": "…‼⁇⁈⁉",
    "Chinese and Japanese": "。！？｡",
    "Arabic": "؟۔؞",
    "Hebrew": "׃",
    "Devanagari and its neighbours": "।॥",
    "Sinhala": "෴",
    "Thai": "๚๛",
    "Khmer": "។៕",
    "Burmese": "။",
    "Tibetan": "།༎",
    "Ethiopic": "።፧፨",
    "Armenian": "։",
    "Mongolian": "᠃᠉",
    "Syriac": "܀܁܂",
    "Javanese": "꧈꧉",
    "Balinese": "᭞᭟",
    "Cham": "꩝꩞꩟",
    "Meetei": "꯫",
    "Vai": "꘎꘏",
}
_FULL = "".join(MARKS.values())
_PLAIN = ".!?‽⸮．"  # end a sentence where white space, or a script without it, follows
_GREEK = ";\u037e"  # the Greek question mark; elsewhere a semicolon
_CLOSERS = re.escape("”’»«›‹」』】》〉）〕)]}\"'*_~`")
_ENDER = re.compile(
    rf"(?P<marks>[{_FULL}{re.escape(_PLAIN)}{_GREEK}]+|፡፡)"
    # French sets its closing guillemets off by a space.
    rf"[{_CLOSERS}]*(?:[ \u00a0\u202f][»›](?=[\s,.;:]|\Z)[{_CLOSERS}]*)?"
)
# Thai and Lao write no mark: a space ends a sentence or a clause.
_SPACED = re.compile(r"[\u0e01-\u0e5b\u0e81-\u0edf](?=[ \n])")

# Scripts that write no spaces: a sentence may follow a Latin mark directly.
_DENSE = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
_GREEK_LETTER = re.compile("[\u0370-\u037d\u0386-\u03ff\u1f00-\u1fff]")
_LIST_MARK = re.compile(r"[ \t>]*(?:[-*+] +)?(?:\d+|[A-Za-z])")
# What an address, a path or a file name looks like up to its last character.
_ADDRESS = re.compile(r"(?:\S*(?:://|@)\S*|www\.\S*|/\S+|\S+/\S*)\Z")
_WORD_CHARS = 24  # the longest abbreviation with all its points, and room

_SHORTENED = """
mr mrs ms dr prof st jr sr vs no nos fig figs eq al approx dept inc ltd co corp vol pp ca cf e.g i.e
a.m p.m u.s u.k ph.d jan feb mar apr jun jul aug sep sept oct nov dec gen col rev hon
bzw z.b d.h u.a o.ä nr abs bspw evtl ggf inkl mio mrd vgl hr hrn fr str tel z.t i.d.r
m mme mm mlle p.ex av apr j.-c env
sra srta dña ud uds p.ej ee.uu pág núm aprox d
sig sigg dott ing pag es
bijv o.a d.w.z dhr mevr
np tzn ul m.in
т.е гг г ул им руб тыс стр рис см напр
π.χ κ κα δηλ
örn
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())
_OPENERS = "([{\"'“‘«„¿¡*_~`"
_INITIAL = re.compile("[A-Za-z\u00c0-\u024f\u0400-\u04ff\u0391-\u03c9]")
# "am 3. Mai": an ordinal before a month, where a point writes ordinals.
_MONTH = re.compile(
    r"\s(?:Januar|Jänner|Februar|März|Mär|April|Mai|Juni|Juli|August|September|Oktober|November"
    r"|Dezember|januar|februar|marts|april|maj|juni|juli|august|september|oktober|november"
    r"|december|[a-zà-ɏа-я])"
)


def sentence_ends(text: str, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Offsets behind the sentences of text[start:end], closing quotes and brackets included.

    A point behind a digit is not trusted before the next word: the rest of a decimal or a month
    may follow; nor is one at the end of an address.

    >>> list(sentence_ends("It costs 3.5 dollars. ¿Qué? 好的。他说"))
    [21, 27, 31]
    """
    end = len(text) if end is None else end
    at = start
    for match in _ENDER.finditer(text, start, end):
        if match.start() > at:
            yield from _spaced(text, at, match.start())
        at = match.end()
        if _ends(text, match, end):
            yield _with_low_quote(text, match, end)
    yield from _spaced(text, at, end)


def _spaced(text: str, start: int, end: int) -> Iterator[int]:
    for match in _SPACED.finditer(text, start, end):
        yield match.end()


def _with_low_quote(text: str, match: re.Match[str], end: int) -> int:
    """The end, with a “ that closes a „ (elsewhere it opens)."""
    at = match.end()
    if text[at : min(at + 1, end)] == "“" and text.rfind("„", 0, at) > text.rfind("“", 0, at):
        return at + 1
    return at


def _ends(text: str, match: re.Match[str], end: int) -> bool:
    marks, at = match["marks"], match.start()
    if any(mark in _FULL for mark in marks) or marks == "፡፡":
        return True
    following = text[match.end() : min(match.end() + 1, end)]
    if following.isalnum() and not _DENSE.match(following):
        return False  # a decimal, a file name, an address
    if following and following.isascii() and not following.isspace():
        return False
    if all(mark in _GREEK for mark in marks):
        return _GREEK_LETTER.match(text, at - 1) is not None if at else False
    if not following and _ADDRESS.search(text, max(0, at - 256), match.end()) is not None:
        return False
    if marks not in (".", "．"):
        return True
    line = text.rfind("\n", max(0, at - 256), at) + 1
    if at - line < 16 and _LIST_MARK.fullmatch(text, line, at):
        return False  # "1." opens an item
    if text[at - 1 : at].isdigit():  # not before the next word is seen
        over = text[match.end() : end].isspace() or not following
        if over or _MONTH.match(text, match.end(), end):
            return False
    word = (text[max(0, at - _WORD_CHARS) : at].split() or [""])[-1].lstrip(_OPENERS)
    return word.casefold() not in _ABBREVIATIONS and _INITIAL.fullmatch(word) is None
