"""The evaluation's arithmetic against closed forms, over a backend whose logits are a table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.backend.base import Batch, BatchResult, Float32Array, Sampler
from onesec.compress.evaluate import (
    Reference,
    Subject,
    log_softmax,
    measure,
    proportion,
    quantile,
    token_nll,
    windows,
)
from onesec.core.errors import InvalidRequest
from onesec.core.gear import UNIFORM, Gear
from onesec.core.request import SamplingParams

VOCAB = 5


class Bigram:
    """A backend that predicts from the last token alone: logits = table[gear][token].

    It keeps what it was asked, and checks that each sequence is read in order into its own blocks.
    """

    vocab_size = VOCAB
    context_length = 64
    block_size = 4

    def __init__(self, tables: dict[str, Float32Array], num_blocks: int = 64) -> None:
        self.tables = tables
        self.num_blocks = num_blocks
        self.leaves_steps = False
        self.batches: list[Batch] = []
        self._owner: dict[int, str] = {}
        self._length: dict[str, int] = {}

    @property
    def gears(self) -> tuple[Gear, ...]:
        return tuple(UNIFORM[int(name)] for name in self.tables)

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> Sampler:
        raise NotImplementedError

    def forward(self, batch: Batch) -> BatchResult:
        raise NotImplementedError

    def logits(self, batch: Batch) -> Float32Array:
        self.batches.append(batch)
        (row,) = batch.rows
        name = batch.gear.name
        for block in row.block_table.tolist():
            if row.start == 0:  # a new window: whoever reads it all at once may take the block
                self._owner[block] = name
            assert self._owner[block] == name, "another gear wrote into a block in use"
        assert row.start in (0, self._length.get(name)), "positions were skipped"
        self._length[name] = row.start + len(row.tokens)
        assert self._length[name] <= len(row.block_table) * self.block_size
        return self.tables[name][row.tokens]

    def bytes_per_token(self, gear: Gear) -> int:
        return 1

    def close(self) -> None:
        pass


def random_table(seed: int, scale: float = 2.0) -> Float32Array:
    return np.random.default_rng(seed).normal(0.0, scale, (VOCAB, VOCAB)).astype(np.float32)


def test_uniform_logits_have_the_vocabulary_as_perplexity() -> None:
    backend = Bigram({"4": np.zeros((VOCAB, VOCAB), np.float32)})
    (found,), reference = measure([Subject(backend, UNIFORM[4])], [0, 1, 2, 3, 4, 0], window=6)
    assert reference is None
    assert found.divergence is None
    assert found.tokens == 5
    assert found.perplexity.value == pytest.approx(VOCAB)
    assert found.nll.se == pytest.approx(0.0, abs=1e-12)
    assert found.bits_per(10).value == pytest.approx(5 * math.log2(VOCAB) / 10)


def test_divergence_from_a_reference_matches_the_closed_form() -> None:
    reference, gear = random_table(0), random_table(1)
    backend = Bigram({"4": gear, "16": reference})
    tokens = np.random.default_rng(2).integers(0, VOCAB, 50).tolist()
    (found,), base = measure(
        [Subject(backend, UNIFORM[4])],
        tokens,
        window=20,
        reference=Subject(backend, UNIFORM[16]),
        chunk=7,
    )
    given_, target = [], []
    for start in (0, 20, 40):
        part = tokens[start : start + 20]
        given_ += part[:-1]
        target += part[1:]
    p = np.exp(reference.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    q = np.exp(gear.astype(np.float64))
    q /= q.sum(axis=1, keepdims=True)
    kld = (p * np.log(p / q)).sum(axis=1)[given_]
    nll_p, nll_q = -np.log(p[given_, target]), -np.log(q[given_, target])
    n = len(given_)
    assert found.tokens == n == 47
    assert found.divergence is not None
    assert base is not None
    assert base.perplexity.value == pytest.approx(math.exp(nll_p.mean()), rel=1e-6)
    assert found.perplexity.value == pytest.approx(math.exp(nll_q.mean()), rel=1e-6)
    assert found.perplexity.se == pytest.approx(
        math.exp(nll_q.mean()) * nll_q.std(ddof=1) / math.sqrt(n), rel=1e-6
    )
    assert found.divergence.kld_mean.value == pytest.approx(kld.mean(), rel=1e-6)
    assert found.divergence.kld_mean.se == pytest.approx(kld.std(ddof=1) / math.sqrt(n), rel=1e-6)
    assert found.divergence.kld_max == pytest.approx(kld.max(), rel=1e-6)
    assert found.divergence.kld_p99.value == pytest.approx(np.quantile(kld, 0.99), rel=1e-6)
    same = (p.argmax(axis=1) == q.argmax(axis=1))[given_].mean()
    assert found.divergence.same_top.value == pytest.approx(same)
    assert found.divergence.perplexity_ratio.value == pytest.approx(
        math.exp((nll_q - nll_p).mean()), rel=1e-6
    )


def test_a_gear_does_not_diverge_from_itself() -> None:
    table = random_table(3)
    first, second = Bigram({"8": table}), Bigram({"16": table})
    (found,), _ = measure(
        [Subject(first, UNIFORM[8])],
        list(range(VOCAB)) * 4,
        window=8,
        reference=Subject(second, UNIFORM[16]),
    )
    assert found.divergence is not None
    assert found.divergence.kld_mean.value == 0.0
    assert found.divergence.same_top.value == 1.0
    assert found.divergence.perplexity_ratio.value == 1.0


def test_every_batch_runs_exactly_and_within_the_chunk() -> None:
    backend = Bigram({"4": random_table(0), "8": random_table(1)})
    shares: list[float] = []
    measure(
        [Subject(backend, gear) for gear in backend.gears],
        list(range(VOCAB)) * 5,
        window=25,
        chunk=9,
        progress=shares.append,
    )
    assert all(batch.exact and len(batch.rows[0].tokens) <= 9 for batch in backend.batches)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@given(st.integers(1, 30), st.integers(2, 30))
def test_result_does_not_depend_on_the_chunk(chunk: int, window: int) -> None:
    backend = Bigram({"4": random_table(0)})
    tokens = np.random.default_rng(1).integers(0, VOCAB, 40).tolist()
    subject = Subject(backend, UNIFORM[4])
    (whole,), _ = measure([subject], tokens, window=window, chunk=64)
    (parts,), _ = measure([subject], tokens, window=window, chunk=chunk)
    assert parts == whole


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(2, 12))
def test_windows_cover_every_token_once_but_a_lone_last_one(tokens: list[int], length: int) -> None:
    found = [w.tolist() for w in windows(tokens, length)]
    assert all(2 <= len(w) <= length for w in found)
    covered = [token for w in found for token in w]
    assert covered == tokens[: len(covered)]
    assert len(tokens) - len(covered) <= 1


def test_nothing_to_score_and_no_room_are_refused() -> None:
    backend = Bigram({"4": random_table(0)}, num_blocks=2)
    subject = Subject(backend, UNIFORM[4])
    with pytest.raises(InvalidRequest, match="nothing to score"):
        measure([subject], [1], window=8)
    with pytest.raises(InvalidRequest, match="blocks"):
        measure([subject, subject], [1, 2, 3], window=8, chunk=4)
    measure([subject, subject], [1, 2, 3], window=8)  # read at once, blocks can be shared
    with pytest.raises(InvalidRequest, match="scores nothing"):
        list(windows([1, 2], 1))


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0.0, -1e4]], np.float32)
    assert log_softmax(logits)[0, 0] == 0.0
    assert token_nll(logits, np.array([2], np.int32))[0] == pytest.approx(2e4)
    kld, same = Reference(logits).divergence(-logits)
    assert kld[0] == pytest.approx(2e4)
    assert not same[0]


def test_other_vocabularies_cannot_be_compared() -> None:
    with pytest.raises(InvalidRequest, match="another model"):
        Reference(np.zeros((2, 3), np.float32)).divergence(np.zeros((2, 4), np.float32))
    subject, other = Subject(Bigram({"4": random_table(0)}), UNIFORM[4]), Bigram({})
    other.vocab_size = VOCAB - 1
    with pytest.raises(InvalidRequest, match="another model"):
        measure([subject], [1, VOCAB - 1], window=8, reference=Subject(other, UNIFORM[16]))


def test_tokens_without_a_row_are_refused() -> None:
    subject = Subject(Bigram({"4": random_table(0)}), UNIFORM[4])
    measure([subject], [1, VOCAB - 1], window=8)
    with pytest.raises(InvalidRequest, match=f"token {VOCAB}; the model knows {VOCAB}"):
        measure([subject], [1, VOCAB], window=8)


def test_errors_of_share_and_quantile() -> None:
    share = proportion(np.array([True, True, True, False]))
    assert share.value == 0.75
    assert share.se == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    values = np.random.default_rng(0).exponential(size=20_000)
    found = quantile(values, 0.99)
    # Asymptotically sqrt(q (1-q) / n) / density, and the density at that quantile is 1 - q.
    assert found.value == pytest.approx(-math.log(0.01), rel=0.05)
    assert found.se == pytest.approx(math.sqrt(0.99 * 0.01 / 20_000) / 0.01, rel=0.4)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.05, 1.0, 30.0]))
def test_divergence_of_near_and_far_logits(seed: int, apart: float) -> None:
    rng = np.random.default_rng(seed)
    first = rng.normal(0.0, 3.0, (3, 50)).astype(np.float32)
    second = (first + rng.normal(0.0, apart, first.shape)).astype(np.float32)
    logp, logq = log_softmax(first), log_softmax(second)
    expected = (np.exp(logp) * (logp - logq)).sum(axis=-1)
    found, same = Reference(first).divergence(second)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    assert same.tolist() == (first.argmax(-1) == second.argmax(-1)).tolist()
