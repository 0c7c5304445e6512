"""fit: preprocess until the prompt is complete and fits: clean, render, count, shorten, again.

What is dropped is reported, never hidden; without the caller's leave nothing is dropped at all.
It must not know tokenizers or templates: both come in as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from onesec.core.errors import ContextLengthExceeded, EmptyPrompt, InvalidRequest
from onesec.core.fitted import FitReport, Fitting

from .clean import clean
from .extract import extract
from .pieces import Mark, ends_that_ask, omit, pieces_of
from .template import MAX_PARTS, Message

BYTES_PER_TOKEN = 16  # a text with more bytes a token than this is shortened without counting it
LONGEST_PIECE = 200  # characters; longer sentences are cut between words
_SAMPLE = 2000  # characters by which a text is estimated that is too long to be counted


@dataclass(frozen=True, slots=True)
class Fitted:
    """The prompt as it goes to the model: rendered `text`, its tokens, the messages it was made
    from (None for plain text), and the report."""

    text: str
    prompt_tokens: int
    messages: tuple[Message, ...] | None
    report: FitReport


def fit(
    prompt: str | Sequence[Message],
    *,
    count_tokens: Callable[[str], int],
    max_tokens: int,
    render: Callable[[Sequence[Message]], str] | None = None,
    fitting: Fitting = "none",
    known_tokens: int | None = None,
    hurry: Callable[[], bool] = lambda: False,
    or_shortest: bool = False,
    shorten: bool = True,
    goes_on: bool = False,
) -> Fitted:
    """Clean a prompt, render it, and make it fit `max_tokens`.

    prompt        plain text, or chat messages (these need `render`)
    count_tokens  tokens of a rendered prompt
    max_tokens    the most that the prompt may take: context length less the room for the answer
    fitting       "none": a prompt that does not fit is refused.
                  "drop_oldest": the oldest turns go first (a turn is a user's message with all that
                  answers it; system messages and the last turn stay), then the longest texts are
                  shortened at sentence ends: messages in their middle, plain text at its start.
                  "extract": of the longest texts only the sentences stay that speak of the question
                  (see extract.py); where that is not enough, it goes on as "drop_oldest".
    known_tokens  of the prompt as it is, where the caller has counted them and they do not fit
    hurry         asked between tries: when it says so, what fits so far is taken
    or_shortest   where shortening is not enough, give the shortest that there is
    shorten       whether texts are; without it whole turns go and nothing else
    goes_on       whether the last message is continued: its end stays as it is

    Raises EmptyPrompt, ContextLengthExceeded with both numbers, InvalidRequest, and what `render`
    and `count_tokens` raise.

    >>> fit("a b c", count_tokens=lambda t: len(t.split()), max_tokens=9).prompt_tokens
    3
    """
    if max_tokens < 1:
        raise InvalidRequest(f"max_tokens is {max_tokens}; a prompt needs at least 1.")
    if isinstance(prompt, str):
        messages: list[Message] = [{"role": "user", "content": clean(prompt, strip=False)}]
        if not messages[0]["content"]:
            raise EmptyPrompt("The prompt is empty.", hint="Write something.")
        attempt = _Attempts(_content, count_tokens, max_tokens, hurry)
    else:
        if render is None:
            raise InvalidRequest("Messages need a chat template.", hint="Pass render=.")
        messages = cleaned(prompt, goes_on=goes_on)
        attempt = _Attempts(render, count_tokens, max_tokens, hurry)
    dropped = 0
    whole, marks = messages, [list[Mark]() for _ in messages]
    before = known_tokens
    if fitting == "none":
        attempt.force(messages)
    elif known_tokens is not None or not attempt.fits(messages):
        before = attempt.estimate() if known_tokens is None else known_tokens
        if fitting == "extract":
            messages, marks = extract(messages, attempt.fits, hurry=hurry)
        if not any(marks) or not attempt.fits(messages):
            stay, dropped = _drop_turns(messages, _turns(messages), attempt)
            messages, whole = [messages[i] for i in stay], [whole[i] for i in stay]
            marks = [marks[i] for i in stay]
            if not attempt.fits(messages):
                if not shorten:
                    raise attempt.refusal()
                from_start = isinstance(prompt, str)
                messages, marks = _shorten(
                    messages, marks, attempt, or_shortest, from_start=from_start
                )
    return Fitted(
        text=attempt.text,
        prompt_tokens=attempt.tokens,
        messages=None if isinstance(prompt, str) else tuple(messages),
        report=FitReport(
            dropped_turns=dropped,
            removed_chars=sum(map(_removed, whole, messages, marks)),
            passes=attempt.passes,
            tokens_before=attempt.tokens if before is None else before,
            tokens_after=attempt.tokens,
        ),
    )


class _Attempts:
    """Renders and counts; remembers the last attempt (`text`, `tokens`) and how many there were."""

    def __init__(
        self,
        render: Callable[[Sequence[Message]], str],
        count_tokens: Callable[[str], int],
        max_tokens: int,
        hurry: Callable[[], bool],
    ) -> None:
        self.hurry = hurry
        self._render = render
        self._count = count_tokens
        self.max_tokens = max_tokens
        self.passes = 0
        self.text = ""
        self.tokens = 0
        self._counted = False

    def fits(self, messages: Sequence[Message]) -> bool:
        """Whether they fit; texts far too long are not even counted."""
        self.passes += 1
        self.text = self._render(messages)
        least = len(self.text.encode("utf-8", "replace")) // BYTES_PER_TOKEN
        self._counted = least <= self.max_tokens
        self.tokens = self._count(self.text) if self._counted else least
        return self.tokens <= self.max_tokens

    def estimate(self) -> int:
        """Tokens of the last attempt; where they were not counted, by what a part of it has."""
        if self._counted:
            return self.tokens
        sample = self.text[: max(1, min(len(self.text), _SAMPLE))]
        return max(self.tokens, self._count(sample) * len(self.text) // len(sample))

    def force(self, messages: Sequence[Message]) -> None:
        """Raise ContextLengthExceeded where they do not fit."""
        self.passes += 1
        self.text = self._render(messages)
        self.tokens = self._count(self.text)
        if self.tokens > self.max_tokens:
            raise self.refusal()

    def refusal(self) -> ContextLengthExceeded:
        """The error with the last attempt's numbers."""
        return ContextLengthExceeded(prompt_tokens=self.tokens, context_length=self.max_tokens + 1)


