"""Landing: where a text may end well, in Chinese and English.

It must not know tokens, time or models: text in, positions out.
"""

from __future__ import annotations

import re

_FULL = "。！？…｡"  # end a sentence wherever they stand
_CLOSERS = re.escape("”’」』】》〉）)]}\"'*_~`")
_ENDER = re.compile(rf"(?P<marks>[{_FULL}.!?]+)[{_CLOSERS}]*")
_LINE_ITEM = re.compile(
    r"^[ \t]*(?:[-*+•]|\d+[.)、])[ \t]*\S(?:.*[^\s:：,，、;；])?[ \t]*(?=\n)", re.MULTILINE
)
_LIST_MARK = re.compile(r"[ \t]*(?:\d+|[A-Za-z])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|no|nos|fig|figs|eq|al|approx|dept|inc|ltd|co"
    r"|corp|vol|pp|ca|cf|e\.g|i\.e|a\.m|p\.m|u\.s|ph\.d|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct"
    r"|nov|dec|[A-Za-z])$",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)


def last_end(text: str) -> int:
    """Length of the longest prefix of `text` that ends well; 0 if there is none.

    Good ends: the end of a sentence, of a list item's line, of a code block. A point after a digit
    at the very end is not trusted: the rest of a decimal may be missing.

    >>> last_end("It costs 3.5 dollars. Please pay")
    21
    """
    fences = [match.start() for match in _FENCE.finditer(text)]
    closed = 0
    if len(fences) % 2:  # an open code block: end before it
        text = text[: fences.pop()].rstrip() + "\n"
    if fences:
        closed = text.find("\n", fences[-1])
        closed = len(text) if closed < 0 else closed
    ends = [match.end() for match in _ENDER.finditer(text, closed) if _ends_sentence(text, match)]
    ends += [match.end() for match in _LINE_ITEM.finditer(text, closed)]
    return max(ends, default=closed)


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    marks, start, following = match["marks"], match.start(), text[match.end() : match.end() + 1]
    if any(mark in _FULL for mark in marks):
        return True
    if following and not following.isspace() and following.isascii():
        return False  # a decimal, a file name, an address
    if marks != ".":
        return True
    if _LIST_MARK.fullmatch(text, text.rfind("\n", 0, start) + 1, start):
        return False  # "1." opens an item
    if not following and text[start - 1 : start].isdigit():
        return False
    return _ABBREVIATION.search(text, max(0, start - 8), start) is None


def ends_well(text: str) -> bool:
    """Whether a growing text may stop exactly here (white space at its end aside).

    >>> ends_well("好的。"), ends_well("It is 3."), ends_well("Mr.")
    (True, False, False)
    """
    text = text.rstrip()
    return bool(text) and last_end(text) == len(text)


def trim_to_sentence(text: str) -> tuple[str, bool]:
    """The text up to its last good end, and whether there was one (else the text is unchanged).

    >>> trim_to_sentence("First. Second sent")
    ('First.', True)
    """
    end = last_end(text)
    return (text[:end], True) if end else (text, False)
