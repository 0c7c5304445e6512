"""Attribution: which sentences of a text carried an answer, by leaving each of them out.

A sentence's score is by how much the answer's log-likelihood falls without it: what it is called,
"leave-one-out log-likelihood", and no more. Two sentences that say the same hide one another. It
must not know how a prompt is built or who computes: it asks for scores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from onesec.apps.text import Span, sentences
from onesec.core.clock import Clock
from onesec.core.errors import DeadlineInfeasible, InvalidRequest

METHOD = "leave-one-out log-likelihood"
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_MARGIN = 0.05  # of the budget, kept for what no prediction knows: building prompts, the host
_SECTION = 8  # sentences, where a text has neither paragraphs nor lines


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the text, from character `start` to `end`. `score` in nats: by how much the
    answer's log-likelihood falls without it (None: not examined); `share` of all that the examined
    parts carry, in [0, 1]. A paragraph stands for sentences that were not examined by themselves.
    """

    text: str
    start: int
    end: int
    kind: str  # "sentence" or "paragraph"
    score: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """What carried an answer. `parts` are in the text's order and cover it; `logprob` is the
    answer's log-likelihood with all of them, in nats; `examined` of `sentences` were left out."""

    method: str
    logprob: float
    parts: tuple[Part, ...]
    examined: int
    sentences: int
    elapsed_ms: float

    @property
    def complete(self) -> bool:
        """Whether every sentence was examined."""
        return self.examined == self.sentences

    def leading(self) -> list[Part]:
        """The parts that were examined, what carried most first."""
        known = [part for part in self.parts if part.score is not None]
        return sorted(known, key=lambda part: -(part.score or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "complete": self.complete}


class Scores(Protocol):
    """The answer's log-likelihood after prompts: see scoring.Scorer."""

    def whole(self, prompt: Sequence[int]) -> float: ...
    def others(self, prompts: Sequence[Sequence[int]]) -> list[float]: ...
    def batches(self, prompts: Sequence[Sequence[int]]) -> list[int]: ...
    def new_tokens(self, prompt: Sequence[int]) -> int: ...


def attribute(
    text: str,
    prompt_with: Callable[[str], Sequence[int]],
    scores: Scores,
    *,
    clock: Clock,
    start_ns: int | None = None,
    budget_ms: float | None = None,
    predict_ms: Callable[[int], float] = lambda tokens: 0.0,
) -> Attribution:
    """Leave the sentences of `text` out, one by one, in batches.

    prompt_with   the prompt's token ids with another text in place of this one
    start_ns      when the budget began (default: now)
    budget_ms     no batch begins that would not end within it; where not all sentences fit,
                  paragraphs come first, and then the sentences of those that carry most
    predict_ms    what scoring so many tokens takes, at p95

    Raises DeadlineInfeasible where there is no time to score the answer once.

    >>> attribute("It is 34 dollars. It is blue.", prompt_with, scores, clock=clock)
    ... # doctest: +SKIP
    """
    if start_ns is None:
        start_ns = clock.now_ns()
    return _Search(text, prompt_with, scores, clock, start_ns, budget_ms, predict_ms).run()


Messages = Sequence[Mapping[str, Any]]
PutText = Callable[[str], "str | Messages"]


def longest_text(prompt: str | Messages) -> tuple[str, PutText]:
    """The longest text of a prompt, and what puts another one in its place: the prompt itself, or
    the longest content among messages. Raises InvalidRequest where there is no text.

    >>> text, put = longest_text([{"role": "user", "content": "It is blue. Which?"}])
    >>> text, put("Which?")
    ('It is blue. Which?', [{'role': 'user', 'content': 'Which?'}])
    """
    if isinstance(prompt, str):
        return prompt, lambda text: text
    lengths = [
        len(message["content"])
        if isinstance(message, Mapping) and isinstance(message.get("content"), str)
        else 0
        for message in (prompt if isinstance(prompt, Sequence) else ())
    ]
    if not any(lengths):
        raise InvalidRequest(
            "There is no text whose sentences could be left out.",
            hint="Give a prompt as text, or messages with text.",
        )
    place = lengths.index(max(lengths))

    def put(text: str) -> Messages:
        changed = {**prompt[place], "content": text}
        return [*prompt[:place], changed, *prompt[place + 1 :]]

    return prompt[place]["content"], put


def sections(text: str, found: Sequence[Span]) -> list[list[int]]:
    """The sentences of each paragraph, by their numbers: divided by blank lines, else by lines,
    else by eights.

    >>> text = "One. Two.\\n\\nThree."
    >>> sections(text, list(sentences(text)))
    [[0, 1], [2]]
    """
    for between in (_BLANK_LINE, re.compile("\n")):
        groups: list[list[int]] = []
        for i, span in enumerate(found):
            if i and between.search(text, found[i - 1].end, span.start) is None:
                groups[-1].append(i)
            else:
                groups.append([i])
        if len(groups) > 1:
            return groups
    return [list(range(i, min(i + _SECTION, len(found)))) for i in range(0, len(found), _SECTION)]


class _Search:
    """One attribution on its way."""

    def __init__(
        self,
        text: str,
        prompt_with: Callable[[str], Sequence[int]],
        scores: Scores,
        clock: Clock,
        start_ns: int,
        budget_ms: float | None,
        predict_ms: Callable[[int], float],
    ) -> None:
        self._text = text
        self._spans = list(sentences(text))
        self._prompt_with = prompt_with
        self._scores = scores
        self._clock = clock
        self._start_ns = start_ns
        self._budget_ms = budget_ms
        self._predict_ms = predict_ms
        self._slowness = 1.0  # how much longer than predicted a batch has taken
        self._whole = 0.0

    def run(self) -> Attribution:
        prompt = self._prompt_with(self._text)
        once_ms = self._needs_ms(self._scores.new_tokens(prompt))
        if once_ms > self._left_ms():
            spent_ms = (self._clock.now_ns() - self._start_ns) / 1e6
            raise DeadlineInfeasible(
                budget_ms=self._budget_ms or 0.0,
                feasible_ms=(spent_ms + once_ms) / (1.0 - _MARGIN),
                why=f"scoring an answer once after {len(prompt)} prompt tokens",
            )
        self._whole = self._scores.whole(prompt)
        count = len(self._spans)
        groups = sections(self._text, self._spans) if count else []
        # Where there is nothing beside the text, all of it cannot be left out.
        bare = count > 0 and not len(self._left_out(range(count)))
        alone = [] if bare and count == 1 else [[i] for i in range(count)]
        single = bare and len(groups) == 1
        of_group: dict[int, float] = {}
        of_sentence: dict[int, float] = {}
        if single or self._fits(alone) or all(len(group) == 1 for group in groups):
            of_sentence = self._drops(alone)
        else:
            of_group = self._drops(groups)
            of_sentence = {
                groups[g][0]: drop for g, drop in of_group.items() if len(groups[g]) == 1
            }
            opened = [g for g in sorted(of_group, key=lambda g: -of_group[g]) if len(groups[g]) > 1]
            inner = [i for g in opened for i in groups[g]]
            drops = self._drops([[i] for i in inner])
            of_sentence |= {inner[k]: drop for k, drop in drops.items()}
        return self._told(groups, of_group, of_sentence)

    def _left_out(self, numbers: Sequence[int]) -> Sequence[int]:
        """The prompt without neighbouring sentences, and without the space that parted them from
        what follows (at the end: from what comes before)."""
        first, last = numbers[0], numbers[-1]
        start, end = self._spans[first].start, self._spans[last].end
        if last + 1 < len(self._spans):
            end = self._spans[last + 1].start
        elif first > 0:
            start = self._spans[first - 1].end
        return self._prompt_with(self._text[:start] + self._text[end:])

    def _drops(self, groups: Sequence[Sequence[int]]) -> dict[int, float]:
        """By how much the log-likelihood falls without each group; of those there is time for."""
        found: dict[int, float] = {}
        while len(found) < len(groups):
            first = len(found)
            prompts = []
            for group in groups[first:]:  # no more than one batch is built
                prompts.append(self._left_out(group))
                if len(self._scores.batches(prompts)) > 1:
                    break
            count = self._scores.batches(prompts)[0]
            while count and not self._in_time(prompts[:count]):
                count //= 2
            if not count:
                break
            tokens = sum(map(self._scores.new_tokens, prompts[:count]))
            begin_ns = self._clock.now_ns()
            for i, score in enumerate(self._scores.others(prompts[:count])):
                found[first + i] = self._whole - score
            took_ms, expected_ms = (self._clock.now_ns() - begin_ns) / 1e6, self._predict_ms(tokens)
            if expected_ms > 0.0:
                self._slowness = max(1.0, self._slowness, took_ms / expected_ms)
        return found

    def _in_time(self, prompts: Sequence[Sequence[int]]) -> bool:
        return self._left_ms() >= self._needs_ms(sum(map(self._scores.new_tokens, prompts)))

    def _fits(self, groups: Sequence[Sequence[int]]) -> bool:
        """Whether all groups can be left out in time, taking them to be as long as the prompt."""
        if self._budget_ms is None or not groups:
            return True
        tokens = self._scores.new_tokens(self._left_out(groups[0]))
        return self._left_ms() >= self._needs_ms(tokens * len(groups))

    def _needs_ms(self, tokens: int) -> float:
        return self._slowness * self._predict_ms(tokens)

    def _left_ms(self) -> float:
        if self._budget_ms is None:
            return math.inf
        spent_ms = (self._clock.now_ns() - self._start_ns) / 1e6
        return (1.0 - _MARGIN) * self._budget_ms - spent_ms

    def _told(
        self,
        groups: Sequence[Sequence[int]],
        of_group: dict[int, float],
        of_sentence: dict[int, float],
    ) -> Attribution:
        parts: list[tuple[str, int, int, float | None]] = []
        for g, group in enumerate(groups):
            if len(group) > 1 and not any(i in of_sentence for i in group):
                start, end = self._spans[group[0]].start, self._spans[group[-1]].end
                parts.append(("paragraph", start, end, of_group.get(g)))
                continue
            for i in group:
                span = self._spans[i]
                parts.append(("sentence", span.start, span.end, of_sentence.get(i)))
        total = sum(max(0.0, score) for *_, score in parts if score is not None)
        return Attribution(
            METHOD,
            self._whole,
            tuple(
                Part(
                    self._text[start:end],
                    start,
                    end,
                    kind,
                    score,
                    None if score is None else max(0.0, score) / total if total > 0.0 else 0.0,
                )
                for kind, start, end, score in parts
            ),
            len(of_sentence),
            len(self._spans),
            (self._clock.now_ns() - self._start_ns) / 1e6,
        )
