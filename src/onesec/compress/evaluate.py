"""Evaluate: what a gear costs in accuracy, measured token by token on a text.

Perplexity of each subject, and its divergence from a reference distribution (the 16-bit width):
KL divergence and how often both put the same token first; each with its standard error over tokens.
The text is cut into non-overlapping windows; the first token of each window is not scored; every
other one is predicted from the true tokens before it, through the decode arithmetic (Batch.exact).
It must not know files, tokenizers, or how a backend computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesec.backend.base import Backend, Batch, BatchRow, Float32Array, Int32Array
from onesec.core.errors import InvalidRequest
from onesec.core.gear import Gear

Float64Array = npt.NDArray[np.float64]

CHUNK_TOKENS = 256  # logits held at once: CHUNK_TOKENS x vocab x 4 bytes a subject
_FLOAT32_EXPONENT = 40.0  # exp of it times a vocabulary is far inside float32
_BLOCK_VALUES = 1 << 20  # float64 values worked on at once: a few rows, so that they stay in cache


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value and its standard error."""

    value: float
    se: float


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a gear of a backend."""

    backend: Backend
    gear: Gear


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a gear's next-token distributions lie from the reference's; kld in nats."""

    kld_mean: Estimate
    kld_p99: Estimate
    kld_max: float
    same_top: Estimate  # share of positions where both put the same token first
    perplexity_ratio: Estimate  # gear's perplexity / reference's, paired over tokens


@dataclass(frozen=True, slots=True)
class Quality:
    """What `measure` found of one subject; `nll_total` sums -log p over tokens, in nats."""

    gear: str
    tokens: int
    nll_total: float
    nll: Estimate
    perplexity: Estimate
    divergence: Divergence | None = None

    def bits_per(self, units: int) -> Estimate:
        """Bits for each of `units` characters or bytes that the scored tokens spell."""
        scale = self.tokens / (units * math.log(2.0))
        return Estimate(self.nll.value * scale, self.nll.se * scale)


def windows(tokens: Sequence[int], length: int) -> Iterator[Int32Array]:
    """Non-overlapping windows of `length` tokens; the last may be shorter, with two tokens or more.

    >>> [w.tolist() for w in windows([1, 2, 3, 4, 5], 3)]
    [[1, 2, 3], [4, 5]]
    """
    if length < 2:
        raise InvalidRequest(f"a window of {length} tokens scores nothing; it needs 2 or more.")
    array = np.asarray(tokens, dtype=np.int32)
    for start in range(0, len(array), length):
        window = array[start : start + length]
        if len(window) >= 2:
            yield window


def check_tokens(tokens: Sequence[int], vocab_size: int) -> None:
    """Raise InvalidRequest for a token without a row, such as one added to the tokenizer alone.

    >>> check_tokens([1, 2], 3)
    """
    highest = max(tokens, default=0)
    if highest >= vocab_size:
        raise InvalidRequest(
            f"The text has the token {highest}; the model knows {vocab_size}.",
            hint="It was added to the tokenizer alone: leave out of the text what it spells.",
        )


def mean(values: Float64Array) -> Estimate:
    """Sample mean with its standard error (nan with fewer than two values)."""
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan)
    se = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(float(values.mean()), se)


def proportion(hits: npt.NDArray[np.bool_]) -> Estimate:
    """Share of true values with the Wald standard error."""
    share = float(hits.mean()) if len(hits) else math.nan
    return Estimate(share, math.sqrt(share * (1.0 - share) / len(hits)) if len(hits) else math.nan)


def quantile(values: Float64Array, q: float) -> Estimate:
    """The q-quantile; its error is half the distance between the order statistics one binomial
    standard deviation of rank to either side."""
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan)
    ranked = np.sort(values)
    spread = math.sqrt(n * q * (1.0 - q))
    low = ranked[max(0, math.floor(n * q - spread))]
    high = ranked[min(n - 1, math.ceil(n * q + spread))]
    return Estimate(float(np.quantile(ranked, q)), float(high - low) / 2.0)


