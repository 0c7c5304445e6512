"""Text of two languages: which one it is, where its sentences end, which terms it holds.

Pure functions of strings, linear in their length. It must not know models, prompts or time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]

_SAMPLE = 4000  # characters that tell the language of a long text
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAN_RUN = re.compile(f"[{_HAN}]+")
_LATIN_WORD = re.compile("[A-Za-z\u00c0-\u024f]+(?:['’][a-z]+)?")
_UNBROKEN = re.compile(f"[^\\s{_HAN}]+")
_WORDS_PER_HAN = 0.6  # an English word says about as much as 1.7 Chinese characters

_FULL = "。！？…｡"  # end a sentence wherever they stand
_CLOSERS = re.escape("”’」』】》〉）)]}\"'")
# It begins with a set, which re looks for five times faster than for alternatives. A run of Latin
# marks is tried from its first mark only: a long one costs its length once.
_END = re.compile(
    rf"[{_FULL}.!?\n](?:(?<=[{_FULL}])[{_FULL}]*+[{_CLOSERS}]*+"
    rf"|(?<=[.!?])(?<![.!?][.!?])[.!?]*+[{_CLOSERS}]*+(?=\s|\Z)|(?<=\n)\s*+)"
)
_NOT_IN_A_WORD = r"(?<![A-Za-z\u00c0-\u024f\d.-])"
_ABBREVIATION = re.compile(
    _NOT_IN_A_WORD + r"(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|fig|eq|al|approx|dept|inc|ltd|co|corp|vol"
    r"|pp|ca|cf|e\.g|i\.e|a\.m|p\.m|u\.s|ph\.d|(?-i:[A-Z]))$",
    re.IGNORECASE,
)
# Words that are abbreviations before a number ("no. 5"), or in the midst of a sentence ("the no. of
# guests"), and may end a sentence elsewhere.
_NUMBERED = re.compile(
    _NOT_IN_A_WORD + r"(?:nos?|nr|p|ch|chap|secs?|para|figs|eqs|vols|ver|tel|ext|min|max|jan|feb"
    r"|mar|apr|jun|jul|aug|sept?|oct|nov|dec|(?-i:Art|Tab|App|Ex))$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"[^\S\n]{1,3}[\da-z]")
_SURE = _FULL + "!?" + "”」』"
_OPENERS = dict(zip("”」』）】》", "“「『（【《", strict=True))

_SPACES = re.compile(r"\s*+")
# Everything but white space, control characters, and those that only join, hide or turn others.
_VISIBLE = re.compile(
    "[^\\s\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_OTHER_LETTERS = re.compile(rf"[^\W\d_A-Za-z\u00aa-\u024f{_HAN}]")

_WORD = f"[^\\W_{_HAN}]+"
_TERM = re.compile(f"(?P<han>[{_HAN}]+)|{_WORD}(?:(?:(?<=\\d)[.,:](?=\\d)|['’-]){_WORD})*")
_STOP_WORDS = """
a an the and or of to in on at for from by with is are was were be been am do does did has have had
can could will would shall should may might must it its this that these those i you he she we they
me my your our his her them us what which who whom whose when where why how not no yes please if as
so there here about any some all
"""
_STOP_HAN = re.compile("[的了吗呢吧啊是我你您他她它们在有和与或就都也很请问这那个么什怎哪谁几]")


def language(text: str) -> Language:
    """The language of a text by its script; names in Latin letters do not make a text English, nor
    do addresses of pages and people.

    >>> language("我想退 iPhone 15 Pro"), language("Where is 订单 4821?"), language("")
    ('zh', 'en', 'en')
    """
    sample = text[:_SAMPLE]
    if _is_address(sample):
        sample = _UNBROKEN.sub(lambda run: " " if _is_address(run[0]) else run[0], sample)
    han = sum(len(run) for run in _HAN_RUN.findall(sample))
    words = _LATIN_WORD.findall(sample)
    first = bool(words) and sample.lstrip().startswith(words[0]) and words[0][1:].islower()
    plain = sum(word.islower() for word in words) + (first and not words[0].islower())
    return "zh" if han and han * _WORDS_PER_HAN > plain else "en"


def _is_address(text: str) -> bool:
    return "://" in text or "@" in text


def is_blank(text: str) -> bool:
    """Whether a text has nothing to be seen: white space, control and zero-width characters only.

    >>> is_blank(" \\u200b\\n"), is_blank("🙂")
    (True, False)
    """
    return _VISIBLE.search(text) is None


def other_script(text: str) -> bool:
    """Whether most letters of a text are neither Latin nor Chinese: it is in another language.

    >>> other_script("Где мой заказ?"), other_script("Where is Иван?")
    (True, False)
    """
    sample = text[:_SAMPLE]
    return 2 * len(_OTHER_LETTERS.findall(sample)) > sum(map(str.isalpha, sample))


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text: `start` and `end` are character offsets into it."""

    start: int
    end: int
    text: str


