"""Texts: what a compression calibrates on, searches on and measures on, without overlap.

It must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """So many tokens of each part (calibration, search, check): of the given text, in windows drawn
    evenly from its beginning to its end (of a short one as many as there are, in that proportion,
    but LEAST_TOKENS to search and to check on), or of the model's own, which goes into the journal.

    Raises InvalidRequest where the given text is too short, or has a token without a row.
    """
    window = min(WINDOW_TOKENS, loaded.context_length)
    if text is not None:
        tokens = open_tokenizer(loaded.path).encode(text)
        check_tokens(tokens, loaded.backend.vocab_size)
        return _given(tokens, counts, window)
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


def _given(tokens: Sequence[int], counts: tuple[int, int, int], window: int) -> Texts:
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
    parts: tuple[list[int], ...] = ([], [], [])
    for part, start, length in _windows((calibration, search, check), window, len(tokens)):
        parts[part].extend(tokens[start : start + length])
    return Texts(*parts)


def _windows(
    sizes: tuple[int, int, int], window: int, length: int
) -> Iterator[tuple[int, int, int]]:
    """Windows of a text of `length` tokens, in its order: the part that each belongs to, where it
    starts and how long it is. No two overlap, what is left out lies evenly between them, and those
    of each part are spread over the whole text.

    >>> list(_windows((4, 2, 2), 2, 16))
    [(0, 1, 2), (1, 5, 2), (2, 9, 2), (0, 13, 2)]
    """
    cut = []
    for part, size in enumerate(sizes):
        starts = range(0, size, window)
        cut += [
            ((index + 0.5) / len(starts), part, min(window, size - start))
            for index, start in enumerate(starts)
        ]
    between, taken = length - sum(sizes), 0
    for index, (_, part, size) in enumerate(sorted(cut)):
        yield part, taken + between * (2 * index + 1) // (2 * len(cut)), size
        taken += size


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
