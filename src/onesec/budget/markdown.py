"""Markdown: the blocks of a growing text, and where each of them may end.

It knows the forms in which models write: paragraphs, lists, headings, tables, code fences, emphasis
and code inside a line. It must not know JSON, tokens or time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from .enders import sentence_ends

_FENCE = re.compile(r"[ \t>]*(?:[-*+]|\d+[.)])?[ \t]*(?P<mark>`{3,}|~{3,})(?P<info>[^\n]*)")
_HEADING = re.compile(r"[ \t>]*#{1,6}(?:[ \t]|$)")
_UNDERLINE = re.compile(r"[ \t]*(?:=+|-{2,})[ \t]*")
_ITEM = re.compile(
    r"[ \t>]*(?:[-*+–](?=[ \t])|[•·①-⑳]|\d+[.)](?=[ \t]|[^\x00-\x7f])"
    r"|[(（]?(?:\d+|[一二三四五六七八九十]+)[）、．])[ \t]*"
)
_BROKEN_OFF = re.compile(r"[:：,，、;；]\W*\Z")  # a line that announces more
_ROW = re.compile(r"[ \t>]*\|")
_DELIMITER = re.compile(r"[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_PIPE = re.compile(r"(?<!\\)\|")
_MARKS = "*_~`$"
_RUN = re.compile(r"\\.|`+|\$\$|~~|\*{1,3}|_{1,3}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code block: its mark, its info word, where its content begins, and the line that
    would close it."""

    mark: str
    info: str
    content: int
    closing: str


@dataclass(slots=True)
class Page:
    """A text's blocks. `ends` are the offsets where it may end, rising; `fence` is the code block
    that is open at its end; `open_ends` are sentence ends inside emphasis or code that is open
    there, with the marks that close it."""

    ends: list[int] = field(default_factory=list)
    fence: Fence | None = None
    open_ends: list[tuple[int, str]] = field(default_factory=list)


def read(text: str) -> Page:
    """The blocks of a text, which may break off anywhere.

    >>> read("Look:\\n```py\\nx = 1\\n```\\nDone. **Well").ends
    [23, 29]
    """
    page = Page()
    begin = 0  # of the paragraph or list item
    table = ""  # "": none; "head": a first row; "body": its delimiter was seen
    cells = 0
    previous = 0
    for start, end in _lines(text):
        line, before, previous = text[start:end], previous, start
        if page.fence is not None:
            _inside_fence(text, page, start, end)
            begin = end + 1
            continue
        fence = _FENCE.fullmatch(line)
        if fence and not (fence["mark"][0] == "`" and "`" in fence["info"]):
            _paragraph(text, page, begin, start)
            indent = re.sub("[^ \t>]", " ", line[: fence.start("mark")])
            page.fence = Fence(
                fence["mark"], fence["info"].strip(), end + 1, indent + fence["mark"]
            )
            begin, table = end + 1, ""
        elif "|" in line and not table and begin < start and _DELIMITER.fullmatch(line):
            _paragraph(text, page, begin, before)  # a table without pipes at its edges
            begin, table, cells = end + 1, "body", len(_PIPE.findall(line))
        elif _ROW.match(line) or (table and "|" in line):
            _paragraph(text, page, begin, start)
            begin = end + 1
            pipes = _PIPE.findall(line)
            if table == "body":
                whole = line.rstrip().endswith("|") and len(pipes) == cells
                if whole or end < len(text):
                    page.ends.append(start + len(line.rstrip()))
            elif table == "head" and _DELIMITER.fullmatch(line):
                table, cells = "body", len(pipes)
            else:
                table = "head"
        elif _HEADING.match(line) or (_UNDERLINE.fullmatch(line) and begin < start):
            _paragraph(text, page, begin, start if _HEADING.match(line) else begin)
            begin, table = end + 1, ""
        elif not line.strip() and end == len(text):
            pass  # the last line's break: its paragraph may go on
        elif not line.strip() or _ITEM.match(line):
            _paragraph(text, page, begin, start)
            begin, table = start, ""
        else:
            table = ""
    if page.fence is None:
        page.open_ends = _paragraph(text, page, begin, len(text))
    page.ends.sort()
    return page


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, end
        start = end + 1


