"""The torch transformer over plain ops gives transformers' logits and answers, and the CPU engine's
at every width; run on the processor, so no GPU is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
import torch
from engine_run import answer, pooled, tell
from fixtures import GOLDEN_DIR, NAMES, SEQUENCE_TOKENS, TOLERANCE, expected

from onesec.backend.cpu import CpuBackend
from onesec.backend.gpu.backend import GpuBackend
from onesec.backend.gpu.ops_plain import plane_values
from onesec.backend.gpu.weights import random_weights
from onesec.core.gear import UNIFORM
from onesec.model import plane_values as in_numpy
from onesec.model.checkpoints import open_checkpoint
from onesec.model.planes import PackedMatrix

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

EXACT = UNIFORM[16]


def _load(name: str, **options: object) -> GpuBackend:
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        return GpuBackend.load(
            checkpoint,
            context_tokens=512,
            sequence_tokens=SEQUENCE_TOKENS,
            kv_dtype="f32",
            compute_dtype="f32",
            reference=True,
            device="cpu",
            **options,  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module", params=NAMES)
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[str, GpuBackend]]:
    backend = _load(request.param)
    yield request.param, backend
    backend.close()


@pytest.mark.parametrize("chunk", [None, 7])
def test_logits_match(loaded: tuple[str, GpuBackend], chunk: int | None) -> None:
    name, backend = loaded
    want = expected(name)
    (logits,) = tell(backend, EXACT, [want.tokens], chunk=chunk)
    assert want.deviation(logits) <= TOLERANCE


@pytest.mark.parametrize(("chunk", "max_steps"), [(None, 1), (7, 1), (16, 5)])
def test_greedy_answer_matches(
    loaded: tuple[str, GpuBackend], chunk: int | None, max_steps: int
) -> None:
    name, backend = loaded
    want = expected(name)
    count = len(want.greedy)
    drawn = answer(backend, EXACT, [want.prompt], count, chunk=chunk, max_steps=max_steps)
    assert drawn == [want.greedy.tolist()]


def test_hidden_states_are_the_cpu_engines(loaded: tuple[str, GpuBackend]) -> None:
    name, backend = loaded
    tokens = expected(name).tokens
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        cpu = CpuBackend.load(
            checkpoint,
            context_tokens=512,
            sequence_tokens=SEQUENCE_TOKENS,
            kv_dtype="f32",
            planes=False,
            reference=True,
        )
        wanted = pooled(cpu, EXACT, tokens)
        cpu.close()
    for (found, _), (reference, _) in zip(pooled(backend, EXACT, tokens), wanted, strict=True):
        assert np.abs(found - reference).max() <= TOLERANCE * reference.std()


def test_side_by_side(loaded: tuple[str, GpuBackend]) -> None:
    name, backend = loaded
    want = expected(name)
    others = [want.tokens[at : at + len(want.prompt)] for at in (5, 29)]
    drawn = answer(backend, EXACT, [others[0], want.prompt, others[1]], len(want.greedy))
    assert drawn[1] == want.greedy.tolist()


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("name", NAMES)
def test_planes_are_the_cpu_engines(name: str, width: int) -> None:
    """At 4 and 8 bits the logits differ from the CPU's by what its 8-bit activations round off:
    far less than the widths themselves differ from the reference."""
    want, backend = expected(name), _load(name)
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        cpu = CpuBackend.load(
            checkpoint, context_tokens=512, sequence_tokens=SEQUENCE_TOKENS, kv_dtype="f32"
        )
        (reference,) = tell(cpu, UNIFORM[width], [want.tokens])
        cpu.close()
    (logits,) = tell(backend, UNIFORM[width], [want.tokens])
    backend.close()
    assert np.abs(logits - reference).mean() <= 0.03 * reference.std()


@pytest.mark.parametrize("width", [4, 8])
def test_values_of_planes(width: int) -> None:
    """Bit for bit those that numpy reads from the same bytes."""
    with open_checkpoint(GOLDEN_DIR / "llama2") as checkpoint:
        weights = random_weights(checkpoint.config, torch.device("cpu"), seed=5)
    matrix = weights.layers[1].down
    assert matrix.hi is not None
    assert matrix.lo is not None
    assert matrix.row_scale is not None
    packed = PackedMatrix(
        matrix.hi.numpy().reshape(-1),
        matrix.lo.numpy().reshape(-1),
        matrix.row_scale.numpy(),
        matrix.rows,
        matrix.cols,
    )
    want = in_numpy.plane_values(packed, width)
    np.testing.assert_allclose(plane_values(matrix, width).numpy(), want, rtol=1e-6, atol=1e-6)