def _removed(whole: Message, message: Message, marks: Sequence[Mark]) -> int:
    """How many characters of a whole message's text its shortened one lacks."""
    before, after = whole.get("content"), message.get("content")
    if not isinstance(before, str) or not isinstance(after, str):
        return 0
    return len(before) - len(after) + sum(added for _, added in marks)


def _content(messages: Sequence[Message]) -> str:
    return str(messages[0]["content"])


def check_list(messages: object) -> None:
    """Raise InvalidRequest for what is no list of messages."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidRequest(
            f"Messages are a {type(messages).__name__}; they must be a list of messages.",
            hint='Write [{"role": "user", "content": "..."}].',
        )


def cleaned(messages: Sequence[Message], *, goes_on: bool = False) -> list[Message]:
    """The messages with their texts cleaned; where the last one `goes_on`, white space at its end
    belongs to it. Raises InvalidRequest for what is no list of them."""
    check_list(messages)
    last = len(messages) - 1
    return [
        _cleaned(message, strip=not (goes_on and index == last))
        for index, message in enumerate(messages)
    ]


def _cleaned(message: Message, *, strip: bool = True) -> Message:
    """The message with its text cleaned, text parts joined; what is no text stays as it is."""
    content = message.get("content") if isinstance(message, dict) else None
    if (
        isinstance(content, list)
        and len(content) <= MAX_PARTS
        and all(
            isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
            for part in content
        )
    ):
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        return message  # for the template's checks to name
    return {**message, "content": clean(content, strip=strip)}


def _turns(messages: Sequence[Message]) -> list[list[int]]:
    """Indices of each turn's messages, oldest turn first; system messages belong to none."""
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message["role"] == "system":
            continue
        if message["role"] == "user" or not turns:
            turns.append([])
        turns[-1].append(index)
    return turns