def _inside_fence(text: str, page: Page, start: int, end: int) -> None:
    fence = page.fence
    assert fence is not None
    mark = text[start:end].strip(" \t>")
    if len(mark) >= len(fence.mark) and not mark.strip(fence.mark[0]):
        page.ends.append(start + len(text[start:end].rstrip()))
        page.fence = None


def _paragraph(text: str, page: Page, start: int, end: int) -> list[tuple[int, str]]:
    """Add the ends of a paragraph or list item; returns those inside marks that are open at its
    end, with what closes these."""
    if start >= end:
        return []
    spans, left = _marked(text, start, end)
    open_at = left[0][0] if left else end + 1
    ends = list(sentence_ends(text, start, end))
    item = _ITEM.match(text, start, end)
    if item:  # an item is an end once its line is over
        whole = text[start:end].rstrip()
        over = "\n" in text[start + len(whole) : end] and start + len(whole) > item.end()
        if over and not _BROKEN_OFF.search(whole):
            ends.append(start + len(whole))
    starts = [a for a, _ in spans]
    openers = {*starts, *(at for at, _ in left)}
    last = left[-1][0] + len(left[-1][1]) if left else end
    closing = "".join(mark for _, mark in reversed(left))
    inner: list[tuple[int, str]] = []
    for found in ends:
        at = _before_openers(text, found, openers)
        index = bisect_right(starts, at - 1) - 1
        inside = index >= 0 and at < spans[index][1]
        if not inside and at <= open_at:
            page.ends.append(at)
        elif found > last:
            part = _half_mark(text, found, left[-1][1]) if found == end else 0
            inner.append((found, closing[part:]))
    return inner


def _half_mark(text: str, end: int, mark: str) -> int:
    """How many characters of a closing mark are written already, where it is not complete."""
    count = end - len(text[:end].rstrip(mark[0]))
    return count if count < len(mark) else 0


def _before_openers(text: str, at: int, openers: set[int]) -> int:
    """An end without the marks behind it that open what follows ("好。**然后")."""
    first = at
    while first > 0 and text[first - 1] in _MARKS:
        first -= 1
    return min((p for p in range(first, at) if p in openers), default=at)


def _marked(text: str, start: int, end: int) -> tuple[list[tuple[int, int]], list[tuple[int, str]]]:
    """The outermost spans of emphasis and code in text[start:end], and the runs that are open at
    its end, with their positions (CommonMark's rules, where models meet them)."""
    spans: list[tuple[int, int]] = []
    stack: list[tuple[int, str]] = []
    item = _ITEM.match(text, start, end)
    for match in _RUN.finditer(text, item.end() if item else start, end):
        run, at = match[0], match.start()
        if run[0] == "\\":
            continue
        literal = next((i for i, (_, mark) in enumerate(stack) if mark[0] in "`$"), None)
        if literal is not None:  # inside code nothing else counts
            if stack[literal][1] == run:
                _close(spans, stack, literal, match.end())
            continue
        if run[0] in "`$":
            stack.append((at, run))
            continue
        before, after = text[max(start, at - 1) : at], text[match.end() : min(match.end() + 1, end)]
        word = run[0] == "_" and before.isalnum()
        same = next((i for i in range(len(stack) - 1, -1, -1) if stack[i][1] == run), None)
        if same is not None and before and not before.isspace():
            if not (run[0] == "_" and after.isalnum()):
                _close(spans, stack, same, match.end())
        elif after and not after.isspace() and not word and not (before and before.isalnum()):
            stack.append((at, run))
    return spans, stack


def _close(
    spans: list[tuple[int, int]], stack: list[tuple[int, str]], index: int, end: int
) -> None:
    begin = stack[index][0]
    del stack[index:]
    while spans and spans[-1][0] > begin:
        spans.pop()
    spans.append((begin, end))
