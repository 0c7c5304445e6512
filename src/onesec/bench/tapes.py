"""TapedBackend: greedy answers that were computed once are not computed again.

A greedy token follows from the tokens before it and the gears that computed them, whatever else is
in the batch. So an answer that has kept to one gear is read from its tape; when it leaves the tape
(another gear, or further than anyone came), its cache is made good first, and it is computed. It
must not know time: it gives the tokens that the backend beneath would give.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np

from onesec.backend.base import (
    Backend,
    Batch,
    BatchResult,
    BatchRow,
    Float32Array,
    Int32Array,
    RowResult,
    Sampler,
)
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

_Key = tuple[bytes, str]  # the prompt as it was read, the gear that answers


@dataclass(slots=True)
class _Life:
    """One sequence, known by the first block of its table.

    `run` is what its cache would hold if all was computed: (gear, tokens, exact) of each call.
    `key` names its tape while it keeps to one gear; None before its first step and after a shift.
    """

    run: list[tuple[Gear, Int32Array, bool]] = field(default_factory=list)
    prompt: bytes = b""
    key: _Key | None = None
    steps: int = 0  # decode steps so far
    computed: bool = False  # whether the cache beneath holds `run`
    shifted: bool = False


class TapedBackend:
    """A Backend for greedy rows without penalties, under an engine without a prefix cache: each
    sequence's first block is its own."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._firsts: dict[bytes, int] = {}  # the token that the prompt's end draws
        self._tapes: dict[_Key, list[int]] = {}  # those of the decode steps behind it
        self._lives: dict[int, _Life] = {}
        self.vocab_size = inner.vocab_size
        self.context_length = inner.context_length
        self.block_size = inner.block_size
        self.num_blocks = inner.num_blocks
        self.gears: tuple[Gear, ...] = inner.gears
        self.leaves_steps = False
        self.taped_tokens = self.computed_tokens = 0

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> Sampler:
        return self._inner.sampler(params, eos_ids=eos_ids)

    def rest(self, until_ns: int | None) -> BatchResult | None:
        """Nothing: no step is left alone."""
        return None

    def logits(self, batch: Batch) -> Float32Array:
        return self._inner.logits(batch)

    def bytes_per_token(self, gear: Gear) -> int:
        return self._inner.bytes_per_token(gear)

    def close(self) -> None:
        """Nothing of its own: whoever opened the backend beneath closes it."""

    def forward(self, batch: Batch) -> BatchResult:
        """As the backend beneath, without times: `step_ms` are zeros, no instant is read."""
        lives = [self._life(row, batch.gear) for row in batch.rows]
        known = [self._known(life, row, batch) for life, row in zip(lives, batch.rows, strict=True)]
        steps = batch.max_steps
        for tokens, row in zip(known, batch.rows, strict=True):
            if tokens is not None and row.sampler is not None:
                steps = min(steps, _until_stop(tokens, row.stop_ids))
        missing = [i for i, tokens in enumerate(known) if tokens is None]
        results = {}
        if missing:
            for i in missing:
                self._make_good(lives[i], batch.rows[i])
            rows = [batch.rows[i] for i in missing]
            made = self._inner.forward(
                replace(batch, rows=rows, max_steps=steps, until_ns=None, watch_ns=None)
            )
            steps = len(made.step_ms)
            results = dict(zip(missing, made.rows, strict=True))
        for i, tokens in enumerate(known):
            if tokens is not None:
                results[i] = RowResult(tokens[:steps])
                self.taped_tokens += len(results[i].tokens)
            else:
                lives[i].computed = True
                self.computed_tokens += len(results[i].tokens)
            self._note(lives[i], batch.rows[i], batch, results[i].tokens)
        rows_out = [results[i] for i in range(len(batch.rows))]
        return BatchResult(rows_out, [0.0] * steps, 0.0, 0)

    def _life(self, row: BatchRow, gear: Gear) -> _Life:
        first = int(row.block_table[0])
        if row.start == 0:
            self._lives[first] = _Life()
        life = self._lives[first]
        if life.prompt and not life.shifted:
            key = (life.prompt, gear.name)
            life.shifted = life.key is not None and life.key != key
            life.key = None if life.shifted else key
        return life

    def _known(self, life: _Life, row: BatchRow, batch: Batch) -> list[int] | None:
        """The tokens that the tape says come next; None where they have to be computed."""
        if life.computed or life.shifted or row.statistics or row.drafted or row.prompt_logprobs:
            return None
        if row.sampler is None:
            return []
        if not life.prompt:  # its end
            token = self._firsts.get(_digest(life, row, batch.gear))
            return None if token is None else [token]
        tape = self._tapes.get(life.key, []) if life.key is not None else []
        return tape[life.steps :] or None

    def _make_good(self, life: _Life, row: BatchRow) -> None:
        """Compute what was only read from tapes."""
        if not life.computed:
            start = 0
            for gear, tokens, exact in life.run:
                past = BatchRow(tokens, start, row.block_table, statistics=False)
                self._inner.forward(Batch(gear, [past], exact=exact))
                start += len(tokens)
            life.computed = True

    def _note(self, life: _Life, row: BatchRow, batch: Batch, drawn: list[int]) -> None:
        """Remember what was run and, on a tape's path, what came of it."""
        gear = batch.gear
        if not life.computed or not life.prompt:
            # The last token drawn is not in the cache yet.
            later = np.array(drawn[:-1], dtype=np.int32)
            life.run.append((gear, np.concatenate([row.tokens, later]), batch.exact))
        if row.sampler is None:
            return
        if not life.prompt:
            life.prompt = _digest(life)
            self._firsts[life.prompt] = drawn[0]
        elif life.key is not None:
            tape = self._tapes.setdefault(life.key, [])
            life.steps += len(drawn)
            if life.steps > len(tape):
                tape += drawn[len(tape) - life.steps :]


def _digest(life: _Life, row: BatchRow | None = None, gear: Gear | None = None) -> bytes:
    """A name of the prompt: of all that was run, in which gears, and of the row that comes next."""
    name = blake2b(digest_size=16)
    for gear, tokens, _ in life.run:
        name.update(gear.name.encode() + b"\0" + tokens.tobytes())
    if row is not None and gear is not None:
        name.update(gear.name.encode() + b"\0" + row.tokens.tobytes())
    return name.digest()


def _until_stop(tokens: list[int], stop_ids: tuple[int, ...]) -> int:
    for i, token in enumerate(tokens):
        if token in stop_ids:
            return i + 1
    return len(tokens)
