"""Batches hold every document once, mark what is learned, and come in the same order again."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.batches import Ahead, BatchConfig, batches, fill, plan, pools  # noqa: E402
from training.data import TokenData  # noqa: E402


def some_data(seed: int, count: int = 60) -> TokenData:
    """Documents of 2 to 300 tokens; token and place tell which one it is."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 300, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.integers(1, 5000, starts[-1]).astype(np.uint16)
    return TokenData(tokens, (rng.random(starts[-1]) < 0.3).astype(np.uint8), starts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        some_data(number).save(tmp_path / f"{number}.npz")
    return tmp_path


def test_a_plan_holds_every_document_once_within_its_tokens() -> None:
    lengths = np.diff(some_data(4).starts)
    planned = plan(lengths, 1000, np.random.default_rng(0), opening=True)
    assert sorted(np.concatenate(planned)) == list(range(len(lengths)))
    assert all((len(batch) - 1) * lengths[batch].max() <= 1000 for batch in planned)
    assert min(len(batch) for batch in planned) > 1
    widths = [int(lengths[batch].max()) for batch in planned]
    short = [width <= 128 for width in widths]
    assert short == sorted(short, reverse=True)


def test_a_batch_is_what_a_loop_over_its_documents_makes() -> None:
    data = some_data(5)
    batch = np.array([3, 7, 11])
    inputs, where, targets = fill(data, batch, 0.0, np.random.default_rng(0))
    rows, learned = [], []
    width = inputs.shape[1]
    assert width % 16 == 0
    for row, index in enumerate(batch):
        first, last = data.starts[index], data.starts[index + 1]
        document = data.tokens[first:last].tolist()
        rows.append((document[:-1] + [0] * width)[:width])
        learned += [
            (row * width + i, document[i + 1])
            for i in range(len(document) - 1)
            if data.spoken[first + i + 1]
        ]
    assert inputs.tolist() == rows
    assert list(zip(where.tolist(), targets.tolist(), strict=True)) == learned
    everything = fill(data, batch, 1.0, np.random.default_rng(0))[1]
    assert len(everything) == sum(data.starts[i + 1] - data.starts[i] - 1 for i in batch)


def test_the_same_seed_gives_the_same_batches_from_any_place_on(folder: Path) -> None:
    config = BatchConfig(800, 3, 0.1)
    straight = list(islice(batches(folder, config), 80))
    later = list(islice(batches(folder, config, first=50), 30))
    for one, other in zip(straight[50:], later, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    other = next(batches(folder, BatchConfig(800, 4, 0.1)))
    assert not torch.equal(straight[0][0], other[0])


def test_new_shards_are_read_at_once_and_old_ones_join_them(folder: Path) -> None:
    taken = pools(folder, 0, 1.0)
    assert len(next(taken).starts) == 3 * 60 + 1
    late = some_data(9, 20)
    late.save(folder / "late.npz")
    mixed = next(taken)
    assert len(mixed.starts) == 3 * 60 + 20 + 1
    assert mixed.tokens[: len(late.tokens)].tolist() == late.tokens.tolist()
    for number in range(10):
        some_data(number, 20).save(folder / f"more{number}.npz")
    assert len(next(taken).starts) == 8 * 20 + 1  # as many new ones as a pool holds


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    feed = Ahead(batches(tmp_path, BatchConfig(800, 0, 0.1, patience_s=0.0)), torch.device("cpu"))
    with pytest.raises(FileNotFoundError, match="npz"):
        feed.take()
    feed.close()
