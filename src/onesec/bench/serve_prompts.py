"""Serve prompts: bodies that a load generator sends: a suite's questions, or a trace's lengths.

It must not know servers or budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from onesec.compress.examine import max_tokens
from onesec.core.errors import InvalidRequest

from .questions import FIRST_ID, traffic_lengths
from .serve_load import Prompt

if TYPE_CHECKING:
    from onesec.apps.judge import Item

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
_IDS = 700  # random ones from FIRST_ID on: every vocabulary has as many


def of_items(items: Sequence[Item], model: str, rng: Random) -> list[Prompt]:
    """The questions of a suite, in a random order, each with its own limit."""
    found = [
        Prompt(
            path=CHAT,
            body={
                **_STREAMED,
                "model": model,
                "messages": item["messages"],
                "max_tokens": max_tokens(item),
            },
        )
        for item in items
    ]
    rng.shuffle(found)
    return found


def of_lengths(path: Path, model: str, *, longest: int, count: int, rng: Random) -> list[Prompt]:
    """Prompts of random tokens as long as those of a trace, whose answers are as long as they were
    there. What exceeds `longest` tokens together is left out. Raises InvalidRequest."""
    lengths = [pair for pair in traffic_lengths(path) if sum(pair) <= longest]
    if not lengths:
        raise InvalidRequest(
            f"{path} has no request of at most {longest} tokens.",
            hint="Serve a model with a longer context.",
        )
    found = []
    for _ in range(count):
        prompt, answer = rng.choice(lengths)
        ids = [FIRST_ID + rng.randrange(_IDS) for _ in range(prompt)]
        body = {"model": model, "prompt": ids, "max_tokens": answer, "ignore_eos": True}
        found.append(Prompt(path=COMPLETIONS, body={**_STREAMED, **body}))
    return found