def log_softmax(logits: npt.NDArray[np.floating]) -> Float64Array:
    """float64 log-probabilities along the last axis."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def token_nll(logits: Float32Array, targets: Int32Array) -> Float64Array:
    """float64 [n]: -log p(target) in nats, of logits [n, vocab]."""
    out = np.empty(len(targets))
    for rows in _row_blocks(*logits.shape):
        logp = log_softmax(logits[rows])
        out[rows] = -logp[np.arange(len(logp)), targets[rows]]
    return out


class Reference:
    """The reference's distributions after n tokens: float32 logits [n, vocab], prepared once for
    many subjects."""

    def __init__(self, logits: Float32Array) -> None:
        self.logits = logits
        self.top = logits.argmax(axis=-1)
        self._p = np.empty_like(logits)
        for rows in _row_blocks(*logits.shape):
            self._p[rows] = np.exp(log_softmax(logits[rows]))

    def divergence(self, logits: Float32Array) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
        """KL(reference || other) in nats, float64 [n]; and whether both put the same token first.

        With d = reference - other and c its mean under the reference, KL = log E[exp(c - d)]:
        small numbers stay small, so float32 terms are exact enough (1e-8 nats) and quick.
        """
        if self.logits.shape != logits.shape:
            raise InvalidRequest(
                f"logits of shape {logits.shape} cannot be compared with {self.logits.shape}: "
                "the reference is another model."
            )
        kld = np.empty(len(logits))
        for rows in _row_blocks(*logits.shape):
            p, wide = self._p[rows], self.logits[rows] - logits[rows]
            mean_d = (p * wide).sum(axis=-1, dtype=np.float64)
            mean_d /= p.sum(axis=-1, dtype=np.float64)
            apart = mean_d[:, None].astype(np.float32) - wide
            if apart.max() < _FLOAT32_EXPONENT:
                excess = (p * np.expm1(apart)).sum(axis=-1, dtype=np.float64)
                kld[rows] = np.log1p(np.maximum(excess, 0.0))
            else:
                logp, logq = log_softmax(self.logits[rows]), log_softmax(logits[rows])
                kld[rows] = (np.exp(logp) * (logp - logq)).sum(axis=-1)
        # A divergence is never negative; rounding may leave -1e-17.
        return np.maximum(kld, 0.0), self.top == logits.argmax(axis=-1)


def _row_blocks(rows: int, vocab: int) -> Iterator[slice]:
    step = max(1, _BLOCK_VALUES // vocab)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


class _Teller:
    """One subject reading one window after another, teacher-forced, with blocks of its own."""

    def __init__(self, subject: Subject, first_block: int, blocks: int) -> None:
        self._subject = subject
        self._table = np.arange(first_block, first_block + blocks, dtype=np.int32)

    def read(self, tokens: Int32Array, start: int) -> Float32Array:
        """float32 [n, vocab]: logits after each of `tokens`, the first at position `start`."""
        row = BatchRow(tokens=tokens, start=start, block_table=self._table)
        backend = self._subject.backend
        return backend.logits(Batch(gear=self._subject.gear, rows=[row], exact=True))


def _tellers(subjects: Sequence[Subject], window: int, *, shared: bool) -> list[_Teller]:
    """Give every subject blocks for `window` tokens, apart from the others on the same backend
    unless `shared`: where a window is read at once, nobody comes back to what it wrote."""
    used: dict[int, int] = {}
    tellers = []
    for subject in subjects:
        backend = subject.backend
        blocks = -(-window // backend.block_size)
        first = used.get(id(backend), 0)
        if first + blocks > backend.num_blocks:
            raise InvalidRequest(
                f"Windows of {window} tokens for {len(subjects)} gears side by side need "
                f"{first + blocks} cache blocks or more; the backend has {backend.num_blocks}.",
                hint="Use a shorter window or a larger cache.",
            )
        used[id(backend)] = first if shared else first + blocks
        tellers.append(_Teller(subject, first, blocks))
    return tellers


def measure(
    subjects: Sequence[Subject],
    tokens: Sequence[int],
    *,
    window: int,
    reference: Subject | None = None,
    chunk: int = CHUNK_TOKENS,
    progress: Callable[[float], None] | None = None,
) -> tuple[list[Quality], Quality | None]:
    """Quality of every subject on `tokens`, and of the reference where there is one.

    All of them run over the same windows side by side, `chunk` tokens at a time, so that only one
    chunk of logits a subject is held. Raises InvalidRequest when there is nothing to score, or a
    token has no row.

    >>> found, ref = measure([Subject(cpu, gear4)], ids, window=512, reference=Subject(cpu, gear16))
    ... # doctest: +SKIP
    """
    total = sum(len(w) - 1 for w in windows(tokens, window))
    if total == 0:
        raise InvalidRequest(f"{len(tokens)} tokens leave nothing to score; give 2 or more.")
    everyone = [*subjects, reference] if reference is not None else list(subjects)
    sizes = {subject.backend.vocab_size for subject in everyone}
    if len(sizes) > 1:
        raise InvalidRequest(
            f"Models of {', '.join(map(str, sorted(sizes)))} tokens cannot be compared: "
            "the reference is another model."
        )
    check_tokens(tokens, *sizes)
    tellers = _tellers(everyone, window, shared=window - 1 <= chunk)
    nll: list[list[Float64Array]] = [[] for _ in everyone]
    kld: list[list[Float64Array]] = [[] for _ in subjects]
    same: list[list[npt.NDArray[np.bool_]]] = [[] for _ in subjects]
    done = 0
    for tokens_of_window in windows(tokens, window):
        for start in range(0, len(tokens_of_window) - 1, chunk):
            stop = min(start + chunk, len(tokens_of_window) - 1)
            given = tokens_of_window[start:stop]
            targets = tokens_of_window[start + 1 : stop + 1]
            base = None
            if reference is not None:
                base = Reference(tellers[-1].read(given, start))
                nll[-1].append(token_nll(base.logits, targets))
            for i in range(len(subjects)):
                logits = tellers[i].read(given, start)
                nll[i].append(token_nll(logits, targets))
                if base is not None:
                    divergence, agree = base.divergence(logits)
                    kld[i].append(divergence)
                    same[i].append(agree)
            done += stop - start
            if progress is not None:
                progress(done / total)
    joined = [np.concatenate(parts) for parts in nll]
    found = [
        _quality(
            subject.gear.name,
            joined[i],
            None
            if reference is None
            else _divergence(
                np.concatenate(kld[i]), np.concatenate(same[i]), joined[i] - joined[-1]
            ),
        )
        for i, subject in enumerate(subjects)
    ]
    return found, None if reference is None else _quality(reference.gear.name, joined[-1], None)


def _quality(gear: str, nll: Float64Array, divergence: Divergence | None) -> Quality:
    average = mean(nll)
    perplexity = _exp(average)
    return Quality(gear, len(nll), float(nll.sum()), average, perplexity, divergence)


def _divergence(
    kld: Float64Array, same: npt.NDArray[np.bool_], nll_difference: Float64Array
) -> Divergence:
    return Divergence(
        kld_mean=mean(kld),
        kld_p99=quantile(kld, 0.99),
        kld_max=float(kld.max()),
        same_top=proportion(same),
        perplexity_ratio=_exp(mean(nll_difference)),
    )


def _exp(estimate: Estimate) -> Estimate:
    """exp of an estimate; its error to first order. inf where it leaves the range of a float."""
    value = math.exp(estimate.value) if estimate.value < 709.0 else math.inf
    return Estimate(value, value * estimate.se)
