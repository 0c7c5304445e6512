"""Prompts of the GPU backend, run on the processor: padded to a graph's size they give what the
steps give; the prompts' kernels, in Triton's interpreter, give what transformers gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
import torch
from engine_run import answer, block_tables
from fixtures import GOLDEN_DIR, SEQUENCE_TOKENS, TOLERANCE, expected

from onesec.backend.base import Batch, BatchRow
from onesec.backend.gpu import backend as gpu_module
from onesec.backend.gpu.backend import GpuBackend
from onesec.backend.gpu.ops import Picked, Steps
from onesec.backend.gpu.ops_prompt import PromptOps
from onesec.backend.gpu.prompt_replay import PROMPT_SIZES, PromptReplay, prompt_size
from onesec.core.gear import UNIFORM, Gear
from onesec.core.request import SamplingParams
from onesec.model.checkpoints import open_checkpoint

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

EXACT = UNIFORM[16]
GREEDY = SamplingParams(ignore_eos=True)
CPU = torch.device("cpu")
Told = tuple[list[int], list[float], list[float], list[float]]


def _load(name: str, *, context: int = 512, planes: bool = True) -> GpuBackend:
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        return GpuBackend.load(
            checkpoint,
            context_tokens=context,
            sequence_tokens=SEQUENCE_TOKENS,
            kv_dtype="f32",
            compute_dtype="f32",
            planes=planes,
            reference=True,
            device="cpu",
        )


@pytest.fixture(scope="module")
def backend() -> Iterator[GpuBackend]:
    loaded = _load("llama2")
    yield loaded
    loaded.close()


def _tokens(backend: GpuBackend, count: int, seed: int = 0) -> npt.NDArray[np.int32]:
    random = np.random.default_rng(seed)
    return random.integers(0, backend.vocab_size, count, dtype=np.int32)


def _told(
    backend: GpuBackend,
    gear: Gear,
    sequences: list[tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int32]]],
    *,
    exact: bool,
) -> list[Told]:
    """What rows (start, tokens, block table) draw, and what is told of it."""
    rows = [
        BatchRow(tokens, start, table, sampler=backend.sampler(GREEDY, eos_ids=()))
        for start, tokens, table in sequences
    ]
    found = backend.forward(Batch(gear, rows, exact=exact)).rows
    return [(row.tokens, row.logprobs, row.entropies, row.margins) for row in found]


def _assert_alike(got: list[Told], want: list[Told]) -> None:
    for one, other in zip(got, want, strict=True):
        assert one[0] == other[0]
        np.testing.assert_allclose(one[1:], other[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("count", [2, 15, 16, 17, 100])
def test_a_prompt_gives_what_its_steps_give(backend: GpuBackend, count: int, width: int) -> None:
    """Whole, and as a chunk behind tokens that are in the cache."""
    tokens = _tokens(backend, count, seed=count)
    whole, begun = block_tables(backend, [count, count])
    want = _told(backend, UNIFORM[width], [(0, tokens, begun)], exact=True)
    _assert_alike(_told(backend, UNIFORM[width], [(0, tokens, whole)], exact=False), want)
    start = count // 3
    rest = _told(backend, UNIFORM[width], [(start, tokens[start:], begun)], exact=False)
    _assert_alike(rest, want)


@pytest.mark.parametrize("counts", [[70, 1, 16, 33], [1, 40, 1]])
def test_rows_beside_each_other(backend: GpuBackend, counts: list[int]) -> None:
    """Prompts beside each other and beside rows that go on."""
    tables = block_tables(backend, [count + 1 for count in counts])
    rows = [
        (0, _tokens(backend, n, seed=n), table) for n, table in zip(counts, tables, strict=True)
    ]
    want = [told for row in rows for told in _told(backend, EXACT, [row], exact=True)]
    _assert_alike(_told(backend, EXACT, rows, exact=False), want)


def test_rows_that_are_not_used_touch_no_cache(backend: GpuBackend) -> None:
    """A chunk inside a sequence is run again; what was cached behind it is still there."""
    tokens = _tokens(backend, 60, seed=7)
    (table,) = block_tables(backend, [61])
    _told(backend, EXACT, [(0, tokens, table)], exact=False)
    want = _told(backend, EXACT, [(59, tokens[59:], table)], exact=True)
    for gear in (UNIFORM[4], EXACT):
        _told(backend, gear, [(10, tokens[10:19], table)], exact=False)
    _assert_alike(_told(backend, EXACT, [(59, tokens[59:], table)], exact=True), want)


@pytest.mark.parametrize("count", [40, PROMPT_SIZES[-1] + 1])
def test_a_prompt_that_ends_nothing_draws_nothing(count: int) -> None:
    """Neither by a graph nor, longer, without one; the rest of it draws what the whole would."""
    with open_checkpoint(GOLDEN_DIR / "llama2") as checkpoint:
        config = replace(checkpoint.config, context_length=2048)
    long = GpuBackend.random(
        config, kv_dtype="f32", compute_dtype="f32", planes=False, reference=True, device="cpu"
    )
    tokens = _tokens(long, count + 1)
    one, other = block_tables(long, [count + 1] * 2)
    begun = long.forward(Batch(EXACT, [BatchRow(tokens[:count], 0, one)])).rows[0]
    assert begun.tokens == []
    want = _told(long, EXACT, [(0, tokens, other)], exact=False)
    _assert_alike(_told(long, EXACT, [(count, tokens[count:], one)], exact=False), want)
    long.close()


def test_drafts_and_told_prompts_are_drawn_from_where_they_end(backend: GpuBackend) -> None:
    """Beside a chunk that ends nothing and a row that is pooled, whose logits nobody wants."""
    prompt = _tokens(backend, 20, seed=3)
    drawn = answer(backend, EXACT, [prompt], 4)[0]
    tables = block_tables(backend, [40] * 4)
    _told(backend, EXACT, [(0, prompt, tables[0])], exact=False)
    draft = np.array([drawn[0], drawn[1], (drawn[2] + 1) % 100, 5], np.int32)
    state = backend.sampler(GREEDY, eos_ids=())
    rows = [
        BatchRow(prompt, 0, tables[1]),
        BatchRow(draft, 20, tables[0], sampler=state, drafted=True),
        BatchRow(prompt, 0, tables[2], sampler=state, prompt_logprobs=True),
        BatchRow(prompt, 0, tables[3], pooled=True),
    ]
    found = backend.forward(Batch(EXACT, rows)).rows
    assert [row.tokens for row in found] == [[], drawn[1:3], drawn[:1], []]
    assert len(found[2].prompt_logprobs) == len(prompt) - 1


@pytest.mark.parametrize("context", [7, 64])
def test_a_tiny_context(context: int) -> None:
    """Smaller than a graph's size, and full to the last position."""
    small = _load("llama2", context=context, planes=False)
    small.warm()
    count = small.context_length
    (table,) = block_tables(small, [count])
    row = (0, _tokens(small, count), table)
    _assert_alike(_told(small, EXACT, [row], exact=False), _told(small, EXACT, [row], exact=True))
    small.close()


