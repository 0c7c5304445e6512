"""Questions: what a deadline benchmark asks, and what each reply is worth.

It must not know deadlines or engines. A question comes from a suite with keys, through the model's
chat template; from a file of prompts without keys, whose replies are worth 1 where they come to an
end; or its lengths come from a record of real traffic, its tokens from a random generator, for
weights that say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from onesec.compress.examine import asked, max_tokens, worth
from onesec.core.clock import MonotonicClock
from onesec.core.cues import Cues
from onesec.core.deadline import Deadline
from onesec.core.errors import ContextLengthExceeded, InvalidRequest, OneSecError
from onesec.core.request import SamplingParams
from onesec.prepare import Preparation

from .arrivals import trace_rows

if TYPE_CHECKING:
    from onesec.apps.judge import Item
    from onesec.loading import LoadedModel

TOKENS_A_WORD = 4 / 3
SHORTEST_ANSWER = 8  # tokens: shorter ones are not taken from traffic
SENTENCE = 24  # tokens of a sentence, on average, where text has no meaning
PROMPT_TOKENS = 256  # of a reply to a prompt that names no limit
FIRST_ID = 300  # random tokens begin behind what may be bytes and special tokens


class Letters:
    """Text for weights that say nothing: a letter a token, and one in SENTENCE ends a sentence."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(self.push, ids))

    def stream(self) -> Letters:
        return self

    def push(self, token: int) -> str:
        return "." if token % SENTENCE == 0 else "a"


def _nothing(reply: str, ended: bool) -> float:
    """A reply of random weights is worth nothing in itself."""
    return 0.0


def _an_end(reply: str, ended: bool) -> float:
    """A reply that nobody has a key for is worth its end."""
    return float(ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt, and how its reply is judged.

    group   what figures are told for: a skill, or a record of traffic
    worth   (reply, whether it came to an end) -> value in [0, 1]
    """

    id: str
    group: str
    language: str
    prompt_tokens: tuple[int, ...]
    params: SamplingParams
    cues: Cues = field(default_factory=Cues)
    worth: Callable[[str, bool], float] = _nothing


def of_suite(loaded: LoadedModel, items: Sequence[Item]) -> list[Question]:
    """The items of a suite as this model reads them, greedy.

    Raises InvalidRequest where the model has no chat template.
    """
    return [_of_item(loaded, item) for item in items]


def _reader(loaded: LoadedModel, app: str = "") -> Preparation:
    """Reads whole prompts, however long they are."""
    return Preparation(
        loaded.wording,
        MonotonicClock(),
        context_length=loaded.context_length,
        fitting="none",
        deadline=Deadline(),
        room=lambda tokens, cues, spare_ms: len(tokens),
        app=app,
    )


def _of_item(loaded: LoadedModel, item: Item) -> Question:
    prepared = asked(_reader(loaded, item["skill"]).messages, item)
    return Question(
        id=item["id"],
        group=item["skill"],
        language=item["language"],
        prompt_tokens=prepared.tokens,
        params=SamplingParams(max_tokens=max_tokens(item)),
        cues=prepared.cues,
        worth=lambda reply, ended: worth(item, reply, ended=ended),
    )


def of_prompts(loaded: LoadedModel, path: Path) -> list[Question]:
    """A file of JSON lines: `{"prompt": "..."}` is asked of a chat model as a user's message, and
    continued by others; or `{"messages": [...]}`. `max_tokens` bounds the reply. Greedy.

    Raises InvalidRequest where a line is none of these, or a prompt is empty or too long.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # no other line end: texts have them
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(_of_prompt(loaded, f"{path.stem}-{number}", path.stem, json.loads(line)))
        except (ValueError, TypeError, OneSecError) as error:
            raise InvalidRequest(
                f"{path}, line {number}: {error}",
                hint='Write lines like {"prompt": "When do you open?", "max_tokens": 128}.',
            ) from None
    return found


def _of_prompt(loaded: LoadedModel, name: str, group: str, line: Any) -> Question:
    if not isinstance(line, dict) or not (
        "messages" in line or isinstance(line.get("prompt"), str)
    ):
        raise ValueError("it is no object with a prompt.")
    reader = _reader(loaded, group)
    if "messages" in line:
        prepared = reader.messages(line["messages"])
    elif loaded.template is not None:
        prepared = reader.messages([{"role": "user", "content": line["prompt"]}])
    else:
        prepared = reader.text(line["prompt"])
    left = loaded.context_length - len(prepared.tokens)
    if left <= 0:
        raise ContextLengthExceeded(
            prompt_tokens=len(prepared.tokens), context_length=loaded.context_length
        )
    limit = line.get("max_tokens", min(PROMPT_TOKENS, left))
    if not (isinstance(limit, int) and 0 < limit <= left):
        raise ValueError(f"max_tokens is {limit}, and the context has room for {left}.")
    return Question(
        id=name,
        group=group,
        language="",
        prompt_tokens=prepared.tokens,
        params=SamplingParams(max_tokens=limit),
        cues=prepared.cues,
        worth=_an_end,
    )


def of_traffic(
    path: Path, *, count: int, longest: int, vocab_size: int, rng: Random
) -> list[Question]:
    """Random prompts whose lengths, and the answers', come from a record of real traffic.

    A CSV file (or .csv.gz) with ContextTokens and GeneratedTokens, num_prefill_tokens and
    num_decode_tokens, or prompt_words and output_words. Requests of more than `longest` tokens
    together are left out. Raises InvalidRequest where no request is left.
    """
    lengths = [pair for pair in traffic_lengths(path) if sum(pair) <= longest]
    if not lengths:
        raise InvalidRequest(
            f"{path} has no request of at most {longest} tokens with an answer of "
            f"{SHORTEST_ANSWER} or more.",
            hint="Give a CSV file of a known form, or a longer --context.",
        )
    found = []
    for number in range(count):
        prompt, answer = rng.choice(lengths)
        tokens = tuple(rng.randrange(FIRST_ID, vocab_size) for _ in range(prompt))
        name = path.name.split(".")[0]
        found.append(
            Question(
                id=f"{name}-{number}",
                group=name,
                language="",
                prompt_tokens=tokens,
                params=SamplingParams(max_tokens=answer, ignore_eos=True),
            )
        )
    return found


_COLUMNS = (
    ("ContextTokens", "GeneratedTokens", 1.0),
    ("num_prefill_tokens", "num_decode_tokens", 1.0),
    ("prompt_words", "output_words", TOKENS_A_WORD),
)


def traffic_lengths(path: Path) -> list[tuple[int, int]]:
    """Tokens of prompt and answer of each recorded request, in the forms that `of_traffic` takes;
    those with shorter answers than SHORTEST_ANSWER are left out. Raises InvalidRequest."""
    rows = trace_rows(path)
    names = rows[0].keys() if rows else ()
    columns = next((c for c in _COLUMNS if c[0] in names and c[1] in names), None)
    if columns is None:
        known = ", ".join(f"{prompt} and {answer}" for prompt, answer, _ in _COLUMNS)
        raise InvalidRequest(f"{path} has none of the columns {known}.")
    prompt_name, answer_name, scale = columns
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            prompt, answer = (
                round(float(row[name]) * scale) for name in (prompt_name, answer_name)
            )
        except (ValueError, TypeError):
            raise InvalidRequest(f"{path}, line {number}: the lengths are no numbers.") from None
        if prompt >= 1 and answer >= SHORTEST_ANSWER:
            found.append((prompt, answer))
    return found
