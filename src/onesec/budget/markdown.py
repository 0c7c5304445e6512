"""Markdown: the blocks of a growing text, and where each of them may end.

It knows the forms in which models write: paragraphs, lists, headings, tables, code fences, emphasis
and code inside a line. It must not know JSON, tokens or time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
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
_TAIL = 512  # characters of a paragraph
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
    """A text's blocks.

    parts       paragraphs and list items, as offsets
    lines       ends of finished rows and code blocks, rising
    fence       the code block that is open at its end
    open_ends   the last sentence end inside emphasis that is open there, with what closes it
    settled     what stands before it is read alike whatever follows
    """

    text: str
    parts: list[tuple[int, int]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    fence: Fence | None = None
    open_ends: list[tuple[int, str]] = field(default_factory=list)
    settled: int = 0

    def last_end(self, limit: int | None = None) -> int:
        """The last offset (of those up to `limit`) where the text may end; 0: nowhere."""
        limit = len(self.text) if limit is None else limit
        last = max((end for end in self.lines if end <= limit), default=0)
        for start, end in reversed(self.parts):
            if end <= last:
                break
            ends = _paragraph(self.text, start, end)[0] if end <= limit else []
            if ends:
                return max(last, ends[-1])
        return last


def read(text: str) -> Page:
    """The blocks of a text, which may break off anywhere.

    >>> read("Look:\\n```py\\nx = 1\\n```\\nDone. **Well").last_end()
    27
    """
    page = Page(text)
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
            _part(page, begin, start)
            indent = re.sub("[^ \t>]", " ", line[: fence.start("mark")])
            page.fence = Fence(
                fence["mark"], fence["info"].strip(), end + 1, indent + fence["mark"]
            )
            begin, table = end + 1, ""
        elif "|" in line and not table and text[begin:start].strip() and _DELIMITER.fullmatch(line):
            _part(page, begin, before)  # a table without pipes at its edges
            begin, table, cells = end + 1, "body", len(_PIPE.findall(line))
        elif _ROW.match(line) or (table and "|" in line):
            _part(page, begin, start)
            begin = end + 1
            pipes = _PIPE.findall(line)
            if table == "body":
                whole = line.rstrip().endswith("|") and len(pipes) == cells
                if whole or end < len(text):
                    page.lines.append(start + len(line.rstrip()))
            elif table == "head" and _DELIMITER.fullmatch(line):
                table, cells = "body", len(pipes)
            else:
                table = "head"
        elif _HEADING.match(line) or (_UNDERLINE.fullmatch(line) and begin < start):
            _part(page, begin, start if _HEADING.match(line) else begin)
            begin, table = end + 1, ""
        elif not line.strip() and end == len(text):
            pass  # the last line's break: its paragraph may go on
        elif not line.strip() or _ITEM.match(line):
            _part(page, begin, start)
            begin, table = start, ""
            if not line.strip():
                page.settled = end + 1
        else:
            table = ""
    if page.fence is None:
        _part(page, begin, len(text))
        page.open_ends = _paragraph(text, begin, len(text))[1] if begin < len(text) else []
    return page


def _part(page: Page, start: int, end: int) -> None:
    if start < end:
        page.parts.append((start, end))


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
        page.lines.append(start + len(text[start:end].rstrip()))
        page.fence = None


def _paragraph(text: str, start: int, end: int) -> tuple[list[int], list[tuple[int, str]]]:
    """Where a paragraph or list item may end (rising, the last one among them); and its ends
    inside marks that are open at its end, with what closes these."""
    marked = _marked(text, start, end)
    line: list[int] = []
    item = _ITEM.match(text, start, end)
    if item:  # an item is an end once its line is over
        whole = text[start:end].rstrip()
        over = "\n" in text[start + len(whole) : end] and start + len(whole) > item.end()
        if over and not _BROKEN_OFF.search(whole):
            ends = _outside(text, [start + len(whole)], end, marked)[0]
            line = [at for at in ends if text[item.end() : at].strip(_MARKS)]  # marks are no item
    # The last end is what counts: a long paragraph is searched from its tail.
    outside, inside = _outside(text, sentence_ends(text, max(start, end - _TAIL), end), end, marked)
    if not outside and end - start > _TAIL:
        outside, inside = _outside(text, sentence_ends(text, start, end), end, marked)
    # Marks that stand together may be read in another way than they were meant.
    inside = [(at, marks) for at, marks in inside[-1:] if _all_closed(text[start:at] + marks)]
    return sorted([*outside, *line]), inside


def _all_closed(paragraph: str) -> bool:
    return not _marked(paragraph, 0, len(paragraph))[1]


def _outside(
    text: str,
    ends: Iterable[int],
    end: int,
    marked: tuple[list[tuple[int, int]], list[tuple[int, str]]],
) -> tuple[list[int], list[tuple[int, str]]]:
    """Those ends of a paragraph that stand in no marks, and those that stand in emphasis which is
    open at its end, with what closes it."""
    spans, left = marked
    open_at = left[0][0] if left else end + 1
    starts = [a for a, _ in spans]
    openers = {*starts, *(at for at, _ in left)}
    last = left[-1][0] + len(left[-1][1]) if left else end
    closing = "".join(mark for _, mark in reversed(left))
    emphasis = not set(closing) & set("`$")  # code that is broken off is not closed
    outside: list[int] = []
    inside: list[tuple[int, str]] = []
    for found in ends:
        at = _before_openers(text, found, openers)
        index = bisect_right(starts, at - 1) - 1
        if index >= 0 and at < spans[index][1]:
            continue  # inside marks that are closed behind it
        if at <= open_at:
            outside.append(at)
        elif found > last and emphasis:
            part = _half_mark(text, found, left[-1][1]) if found == end else 0
            inside.append((found, closing[part:]))
    return outside, inside


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
        opened = _opened(stack, run)
        if opened is not None and before and not before.isspace():
            if not (run[0] == "_" and after.isalnum()):
                _close(spans, stack, opened, match.end())
        elif after and not after.isspace() and not word and not (before and before.isalnum()):
            stack.append((at, run))
    return spans, stack


def _opened(stack: list[tuple[int, str]], run: str) -> int | None:
    """The open run that this one would close: the last one like it; or the first of the last ones
    that are of its mark and together as long ("**a *b***")."""
    for i in range(len(stack) - 1, -1, -1):
        if stack[i][1] == run:
            return i
    count = 0
    for i in range(len(stack) - 1, -1, -1):
        mark = stack[i][1]
        count += len(mark)
        if mark[0] != run[0] or count > len(run):
            return None
        if count == len(run):
            return i
    return None


def _close(
    spans: list[tuple[int, int]], stack: list[tuple[int, str]], index: int, end: int
) -> None:
    begin = stack[index][0]
    del stack[index:]
    while spans and spans[-1][0] > begin:
        spans.pop()
    spans.append((begin, end))
