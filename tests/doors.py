"""Fakes for the doors: a backend that recites a text on a fake clock, and a tokenizer of code
points."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from onesec.backend.base import Batch, BatchResult, Float32Array, RowResult
from onesec.budget.latency import GearCost, LatencyModel
from onesec.core.clock import Clock, FakeClock
from onesec.core.gear import UNIFORM, Gear
from onesec.core.request import SamplingParams
from onesec.loading import LoadedModel, ProfileUse
from onesec.prompt.template import ChatTemplate

EOS = 0
STEP_MS = {"4": 1.0, "8": 2.0}
PREFILL_MS = 0.1  # a token, in gear "4"; twice that in "8"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}|{% endfor %}assistant: "


class ReciterSampler:
    """Nothing is drawn here: it only satisfies the protocol."""

    def observe(self, tokens: Iterable[int]) -> None:
        pass

    def force(self, tokens: Iterable[int]) -> None:
        pass


class Reciter:
    """The answer to any prompt of n tokens is text[n % len(text):], then the end token.

    `fail_at` makes the forward of that number raise, `interrupt_at` be interrupted (from 1 on).
    """

    vocab_size = 0x110000
    context_length = 512
    hidden_size = 3
    block_size = 16
    num_blocks = 64
    leaves_steps = False

    def __init__(self, text: str, clock: FakeClock) -> None:
        self.text = text
        self.clock = clock
        self.forwards = 0
        self.raise_at: dict[int, BaseException] = {}
        self.closed = False

    @property
    def gears(self) -> tuple[Gear, ...]:
        return (UNIFORM[4], UNIFORM[8])

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> ReciterSampler:
        return ReciterSampler()

    def forward(self, batch: Batch) -> BatchResult:
        self.forwards += 1
        if self.forwards in self.raise_at:
            raise self.raise_at[self.forwards]
        rows = [RowResult() for _ in batch.rows]
        positions = [row.start + len(row.tokens) for row in batch.rows]
        step_ms = []
        scale = STEP_MS[batch.gear.name] / STEP_MS["4"]
        for row, found in zip(batch.rows, rows, strict=True):
            if row.prompt_logprobs:
                follow = [*row.tokens[1:], row.next_token]
                found.prompt_logprobs += [-float(t) for t in follow if t is not None]
            if row.pooled:
                found.hidden = [float(sum(row.tokens)), float(len(row.tokens)), row.start]
        for _ in range(batch.max_steps):
            tokens = sum(len(row.tokens) for row in batch.rows) if not step_ms else len(rows)
            alone = tokens == len(rows) or any(row.drafted for row in batch.rows)  # no quicker
            took = scale * (STEP_MS["4"] if alone else PREFILL_MS * tokens)
            self.clock.advance_ms(took)
            step_ms.append(took)
            stopped = False
            for row, found, at in zip(batch.rows, rows, positions, strict=True):
                if row.sampler is None:
                    continue
                guessed = row.tokens[1:] if row.drafted else ()
                for guess in (*guessed, None):
                    done = at - len(guessed) + len(found.tokens)
                    token = ord(self.text[done]) if done < len(self.text) else EOS
                    found.tokens.append(token)
                    if row.statistics:
                        found.logprobs.append(-0.5)
                        found.entropies.append(1.0)
                        found.margins.append(0.5)
                    if row.top_logprobs:
                        found.top.append([(token, -0.5)][: row.top_logprobs])
                    if token in row.stop_ids:
                        stopped = True
                    if stopped or token != guess:
                        break
            if stopped or (batch.until_ns is not None and self.clock.now_ns() >= batch.until_ns):
                break
        return BatchResult(rows, step_ms, sum(step_ms), 0)

    def logits(self, batch: Batch) -> Float32Array:
        return np.zeros((1, self.vocab_size), np.float32)

    def bytes_per_token(self, gear: Gear) -> int:
        return 1000 * gear.width

    def close(self) -> None:
        self.closed = True


class CharacterStream:
    """Characters as they come."""

    def push(self, token: int) -> str:
        return chr(token)


class Characters:
    """A tokenizer whose tokens are code points."""

    chat_templates: dict[str, str] = {"default": TEMPLATE}  # noqa: RUF012  (never changed)
    special_tokens: dict[str, str] = {"eos_token": chr(EOS)}  # noqa: RUF012  (never changed)
    added_tokens: dict[str, int] = {}  # noqa: RUF012  (never changed)
    vocab_size = 0x110000
    eos_ids = (EOS,)
    bos_id = None

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()

    def encode(self, text: str, *, special: bool = False, add_bos: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True, begun: bool = False) -> str:
        return "".join(chr(token) for token in ids if token != EOS)

    def stream(self, *, skip_special: bool = True, begun: bool = False) -> CharacterStream:
        return CharacterStream()

    def protect(self, text: str) -> str:
        return text


def latency(clock: Clock, use: ProfileUse) -> LatencyModel:
    """The truth about Reciter."""
    return LatencyModel(
        {
            name: GearCost(b_ms=PREFILL_MS * ms, q_ms=ms, batch=((1, 1.0), (16, 1.0)))
            for name, ms in STEP_MS.items()
        }
    )


def recite(text: str, *, template: bool = True) -> tuple[LoadedModel, FakeClock, Reciter]:
    """A loaded model that recites `text`, its clock and its backend."""
    clock = FakeClock(1_000_000)
    backend = Reciter(text, clock)
    tokenizer: Any = Characters()
    loaded = LoadedModel(
        name="reciter",
        path=Path("reciter"),
        backend=backend,
        tokenizer=tokenizer,
        template=ChatTemplate(TEMPLATE) if template else None,
        eos_ids=(EOS,),
        context_length=backend.context_length,
        measure_latency=latency,
    )
    return loaded, clock, backend


class Marking(Characters):
    """SentencePiece's ways: a space that opens a text vanishes, and one token is special."""

    mark = "[TOOL_CALLS]"
    marking = 0xE000  # the token of the mark

    def decode(self, ids: Iterable[int], *, skip_special: bool = True, begun: bool = False) -> str:
        kept = [
            token for token in ids if token != EOS and not (skip_special and self._marks(token))
        ]
        text = "".join(self.mark if self._marks(token) else chr(token) for token in kept)
        return text if begun else text.removeprefix(" ")

    def stream(self, *, skip_special: bool = True, begun: bool = False) -> Any:
        return Detokenized(lambda ids: self.decode(ids, skip_special=skip_special, begun=begun))

    def _marks(self, token: int) -> bool:
        return token == self.marking


class Detokenized:
    """What each token adds to the text of all."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []

    def push(self, token: int) -> str:
        before = self._decode(self._tokens)
        self._tokens.append(token)
        return self._decode(self._tokens)[len(before) :]
