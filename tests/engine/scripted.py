"""ScriptedBackend: a FakeBackend whose answers follow a script of the text so far.

Tokens are code points. What stands in the cache is what the script is given: tokens that were put
into an answer and never computed would show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fake_backend import FakeBackend, FakeSampler, engine_over

from onesec.backend.base import BatchRow, RowResult
from onesec.budget.latency import GearCost
from onesec.core.clock import FakeClock
from onesec.core.gear import Gear
from onesec.core.thinking import ThinkingMarks
from onesec.engine.engine import Engine
from onesec.engine.structure import Vocabulary

END = 0  # the end token
THINK, ANSWER = 0xE001, 0xE002  # <think>, </think>: private use, no text of their own
MARKS = ThinkingMarks(THINK, ANSWER, (ord("\n"), ANSWER, ord("\n")))
PROMPT = tuple(map(ord, "Question"))
COSTS = {"8": GearCost(a_ms=0.5, b_ms=0.05, p_ms=0.0, q_ms=1.0)}


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(i) for i in ids if i not in (END, THINK, ANSWER))


# Of the tokens, those that a structure may be made of: ASCII.
VOCABULARY = Vocabulary(
    size=ANSWER + 1,
    token_bytes=lambda token: bytes([token]) if 0 < token < 128 else b"",
    eos_ids=(END,),
    special_ids=frozenset({END, THINK, ANSWER}),
    encode=lambda text: list(text.encode()),
)


class ScriptedBackend(FakeBackend):
    """`script` gives the next token after the answer's tokens so far. A step takes 1 ms."""

    def __init__(self, script: Callable[[list[int]], int], **options: object) -> None:
        super().__init__(
            FakeClock(10**9),
            costs=COSTS,
            vocab_size=0x110000,
            context_length=4096,
            num_blocks=1024,
            **options,  # type: ignore[arg-type]
        )
        self.script = script
        self.prompt_length = len(PROMPT)

    def _draw(self, row: BatchRow, result: RowResult, end: int, gear: Gear) -> int:
        tokens = []
        for i in range(end):
            cell = self._cells[int(row.block_table[i // self.block_size])][i % self.block_size]
            assert cell is not None, f"position {i} was never computed"
            tokens.append(cell[0])
        assert isinstance(row.sampler, FakeSampler)
        row.sampler.drawn += 1
        token = self.script(tokens[self.prompt_length :])
        mask, row.sampler.mask = row.sampler.mask, None
        if mask is not None and not mask[token // 32] >> (token % 32) & 1:
            token = next(t for t in range(32 * len(mask)) if mask[t // 32] >> (t % 32) & 1)
        result.tokens.append(token)
        if row.statistics:
            result.logprobs.append(-0.5)
            result.entropies.append(1.0)
            result.margins.append(0.5)
        if row.top_logprobs:
            result.top.append([(token, -0.5)] * row.top_logprobs)
        return token


def writes(text: str) -> Callable[[list[int]], int]:
    """A script that writes this text and ends."""
    return lambda done: ord(text[len(done)]) if len(done) < len(text) else END


def engine_of(backend: ScriptedBackend, **options: object) -> Engine:
    return engine_over(backend, eos_ids=(END,), decode_text=decode, speculate=False, **options)