def test_sizes() -> None:
    assert [prompt_size(n) for n in (1, 16, 17, 129, 1024, 1025)] == [16, 16, 32, 256, 1024, None]
    assert list(PROMPT_SIZES) == sorted(PROMPT_SIZES)


def test_what_a_graph_is_given() -> None:
    """Rows that are not used are at position 0 of the spare block; nothing is left of the chunk
    before."""
    given: list[tuple[Steps, int]] = []

    def compute(steps: Steps, last: torch.Tensor) -> tuple[torch.Tensor, Picked]:
        copies = (part.clone() for part in (steps.tokens, steps.positions, steps.tables))
        given.append((Steps(*copies, steps.runs), int(last)))
        floats = torch.tensor([[0.5], [1.5], [-2.5]]).view(torch.int32)
        return torch.zeros(1, 5), Picked(torch.cat((steps.tokens[last][None], floats)))

    replay = PromptReplay(compute, 16, table_blocks=3, spare_block=9, device=CPU)
    replay.run(np.arange(1, 17, dtype=np.int32), 0, np.array([4, 5], np.int32))
    picked = replay.run(np.array([7, 8, 6], np.int32), 30, np.array([2, 3], np.int32))
    assert picked.row(0) == (6, 0.5, 1.5, -2.5, [])
    steps, last = given[-1]
    assert last == 2
    assert steps.runs == ((0, 16),)
    assert steps.tokens.tolist() == [7, 8, 6] + [0] * 13
    assert steps.positions.tolist() == [30, 31, 32] + [0] * 13
    assert steps.tables[:3, :3].tolist() == [[2, 3, 9]] * 3
    assert (steps.tables[3:] == 9).all()
    assert steps.tables.dtype == torch.int32


@pytest.mark.triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="test_gpu_device.py does it on the device")
@pytest.mark.parametrize("name", ["llama3", "gemma2", "qwen2-bf16"])
def test_kernels_give_transformers_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32; of a whole prompt and of a chunk behind it, then 4 tokens greedily."""
    monkeypatch.setattr(gpu_module, "make_prompt_ops", lambda *_: PromptOps(torch.float32))
    backend, want = _load(name, planes=False), expected(name)
    (table,) = block_tables(backend, [len(want.tokens)])
    parts = [
        backend.logits(Batch(EXACT, [BatchRow(want.tokens[part], part.start, table)]))
        for part in (slice(0, 37), slice(37, len(want.tokens)))
    ]
    assert want.deviation(np.concatenate(parts)) <= TOLERANCE
    assert answer(backend, EXACT, [want.prompt], 4, chunk=9) == [want.greedy[:4].tolist()]
    backend.close()
