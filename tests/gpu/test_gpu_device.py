"""On a GPU: every architecture's greedy answers, every width, rows beside each other, drafts.

Each set of kernels that the device can run is tested: Triton's, and those of CUDA C++ where nvcc
is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
import torch
from engine_run import answer, block_tables, tell
from fixtures import GOLDEN_DIR, NAMES, SEQUENCE_TOKENS, TOLERANCE, expected
from make_divergence import FILE, ROOT, SOURCE, arbitrary, divergence, divergence_of

from onesec.backend.base import Batch, BatchRow
from onesec.backend.gpu import backend as gpu_module
from onesec.backend.gpu.backend import GpuBackend
from onesec.backend.gpu.kernels import DECODE_KERNELS
from onesec.backend.gpu.ops_plain import PlainOps
from onesec.core.gear import UNIFORM
from onesec.core.request import SamplingParams
from onesec.model.artifact import open_artifact
from onesec.model.checkpoints import open_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

EXACT = UNIFORM[16]
MINI = ROOT / "src" / "onesec" / "assets" / "onesec-mini"
GREEDY = SamplingParams(ignore_eos=True)


@pytest.fixture(autouse=True, params=list(DECODE_KERNELS))
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Steps run on this set of kernels."""
    make = DECODE_KERNELS[request.param]
    if make(torch.device("cuda"), torch.bfloat16) is None:
        pytest.skip(f"{request.param} kernels cannot be had here")
    monkeypatch.setattr(gpu_module, "decode_ops", make)
    return str(request.param)


@pytest.fixture
def exact_kernels(kernels: str) -> None:
    """For tests of float32, which not every set has."""
    if DECODE_KERNELS[kernels](torch.device("cuda"), torch.float32) is None:
        pytest.skip(f"{kernels} kernels have no float32")


def _golden(name: str, *, compute: str = "f32", device: str = "cuda") -> GpuBackend:
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        return GpuBackend.load(
            checkpoint,
            context_tokens=512,
            sequence_tokens=SEQUENCE_TOKENS,
            kv_dtype="f32",
            compute_dtype=compute,
            planes=False,
            reference=True,
            device=device,
        )