def _drop_turns(
    messages: list[Message], turns: list[list[int]], attempt: _Attempts
) -> tuple[list[int], int]:
    """The indices that stay without as few of the oldest turns as makes the rest fit, and how many
    turns go; the last turn always stays."""

    def without(count: int) -> list[int]:
        gone = {index for turn in turns[:count] for index in turn}
        return [index for index in range(len(messages)) if index not in gone]

    low, high = 0, max(len(turns) - 1, 0)  # `low` does not fit; `high` is the most to drop
    while high - low > 1 and not attempt.hurry():
        middle = (low + high) // 2
        if attempt.fits([messages[i] for i in without(middle)]):
            high = middle
        else:
            low = middle
    return without(high), high


def _shorten(
    messages: list[Message],
    marks: list[list[Mark]],
    attempt: _Attempts,
    or_shortest: bool,
    *,
    from_start: bool,
) -> tuple[list[Message], list[list[Mark]]]:
    """The messages shortened until they fit, and the omissions in each of them; where they cannot,
    the shortest ones that still ask what was asked (`or_shortest`), else ContextLengthExceeded."""
    room = min(LONGEST_PIECE, max(8, attempt.max_tokens))
    found = _trim(messages, marks, attempt, room, from_start=from_start)
    if attempt.tokens <= attempt.max_tokens:
        return found
    if not or_shortest:
        raise attempt.refusal()
    # Pieces as small as the room have cut through what is asked.
    return _trim(messages, marks, attempt, LONGEST_PIECE, from_start=from_start)


def _trim(
    messages: list[Message],
    marks: list[list[Mark]],
    attempt: _Attempts,
    longest: int,
    *,
    from_start: bool,
) -> tuple[list[Message], list[list[Mark]]]:
    """Shorten the longest text as little as makes all fit, in pieces of `longest` characters at
    most; where its ends alone are too much, the next longest too. Where nothing helps, all are as
    short as they can be."""
    contents = {index: message.get("content") for index, message in enumerate(messages)}
    texts = {i: text for i, text in contents.items() if isinstance(text, str) and text}
    marks = list(marks)
    for index in sorted(texts, key=lambda i: len(texts[i]), reverse=True):
        text = texts[index]
        pieces = pieces_of(text, longest)

        low, high = 0, len(text)  # characters: `low` is kept at least, `high` does not fit
        while (
            high - low > max(8, low // 32) and not attempt.hurry()
        ):  # within 3 % of the best is close enough
            middle = (low + high) // 2
            kept = _keep(pieces, middle, from_start=from_start)
            if attempt.fits(_shortened(messages, index, kept, from_start)):
                low = middle
            else:
                high = middle
        kept = _keep(pieces, low, from_start=from_start)
        messages = _shortened(messages, index, kept, from_start)
        marks[index] = _left(marks[index], kept, from_start)
        if attempt.fits(messages):
            break
    return messages, marks


def _shortened(
    messages: list[Message], index: int, kept: tuple[str, str, int], from_start: bool
) -> list[Message]:
    """The messages with only that of one's text which `_keep` keeps."""
    first, last, gone = kept
    if gone and not from_start:
        first, _ = omit(first)
    made: Message = {**messages[index], "content": first + last}
    return [*messages[:index], made, *messages[index + 1 :]]


def _left(marks: Sequence[Mark], kept: tuple[str, str, int], from_start: bool) -> list[Mark]:
    """The omissions that are left in a text once it is shortened so, the new one among them."""
    first, _, gone = kept
    begin, end = len(first), len(first) + gone
    left = [(at, added) for at, added in marks if at < begin or at >= end]
    return left if from_start or not gone else [*left, omit(first)[1]]


def _keep(pieces: list[str], budget: int, *, from_start: bool) -> tuple[str, str, int]:
    """At most `budget` characters, but at least what says what is wanted: from the end where
    `from_start` is cut away, else from both ends alternately; the beginning, the end, and how many
    characters are gone between them."""
    head, tail = (0, 1) if from_start else ends_that_ask(pieces)
    left = budget - sum(map(len, pieces[:head])) - sum(map(len, pieces[len(pieces) - tail :]))
    while head + tail < len(pieces):
        take_head = not from_start and head < tail
        size = len(pieces[head] if take_head else pieces[-1 - tail])
        if size > left:
            break
        left -= size
        head, tail = head + take_head, tail + (not take_head)
    gone = sum(len(piece) for piece in pieces[head : len(pieces) - tail])
    return "".join(pieces[:head]), "".join(pieces[len(pieces) - tail :]), gone