def sentences(text: str, *, longest: int = 1000) -> Iterator[Span]:
    """The sentences of a text, without the white space around them; a line end ends one too,
    unless the next line goes on in small letters. What is longer than `longest` characters is cut,
    between words where there are any.

    >>> [s.text for s in sentences("It costs 3.5 dollars. Mr. Li paid.\\n好的。谢谢！")]
    ['It costs 3.5 dollars.', 'Mr. Li paid.', '好的。', '谢谢！']
    """
    start = 0
    for match in _END.finditer(text):
        if _is_end(text, start, match):
            yield from _cut(text, start, match.end(), longest)
            start = match.end()
    yield from _cut(text, start, len(text), longest)


def sentence_break(text: str, start: int, low: int, high: int) -> int:
    """Where a piece of text that begins at `start` may end: at the first sentence end from `low` to
    `high`, else at the last one before, else between words before `high`, else there.

    >>> sentence_break("One two. Three four. Five six.", 0, 5, 22)
    8
    """
    last = start
    for begin, end in ((low - 8, high), (low - 256, low), (start, low)):
        for match in _END.finditer(text, max(start, begin), min(len(text), end + 1)):
            line = text.rfind("\n", start, match.start()) + 1
            if match.end() <= end and _is_end(text, max(start, line), match):
                last = match.end()
                if last >= low:
                    return last
        if last > start:
            return last
    space = text.rfind(" ", start, high) + 1
    return space if space > start else high


def after_space(text: str, start: int, end: int) -> int:
    """The first place from `start` to `end` where there is no white space."""
    match = _SPACES.match(text, start, end)
    return match.end() if match else start


def is_abbreviation(text: str, start: int, point: int) -> bool:
    """Whether the point at `point`, in a sentence that begins at `start`, is that of an
    abbreviation in its midst.

    >>> is_abbreviation("See p. 5", 0, 5), is_abbreviation("Is it free? No. It costs 5", 12, 14)
    (True, False)
    """
    near = max(start, point - 8)
    if _ABBREVIATION.search(text, near, point):
        return True
    return bool(_GOES_ON.match(text, point + 1) and _NUMBERED.search(text, near, point))