def _mini(**options: str) -> GpuBackend:
    return GpuBackend.load(open_artifact(MINI), context_tokens=2048, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("exact_kernels")
@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_in_float32(name: str) -> None:
    """Logits within the tolerance, stepwise and as a prompt; 64 greedy tokens are the same."""
    backend, want = _golden(name), expected(name)
    (stepwise,) = tell(backend, EXACT, [want.tokens], chunk=7)
    assert want.deviation(stepwise) <= TOLERANCE
    (row,) = [BatchRow(want.tokens, 0, block_tables(backend, [len(want.tokens)])[0])]
    assert want.deviation(backend.logits(Batch(EXACT, [row]))) <= TOLERANCE
    count = len(want.greedy)
    others = [want.tokens[at : at + len(want.prompt)] for at in (5, 29)]
    drawn = answer(backend, EXACT, [others[0], want.prompt, others[1]], count, max_steps=9)
    assert drawn[1] == want.greedy.tolist()
    assert answer(backend, EXACT, [want.prompt], count, chunk=5) == [want.greedy.tolist()]
    backend.close()


@pytest.mark.parametrize("name", ["llama3", "qwen2-bf16", "gemma2"])
def test_bfloat16_picks_the_same_where_the_choice_is_clear(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, want = _golden(name, compute="bf16"), expected(name)
    (logits,) = tell(backend, EXACT, [want.told], chunk=8)
    backend.close()
    monkeypatch.setattr(gpu_module, "decode_ops", lambda *_: PlainOps())
    exact = _golden(name, device="cpu")
    (reference,) = tell(exact, EXACT, [want.told], chunk=8)
    exact.close()
    off = np.abs(logits - reference).max()
    assert np.abs(logits - reference).mean() <= 0.03 * reference.std()
    best = np.sort(reference, axis=1)
    clear = best[:, -1] - best[:, -2] > 3 * off
    assert clear.any()
    np.testing.assert_array_equal(logits.argmax(1)[clear], reference.argmax(1)[clear])


@pytest.mark.parametrize("width", [4, 8])
def test_planes_give_what_plain_ops_give(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = arbitrary(width)
    backend = _mini(kv_dtype="f32")
    (logits,) = tell(backend, UNIFORM[width], [tokens])
    backend.close()
    monkeypatch.setattr(gpu_module, "decode_ops", lambda *_: PlainOps())
    plain = GpuBackend.load(
        open_artifact(MINI), context_tokens=2048, compute_dtype="f32", kv_dtype="f32", device="cpu"
    )
    (reference,) = tell(plain, UNIFORM[width], [tokens])
    plain.close()
    # 8-bit activations, where the kernels have them, are all that may differ.
    assert np.abs(logits - reference).mean() <= 0.02 * reference.std()
    cost = json.loads(FILE.read_text())["activations"][str(width)]
    assert divergence_of(logits, reference) <= 1.25 * cost


def test_widths_lose_what_they_lose_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL divergence from the 16-bit source, against the CPU engine's on the same tokens."""
    stored = json.loads(FILE.read_text())
    tokens = np.array(stored["tokens"], dtype=np.int32)
    with open_checkpoint(SOURCE) as source, monkeypatch.context() as patch:
        patch.setattr(gpu_module, "decode_ops", lambda *_: PlainOps())
        exact = GpuBackend.load(
            source,
            context_tokens=1024,
            planes=False,
            reference=True,
            compute_dtype="f32",
            kv_dtype="f32",
            device="cpu",
        )
        (reference,) = tell(exact, EXACT, [tokens], chunk=16)
        exact.close()
    backend = _mini(kv_dtype="f32")
    for width in (4, 8):
        found = divergence(backend, width, tokens, reference)
        assert found == pytest.approx(stored["kld"][str(width)], rel=0.25, abs=2e-4)
    backend.close()


def test_rows_do_not_touch_each_other() -> None:
    """Greedy tokens alone and among seven others, in every gear, shifting between any two."""
    backend = _mini()
    prompts = [np.random.default_rng(i).integers(0, 3000, 20).astype(np.int32) for i in range(8)]
    for gear in backend.gears:
        together = answer(backend, gear, prompts, 24, max_steps=5)
        for prompt, tokens in zip(prompts[:3], together, strict=False):
            assert answer(backend, gear, [prompt], 24, max_steps=7) == [tokens]
    backend.close()


@pytest.mark.parametrize("width", [4, 8])
def test_prompts_by_graphs_give_what_prompts_without_them_give(width: int) -> None:
    """Of each length twice, in turn: graphs share their memory. Then from behind the start."""
    backend = _mini()
    tokens = np.random.default_rng(width).integers(0, 3000, 700).astype(np.int32)
    (table,) = block_tables(backend, [700])
    for start, count in ((0, 3), (0, 700), (0, 64), (0, 3), (64, 200), (0, 700), (690, 10)):
        part = tokens[start : start + count]
        plain = backend.logits(Batch(UNIFORM[width], [BatchRow(part, start, table)]))[-1]
        row = BatchRow(part, start, table, sampler=backend.sampler(GREEDY, eos_ids=()))
        told = backend.forward(Batch(UNIFORM[width], [row])).rows[0]
        shifted = plain - plain.max()
        logs = shifted - np.log(np.exp(shifted).sum())
        # A graph has padded rows, whose products the library may cut and round otherwise.
        assert told.logprobs[0] == pytest.approx(logs[told.tokens[0]], abs=0.1)
        assert logs.max() - logs[told.tokens[0]] <= 0.1
    backend.close()


def test_a_draft_changes_nothing() -> None:
    backend = _mini()
    gear = backend.gears[-1]
    prompt = np.arange(5, 25, dtype=np.int32)
    (told,) = answer(backend, gear, [prompt], 12)
    (table,) = block_tables(backend, [64])
    state = backend.sampler(GREEDY, eos_ids=())
    backend.forward(Batch(gear, [BatchRow(prompt, 0, table, sampler=state)]))
    wrong = [*told[:5], (told[5] + 1) % 100, 7]
    row = BatchRow(np.array(wrong, np.int32), len(prompt), table, sampler=state, drafted=True)
    result = backend.forward(Batch(gear, [row])).rows[0]
    assert result.tokens == told[1:6]
    backend.close()
