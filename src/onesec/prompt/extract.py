"""extract: of long texts, the sentences that speak of the question, in their order.

It must not know tokens or templates: whether something fits is asked of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onesec.apps.rank import rank

from .pieces import OMISSION, Mark, ends_that_ask, omit, pieces_of
from .template import Message

_LONG = 400  # characters; shorter texts are left as they are
_LONGEST = 200  # characters of a sentence; longer ones are cut between words
_SHORTEST = 2 * len(OMISSION) + 2  # so that a sentence more never makes a text shorter
Fits = Callable[[Sequence[Message]], bool]


def extract(
    messages: list[Message], fits: Fits, *, hurry: Callable[[], bool] = lambda: False
) -> tuple[list[Message], list[list[Mark]]]:
    """The messages with as many sentences of their long texts as fit, the longest text first; and
    the omissions in each of them. Where even the fewest do not fit, these are given.

    Kept in any case are a text's first sentence, and of the last user message what its beginning
    and its end ask. `hurry` is asked between tries: when it says so, what fits so far is taken.
    """
    asked = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=-1)
    texts = {i: text for i, m in enumerate(messages) if isinstance(text := m.get("content"), str)}
    question = _question(texts.get(asked, ""))
    marks: list[list[Mark]] = [[] for _ in messages]
    for index in sorted(texts, key=lambda i: (-len(texts[i]), i)):
        if len(texts[index]) <= _LONG:
            break
        text = _Text(texts[index], question, asked=index == asked, hurry=hurry)
        shortened = text.most(messages, index, fits, hurry)
        messages, marks[index] = shortened.messages, shortened.marks
        if shortened.fits:
            break
    return messages, marks


class _Shortened:
    """Messages with one text shortened: whether they fit, and the omissions in it."""

    def __init__(self, messages: list[Message], marks: list[Mark], fits: bool) -> None:
        self.messages, self.marks, self.fits = messages, marks, fits


class _Text:
    """A text's sentences: those that stay, and the order in which the others are wanted."""

    def __init__(self, text: str, question: str, *, asked: bool, hurry: Callable[[], bool]) -> None:
        self.pieces = pieces_of(text, _LONGEST, shortest=_SHORTEST)
        self.stay = _staying(self.pieces, asked)
        order = [i for i, _ in rank(question, self.pieces, enough=hurry)[0]]
        known = set(order)
        order += [i for i in range(len(self.pieces)) if i not in known]
        self.order = [i for i in order if i not in self.stay]

    def most(
        self, messages: list[Message], index: int, fits: Fits, hurry: Callable[[], bool]
    ) -> _Shortened:
        """With as many of the wanted sentences as fit."""

        def tried(count: int) -> _Shortened:
            text, marks = self._with(count)
            made: Message = {**messages[index], "content": text}
            some = [*messages[:index], made, *messages[index + 1 :]]
            return _Shortened(some, marks, fits(some))

        best = tried(0)
        low, high = 0, len(self.order)  # `low` fits, `high` does not
        # Steps that double find the neighbourhood; texts far too long are not tried first.
        step = 1
        while best.fits and high - low > 1 and not hurry():
            middle = min(low + step, (low + high + 1) // 2)
            attempt = tried(middle)
            if attempt.fits:
                best, low, step = attempt, middle, 2 * step
            else:
                high, step = middle, high
        return best

    def _with(self, count: int) -> tuple[str, list[Mark]]:
        """The text with `count` wanted sentences, and the omissions in it."""
        result, last, marks = "", -1, list[Mark]()
        for i in sorted(self.stay | set(self.order[:count])):
            if i != last + 1:
                result, mark = omit(result)
                marks.append(mark)
            result += self.pieces[i]
            last = i
        if last + 1 < len(self.pieces):
            result, mark = omit(result, last=True)
            marks.append(mark)
        return result, marks


def _staying(pieces: Sequence[str], asked: bool) -> set[int]:
    """The sentences that are kept in any case."""
    head, tail = ends_that_ask(pieces) if asked else (1, 0)
    return {*range(head), *range(len(pieces) - tail, len(pieces))}


def _question(text: str) -> str:
    """What is asked, of a message that may hold more than that."""
    if len(text) <= _LONG:
        return text
    pieces = pieces_of(text, _LONGEST, shortest=_SHORTEST)
    return " ".join(pieces[i] for i in sorted(_staying(pieces, True)))
