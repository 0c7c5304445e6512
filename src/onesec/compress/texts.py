"""Texts: what a compression calibrates on, searches on and measures on, without overlap.

It must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from onesec.core.errors import InvalidRequest, UnsupportedModel
from onesec.core.gear import UNIFORM
from onesec.loading import LoadedModel, open_tokenizer

from .evaluate import check_tokens
from .journal import Journal
from .own_text import own_text
from .sensitivity import WINDOW_TOKENS

LEAST_TOKENS = 64  # of a part that something is measured on


@dataclass(frozen=True, slots=True)
class Texts:
    """Token ids. `calibration` may be empty."""

    calibration: Sequence[int]
    search: Sequence[int]
    check: Sequence[int]


def gather(
    loaded: LoadedModel,
    text: str | None,
    counts: tuple[int, int, int],
    *,
    seed: int,
    journal: Journal,
    progress: Callable[[float], None],
) -> Texts:
    """So many tokens of each part (calibration, search, check): of the given text (of a short one
    as many as there are, in that proportion, but LEAST_TOKENS to search and to check on), or of the
    model's own, which goes into the journal.

    Raises InvalidRequest where the given text is too short, or has a token without a row.
    """
    if text is not None:
        tokens = open_tokenizer(loaded.path).encode(text)
        check_tokens(tokens, loaded.backend.vocab_size)
        return _given(tokens, counts)
    window = min(WINDOW_TOKENS, loaded.context_length)
    sequences = [-(-count // window) for count in counts]  # whole ones: no text is in two parts
    written: list[int] | None = journal.get("own text")
    if written is None or len(written) != sum(sequences) * window:  # of other counts
        written = own_text(
            loaded.backend,
            UNIFORM[8],
            _opening(loaded),
            sequences=sum(sequences),
            length=window,
            seed=seed,
            progress=progress,
        )
        journal.put("own text", written)
    parts, start = [], 0
    for count, whole in zip(counts, sequences, strict=True):
        parts.append(written[start : start + count])
        start += whole * window
    return Texts(*parts)


def _given(tokens: Sequence[int], counts: tuple[int, int, int]) -> Texts:
    if len(tokens) < 2 * LEAST_TOKENS:
        raise InvalidRequest(
            f"The text has {len(tokens)} tokens; searching and measuring need "
            f"{2 * LEAST_TOKENS} or more.",
            hint="Give more text, or none: the model then writes its own.",
        )
    share = min(1.0, len(tokens) / sum(counts))
    calibration, search, check = (round(count * share) for count in counts)
    search = min(max(search, LEAST_TOKENS), len(tokens) - LEAST_TOKENS)
    check = min(max(check, LEAST_TOKENS), len(tokens) - search)
    calibration = min(calibration, len(tokens) - search - check)
    middle = calibration + search
    return Texts(tokens[:calibration], tokens[calibration:middle], tokens[middle : middle + check])


def _opening(loaded: LoadedModel) -> list[int]:
    """The token that every text begins with: of a conversation, or the model's own start. A
    template that refuses these messages, or begins with a token without a row, gives none."""
    found: list[int] = []
    if loaded.template is not None:
        with suppress(InvalidRequest, UnsupportedModel):
            found = loaded.render([{"role": "user", "content": "?"}])[:1]
    if not _known(found, loaded) and loaded.tokenizer.bos_id is not None:
        found = [loaded.tokenizer.bos_id]
    if not _known(found, loaded):
        found = loaded.tokenizer.encode("\n")[:1]
    return found if _known(found, loaded) else [0]


def _known(tokens: Sequence[int], loaded: LoadedModel) -> bool:
    return bool(tokens) and max(tokens) < loaded.backend.vocab_size
