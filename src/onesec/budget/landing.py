"""Landing: where an answer may end well, and what closes it there, whatever form it takes.

Prose and Markdown (`markdown`), code fences, JSON (`json_end`). It must not know tokens, time or
models: text in, ends out.
"""

from __future__ import annotations

from . import markdown
from .json_end import End, JsonScan

_LINES = 8  # of code, that tell how long the next one is

__all__ = ["End", "Landing", "ends_well", "last_end", "trim_to_sentence"]


def last_end(text: str) -> int:
    """Length of the longest prefix of `text` that ends well by itself; 0 if there is none.

    Good ends: the end of a sentence, of a list item, of a table's row, of a code block, of a JSON
    value. Not inside emphasis, code or a heading.

    >>> last_end("It costs 3.5 dollars. Please pay")
    21
    """
    return _followed(text).last_end()


def ends_well(text: str) -> bool:
    """Whether a growing text may stop exactly here (white space at its end aside).

    >>> ends_well("好的。"), ends_well("It is 3."), ends_well("Mr.")
    (True, False, False)
    """
    stripped = text.rstrip()
    return bool(stripped) and last_end(text) >= len(stripped)


def trim_to_sentence(text: str) -> tuple[str, bool]:
    """The text up to its last good end, and whether there was one (else the text is unchanged).

    >>> trim_to_sentence("First. Second sent")
    ('First.', True)
    """
    end = last_end(text)
    return (text[:end], True) if end else (text, False)


class Landing:
    """Follows an answer's text and knows how it may end. `json`: it is known to be a JSON text.

    >>> answer = Landing()
    >>> answer.push('{"city": "Par')
    >>> answer.end()
    End(keep=13, closing='"}')
    """

    def __init__(self, *, json: bool = False) -> None:
        self.text = ""
        self._known = json
        self._json = JsonScan()  # of the whole text
        self._base = 0  # what stands before it is read; it has its last end at
        self._earlier = 0
        self._page: markdown.Page | None = None  # of what follows
        self._end = 0  # the last one, where the page was read
        self._fenced: tuple[int, JsonScan] | None = None  # of an open JSON fence: where it begins

    def push(self, piece: str) -> None:
        """Take in more text."""
        self.text += piece
        self._json.push(piece)
        self._page = None

    def last_end(self) -> int:
        """Length of the longest prefix that ends well by itself; 0 if there is none."""
        if self._is_json:
            return self._json.stable if self._json.done else 0
        self._read()
        return self._end

    def end(self, floor: int = 0) -> End | None:
        """The best End that keeps at least `floor` characters; None where there is none.

        The longest one of: a good end by itself, the same inside emphasis that is closed, a line's
        end in a code block that is closed, JSON that is closed.
        """
        if self._is_json:
            return self._json.end(floor)
        page = self._read()
        at = self._end
        ends = [End(max(at, floor))] if 0 < at >= self._visible(floor) else []
        ends += [
            End(self._base + at, marks)
            for at, marks in page.open_ends[-1:]
            if self._base + at >= floor
        ]
        if page.fence is not None:
            ends += self._end_fence(page.fence, floor)
        return max(ends, key=lambda end: end.keep, default=None)

    def settled(self) -> End | None:
        """The End right here where nothing is broken off: all that is missing are closing marks.
        None in the middle of a sentence, a line of code, a value."""
        if self._is_json:
            return self._json.settled()
        fence = self._read().fence
        if fence is not None and (scan := self._scan_fence(fence)) is not None:
            end = scan.settled()
            return None if end is None else _in_fence(fence, self._content(fence), end)
        return self.end(len(self.text))

    @property
    def stride(self) -> int:
        """Characters to the next end that closing text makes good, as far as the text tells: the
        longest of the last lines of code; 0 elsewhere."""
        fence = None if self._is_json else self._read().fence
        if fence is None:
            return 0
        return max(map(len, self.text[self._content(fence) :].split("\n")[-_LINES:]))

    def held(self) -> int:
        """Characters that may be shown while it is about to end: what follows is left out where
        it is not completed."""
        return self._json.stable if self._is_json and not self._json.in_string else len(self.text)

    @property
    def _is_json(self) -> bool:
        return self._known or (self._json.ok and self.text.lstrip()[:1] in ("{", "["))

    def _read(self) -> markdown.Page:
        """The blocks of the text from `_base` on, which moves along with finished paragraphs."""
        if self._page is None:
            page = markdown.read(self.text[self._base :])
            if page.settled:
                done = page.last_end(page.settled)
                self._earlier = self._base + done if done else self._earlier
                self._base += page.settled
                page = markdown.read(self.text[self._base :])
            self._page = page
            end = page.last_end()
            self._end = self._base + end if end else self._earlier
        return self._page

    def _content(self, fence: markdown.Fence) -> int:
        """Where an open code block's content begins."""
        return self._base + fence.content

    def _visible(self, floor: int) -> int:
        """The floor, but for white space before it."""
        return len(self.text[:floor].rstrip())

    def _scan_fence(self, fence: markdown.Fence) -> JsonScan | None:
        """The scan of an open fence's content, where it is JSON."""
        if not fence.info.lower().startswith("json"):
            return None
        if self._fenced is None or self._fenced[0] != self._content(fence):
            self._fenced = (self._content(fence), JsonScan())
        scan = self._fenced[1]
        scan.push(self.text[self._content(fence) + len(scan.text) :])
        return scan if scan.ok and scan.text.strip() else None

    def _end_fence(self, fence: markdown.Fence, floor: int) -> list[End]:
        scan = self._scan_fence(fence)
        if scan is not None:
            end = scan.end(max(0, floor - self._content(fence)))
            return [] if end is None else [_in_fence(fence, self._content(fence), end)]
        content = self._content(fence)
        at = self.text.rfind("\n", content) + 1
        if not self.text[content:at].strip() or at < floor:
            return []
        return [End(at, fence.closing)]


def _in_fence(fence: markdown.Fence, content: int, end: End) -> End:
    return End(content + end.keep, f"{end.closing}\n{fence.closing}")


def _followed(text: str) -> Landing:
    landing = Landing()
    landing.push(text)
    return landing
