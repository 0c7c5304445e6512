"""The native engine at 16 bit gives transformers' logits and greedy answers, however asked.

One tiny checkpoint an architecture (see make_golden.py); the expected values are checked in, so
neither torch nor the network is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from engine_run import answer, tell
from fixtures import GOLDEN_DIR, NAMES, SEQUENCE_TOKENS, TOLERANCE, expected

from onesec.backend.cpu import CpuBackend, cpu_features
from onesec.core.gear import UNIFORM
from onesec.model.checkpoints import open_checkpoint

EXACT = UNIFORM[16]
CONTEXT_TOKENS = 512  # of cache: four sequences of the fixtures' 128 positions


@pytest.fixture(scope="module", params=NAMES)
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[str, CpuBackend]]:
    name: str = request.param
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        backend = CpuBackend.load(
            checkpoint,
            context_tokens=CONTEXT_TOKENS,
            sequence_tokens=SEQUENCE_TOKENS,
            threads=2,
            kv_dtype="f32",
            planes=False,
            reference=True,
        )
        yield name, backend
        backend.close()


@pytest.mark.parametrize("chunk", [None, 1, 7, 16])
def test_logits_match(loaded: tuple[str, CpuBackend], chunk: int | None) -> None:
    name, backend = loaded
    want = expected(name)
    (logits,) = tell(backend, EXACT, [want.tokens], chunk=chunk)
    assert want.deviation(logits) <= TOLERANCE


@pytest.mark.parametrize(("chunk", "max_steps"), [(None, 1), (1, 1), (7, 1), (16, 5)])
def test_greedy_answer_matches(
    loaded: tuple[str, CpuBackend], chunk: int | None, max_steps: int
) -> None:
    name, backend = loaded
    want = expected(name)
    count = len(want.greedy)
    drawn = answer(backend, EXACT, [want.prompt], count, chunk=chunk, max_steps=max_steps)
    assert drawn == [want.greedy.tolist()]


@pytest.mark.parametrize("chunk", [None, 7])
def test_side_by_side(loaded: tuple[str, CpuBackend], chunk: int | None) -> None:
    """Three sequences of different lengths in one batch; the third is the greedy path itself."""
    name, backend = loaded
    want = expected(name)
    whole, part, told = tell(
        backend, EXACT, [want.tokens, want.tokens[:29], want.told], chunk=chunk
    )
    assert want.deviation(whole) <= TOLERANCE
    assert want.deviation(part) <= TOLERANCE
    drawn = told.argmax(axis=1)[len(want.prompt) - 1 :]
    np.testing.assert_array_equal(drawn, want.greedy)


def test_greedy_answers_side_by_side(loaded: tuple[str, CpuBackend]) -> None:
    name, backend = loaded
    want = expected(name)
    others = [want.tokens[at : at + len(want.prompt)] for at in (5, 29)]
    drawn = answer(backend, EXACT, [others[0], want.prompt, others[1]], len(want.greedy))
    assert drawn[1] == want.greedy.tolist()
    for prompt, tokens in zip(others, (drawn[0], drawn[2]), strict=True):
        assert answer(backend, EXACT, [prompt], len(want.greedy)) == [tokens]


@pytest.mark.parametrize("isa", cpu_features()["isas"])
@pytest.mark.parametrize("name", NAMES)
def test_every_instruction_set(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 16 bit each gives transformers' logits; at every width its bits do not depend on the
    chunks a prompt comes in, nor on the sequences beside it."""
    monkeypatch.setenv("ONESEC_ISA", isa)
    want = expected(name)
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        backend = CpuBackend.load(
            checkpoint,
            context_tokens=CONTEXT_TOKENS,
            sequence_tokens=SEQUENCE_TOKENS,
            threads=2,
            kv_dtype="f32",
            reference=True,
        )
        assert backend.isa == isa
        for gear in backend.gears:
            (alone,) = tell(backend, gear, [want.tokens], chunk=1)
            if gear == EXACT:
                assert want.deviation(alone) <= TOLERANCE
            _, beside = tell(backend, gear, [want.told, want.tokens], chunk=5)
            np.testing.assert_array_equal(beside, alone, err_msg=f"width {gear.name}")
        backend.close()
