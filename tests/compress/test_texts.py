"""The parts of a text: as many tokens as were asked for, and enough of each in a short one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onesec._native")

from onesec.compress import texts
from onesec.compress.journal import Journal
from onesec.core.errors import InvalidRequest

LEAST = texts.LEAST_TOKENS
asked = st.integers(LEAST, 5000)


def _gathered(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    counts: tuple[int, int, int],
    rows: int = 1 << 20,
) -> Any:
    tokenizer = SimpleNamespace(encode=lambda text: list(range(len(text))), bos_id=1)
    monkeypatch.setattr(texts, "open_tokenizer", lambda path: tokenizer)
    backend = SimpleNamespace(vocab_size=rows)
    loaded: Any = SimpleNamespace(path=Path(), backend=backend, context_length=1 << 17)
    journal: Any = None
    return texts.gather(
        loaded, "." * count, counts, seed=0, journal=journal, progress=lambda share: None
    )


@given(st.integers(2 * LEAST, 20_000), st.integers(0, 1 << 20), asked, asked)
def test_a_given_text_leaves_enough_to_search_and_to_check_on(
    count: int, calibration: int, search: int, check: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        parts = _gathered(patch, count, (calibration, search, check))
    sizes = len(parts.calibration), len(parts.search), len(parts.check)
    every = [*parts.calibration, *parts.search, *parts.check]
    assert len(set(every)) == sum(sizes) <= count
    assert all(part == sorted(part) for part in (parts.calibration, parts.search, parts.check))
    assert set(every) <= set(range(count))
    assert all(size >= LEAST for size in sizes[1:])
    if count >= calibration + search + check:
        assert sizes == (calibration, search, check)


def test_every_file_of_a_text_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four files of 25,000 tokens, of which 8,192 are read: windows of each, in each part."""
    parts = _gathered(monkeypatch, 100_000, (4096, 2048, 2048))
    for part in (parts.calibration, parts.search, parts.check):
        shares = [sum(at // 25_000 == file for at in part) for file in range(4)]
        assert shares == [len(part) // 4] * 4
        window = texts.WINDOW_TOKENS
        for start in range(0, len(part), window):
            assert part[start : start + window] == list(range(part[start], part[start] + window))


def test_a_token_without_a_row_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _gathered(monkeypatch, 200, (0, 64, 64), rows=200)
    with pytest.raises(InvalidRequest, match="token 199; the model knows 199"):
        _gathered(monkeypatch, 200, (0, 64, 64), rows=199)


def _refusing(messages: object) -> list[int]:
    raise InvalidRequest("The chat template refuses these messages.")


@pytest.mark.parametrize(
    ("render", "bos_id", "line", "opening"),
    [
        (lambda messages: [7, 8], 1, [2], [7]),
        (lambda messages: [10, 8], 1, [2], [1]),  # it begins with a token without a row
        (lambda messages: [], 1, [2], [1]),
        (_refusing, 1, [2], [1]),
        (_refusing, 10, [2], [2]),
        (_refusing, None, [], [0]),
    ],
)
def test_own_text_begins_with_what_the_model_knows(
    render: Any, bos_id: int | None, line: list[int], opening: list[int]
) -> None:
    loaded: Any = SimpleNamespace(
        backend=SimpleNamespace(vocab_size=10),
        template=object(),
        render=render,
        tokenizer=SimpleNamespace(bos_id=bos_id, encode=lambda text: line),
    )
    assert texts._opening(loaded) == opening


def test_own_text_of_other_counts_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def write(*_: Any, sequences: int, length: int, **__: Any) -> list[int]:
        written.append(sequences * length)
        return list(range(sequences * length))

    monkeypatch.setattr(texts, "own_text", write)
    tokenizer = SimpleNamespace(bos_id=1)
    loaded: Any = SimpleNamespace(
        context_length=256,
        backend=SimpleNamespace(vocab_size=2),
        template=None,
        tokenizer=tokenizer,
    )
    with Journal(tmp_path / "out", "work") as journal:
        for check in (300, 300, 600):
            parts = texts.gather(
                loaded, None, (0, 64, check), seed=0, journal=journal, progress=lambda share: None
            )
            assert len(parts.check) == check
    assert written == [3 * 256, 4 * 256]