def _is_end(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match[0]
    if mark[0] in _FULL or mark[0] in "!?":
        return True
    if mark[0] == ".":
        if match.start() - start < 4:
            word = text[start : match.start()].strip()
            if word.isdigit():
                return False  # "1." opens an item
        return not is_abbreviation(text, start, match.start())
    following = text[match.end() : match.end() + 1]
    return mark.count("\n") > 1 or not (following.islower() and following.isascii())


def _cut(text: str, start: int, end: int, longest: int) -> Iterator[Span]:
    start = after_space(text, start, end)
    while end - start > longest:
        space = text.rfind(" ", start, start + longest) + 1
        cut = space if space > start else start + longest
        yield Span(start, cut, text[start:cut])
        start = cut
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield Span(start, end, text[start:end])


class SentenceStream:
    """Sentences out of text that arrives in pieces, each as soon as it is complete; their offsets
    count from the beginning of it all.

    A Latin point counts once white space follows it (the rest of 3.5 may be on its way), but not
    that of "Mr.", and that of "No." once no number follows; Chinese marks and ! ? count at once,
    unless a quotation is still open.

    >>> stream = SentenceStream()
    >>> [[s.text for s in stream.push(piece)] for piece in ("It is 3.", "5 m. 好。再")]
    [[], ['It is 3.5 m.', '好。']]
    >>> stream.flush()
    [Span(start=15, end=16, text='再')]
    """

    def __init__(self, *, longest: int = 1000) -> None:
        self._longest = longest
        self._rest = ""
        self._offset = 0  # of _rest in the whole text

    def push(self, text: str) -> list[Span]:
        """Take in a piece of text; the sentences that it completed."""
        self._rest += text
        found = list(sentences(self._rest, longest=self._longest))
        behind = self._rest[found[-1].end :] if found else ""
        # So much white space ends a sentence too: it must not be kept, and read again, for ever.
        if found and len(behind) <= self._longest and not _complete(found[-1].text, behind):
            found.pop()
        blank = after_space(self._rest, 0, len(self._rest))
        return self._take(found, found[-1].end if found else blank)

    def flush(self) -> list[Span]:
        """What is left when the text is over."""
        return self._take(list(sentences(self._rest, longest=self._longest)), len(self._rest))

    def _take(self, found: list[Span], end: int) -> list[Span]:
        moved = [Span(self._offset + s.start, self._offset + s.end, s.text) for s in found]
        self._rest = self._rest[end:]
        self._offset += end
        return moved


def _complete(sentence: str, behind: str) -> bool:
    """Whether the last sentence so far is over, given the white space that has come after it:
    whatever comes next is another one."""
    if _open_quote(sentence):
        return False
    following = [f"{sentence}{behind}{next_one}" for next_one in "A1"]  # No. A, but No. 1
    return sentence[-1] in _SURE or all(
        len(list(sentences(text, longest=len(text)))) > 1 for text in following
    )


def _open_quote(text: str) -> bool:
    return any(text.count(opener) > text.count(closer) for closer, opener in _OPENERS.items())


def terms(text: str) -> list[str]:
    """What a text is about, in its order: words in small letters without plural endings, numbers,
    and Chinese in pairs of characters (a lone character stands for itself).

    >>> terms("The refunds take 3.5 days"), terms("退货运费")
    (['the', 'refund', 'take', '3.5', 'day'], ['退货', '货运', '运费'])
    """
    found: list[str] = []
    for match in _TERM.finditer(text.lower()):
        word = match[0]
        if match["han"] is None:
            found.append(_stem(word))
        elif len(word) == 1:
            found.append(word)
        else:
            found += [word[i : i + 2] for i in range(len(word) - 1)]
    return found


def _stem(word: str) -> str:
    word = word.removesuffix("'s").removesuffix("’s")
    if not word.isalpha() or not word.isascii() or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


_STOP = frozenset(map(_stem, _STOP_WORDS.split()))


def telling_terms(text: str) -> list[str]:
    """The terms of a text without the words that every text has.

    >>> telling_terms("How long is the delivery?"), telling_terms("你们的运费是多少？")
    (['long', 'delivery'], ['运费', '多少'])
    """
    return [
        term
        for term in terms(text)
        if term not in _STOP and not (_HAN_RUN.match(term) and _STOP_HAN.search(term))
    ]


def words(text: str) -> list[str]:
    """The words of a text as they stand, each Chinese character by itself.

    >>> words("Free: 3.5 kg"), words("满99元")
    (['Free', '3.5', 'kg'], ['满', '99', '元'])
    """
    found: list[str] = []
    for match in _TERM.finditer(text):
        found += [match[0]] if match["han"] is None else match[0]
    return found


def one_line(text: str) -> str:
    """The text with every run of white space as one space.

    >>> one_line(" a\\n\\tb ")
    'a b'
    """
    return " ".join(text.split())


def without_blank_lines(text: str) -> str:
    """The text without blank lines, so that a blank line can stand between texts.

    >>> without_blank_lines("a\\n \\n\\nb\\n")
    'a\\nb'
    """
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
