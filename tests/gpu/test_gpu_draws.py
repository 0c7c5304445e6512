"""Draws, alternatives, prompts' log-probabilities and refusals of the GPU backend, run on the
processor: what it tells is what the CPU engine tells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
from engine_run import block_tables
from fixtures import GOLDEN_DIR, expected

from onesec.backend.base import Backend, Batch, BatchRow, RowResult
from onesec.backend.cpu import CpuBackend
from onesec.backend.gpu.backend import GpuBackend
from onesec.core.errors import InvalidRequest, ModelError, UnknownGear
from onesec.core.gear import UNIFORM, Gear
from onesec.core.request import SamplingParams
from onesec.loading import find_model, load_model
from onesec.model.artifact import open_artifact
from onesec.model.checkpoints import open_checkpoint

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

EXACT = UNIFORM[16]
WANT = expected("llama2")
OPTIONS: dict[str, Any] = {"context_tokens": 512, "kv_dtype": "f32", "reference": True}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Backend, GpuBackend]]:
    with open_checkpoint(GOLDEN_DIR / "llama2") as checkpoint:
        cpu = CpuBackend.load(checkpoint, **OPTIONS)
        gpu = GpuBackend.load(checkpoint, device="cpu", compute_dtype="f32", **OPTIONS)
        yield cpu, gpu
        cpu.close()
        gpu.close()


def _draw(backend: Backend, params: SamplingParams, **options: Any) -> list[RowResult]:
    """A prompt's result, and that of steps after it."""
    (table,) = block_tables(backend, [80])
    state = backend.sampler(params, eos_ids=(2,))
    state.observe(WANT.prompt.tolist())
    row = BatchRow(WANT.prompt, 0, table, sampler=state, **options)
    first = backend.forward(Batch(EXACT, [row])).rows[0]
    options.pop("prompt_logprobs", None)
    last = np.array(first.tokens[-1:], np.int32)
    row = BatchRow(last, len(WANT.prompt), table, sampler=state, **options)
    return [first, backend.forward(Batch(EXACT, [row], max_steps=12)).rows[0]]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(ignore_eos=True),
        SamplingParams(temperature=0.9, seed=3),
        SamplingParams(temperature=1.2, top_k=20, top_p=0.9, min_p=0.01, seed=5),
        SamplingParams(repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2),
        SamplingParams(logit_bias={7: 4.0}, min_tokens=6),
    ],
    ids=["greedy", "sampled", "filtered", "penalties", "bias"],
)
def test_the_same_tokens_are_drawn(
    both: tuple[Backend, GpuBackend], params: SamplingParams
) -> None:
    for want, got in zip(*(_draw(backend, params) for backend in both), strict=True):
        assert got.tokens == want.tokens
        for name in ("logprobs", "entropies", "margins"):
            told = [getattr(result, name) for result in (got, want)]
            np.testing.assert_allclose(*told, rtol=0, atol=2e-3, err_msg=name)


def test_alternatives_and_prompt_logprobs(both: tuple[Backend, GpuBackend]) -> None:
    options = {"top_logprobs": 3, "prompt_logprobs": True}
    for want, got in zip(
        *(_draw(backend, SamplingParams(), **options) for backend in both), strict=True
    ):
        assert [[token for token, _ in best] for best in got.top] == [
            [token for token, _ in best] for best in want.top
        ]
        np.testing.assert_allclose(got.prompt_logprobs, want.prompt_logprobs, atol=2e-3)


def test_steps_end_at_a_stop_id(both: tuple[Backend, GpuBackend]) -> None:
    greedy = WANT.greedy.tolist()
    stop = greedy[5]
    (_, steps) = _draw(both[1], SamplingParams(ignore_eos=True), stop_ids=(stop,))
    assert steps.tokens == greedy[1 : greedy.index(stop, 1) + 1]


def test_graphs_and_prompts_can_be_warmed(both: tuple[Backend, GpuBackend]) -> None:
    """Which leaves every sequence's cache alone."""
    _, gpu = both
    (table,) = block_tables(gpu, [80])
    state = gpu.sampler(SamplingParams(ignore_eos=True), eos_ids=())
    gpu.forward(Batch(EXACT, [BatchRow(WANT.prompt, 0, table, sampler=state)]))
    gpu.warm()
    row = BatchRow(WANT.greedy[:1], len(WANT.prompt), table, sampler=state)
    drawn = gpu.forward(Batch(EXACT, [row], max_steps=8)).rows[0].tokens
    assert drawn == WANT.greedy[1:9].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_table": np.array([0], np.int32)}, "do not hold"),
        ({"block_table": np.array([0, 99], np.int32)}, "block id"),
        ({"tokens": np.array([160] * 40, np.int32)}, "token id"),
        ({"start": 500}, "context"),
        ({"tokens": np.array([], np.int32)}, "needs tokens"),
    ],
)
def test_what_lies_outside_is_refused(
    both: tuple[Backend, GpuBackend], change: dict[str, Any], message: str
) -> None:
    values = {
        "tokens": np.ones(40, np.int32),
        "start": 0,
        "block_table": np.arange(2, dtype=np.int32),
        **change,
    }
    with pytest.raises(InvalidRequest, match=message):
        both[1].forward(Batch(EXACT, [BatchRow(**values)]))


def test_bad_options_are_refused_with_the_way_out(both: tuple[Backend, GpuBackend]) -> None:
    with open_artifact(find_model("onesec-mini")) as artifact:
        with pytest.raises(InvalidRequest, match="f16"):
            GpuBackend.load(artifact, context_tokens=64, kv_dtype="i8", device="cpu")
        with pytest.raises(InvalidRequest, match="bf16"):
            GpuBackend.load(artifact, context_tokens=64, compute_dtype="f64", device="cpu")
        with pytest.raises(UnknownGear, match="16"):
            GpuBackend.load(artifact, context_tokens=64, reference=True, device="cpu")
        with pytest.raises(InvalidRequest, match="NVIDIA"):
            GpuBackend.load(artifact, context_tokens=64, device="meta")
        with pytest.raises(InvalidRequest, match="cuda or cuda:N"):
            GpuBackend.load(artifact, context_tokens=64, device="fpga")
        with pytest.raises(InvalidRequest, match="GPUs"):
            GpuBackend.load(artifact, context_tokens=64, device="cuda:99")
    row = BatchRow(WANT.prompt, 0, np.arange(2, dtype=np.int32))
    with pytest.raises(InvalidRequest, match="cannot have width 0"):
        both[1].forward(Batch(Gear("g9", 4, {"head": 0}), [row]))


def test_the_backend_tells_what_a_measurement_needs(both: tuple[Backend, GpuBackend]) -> None:
    _, gpu = both
    assert {"device", "kernels", "kv_dtype"} <= gpu.settings.keys()
    assert gpu.read_bandwidth(1 << 20) > 0.0
    sizes = [gpu.bytes_per_token(gear) for gear in gpu.gears]
    assert sizes == sorted(sizes)
    assert gpu.kv_block_bytes == 2 * 2 * 32 * 64 * 4  # sides, layers, tokens, kv width, float32


def test_a_device_is_asked_for_by_its_word() -> None:
    with pytest.raises(InvalidRequest, match="cuda:99"):
        load_model("onesec-mini", device="cuda:99")


@contextmanager
def _damaged(backend: GpuBackend, token: int) -> Iterator[None]:
    """Inside, what follows this token is not finite."""
    dense = backend._weights.embed.dense
    assert dense is not None
    kept = dense[token].clone()
    dense[token] = float("nan")
    yield
    dense[token] = kept


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("error", [ModelError, ValueError])
def test_a_row_that_cannot_draw_leaves_its_neighbour_as_it_was(
    both: tuple[Backend, GpuBackend], error: type[Exception], length: int
) -> None:
    """Its logits are not finite, or its mask allows nothing, in a step or after a prompt."""
    gpu = both[1]
    tables = block_tables(gpu, [8, 8])
    tokens, other = WANT.prompt[:length], WANT.prompt[:length].copy()
    params = SamplingParams(temperature=1.5, seed=3)
    state, fresh, failing = (gpu.sampler(params, eos_ids=()) for _ in range(3))
    damaged = next(token for token in range(3, 100) if token not in tokens)
    if error is ModelError:
        other[-1] = damaged
    else:
        beyond = np.zeros((gpu.vocab_size + 63) // 32, np.uint32)
        beyond[-1] = 1 << 31
        failing.allow(beyond)
    rows = [
        BatchRow(tokens, 0, tables[0], sampler=state),
        BatchRow(other, 0, tables[1], sampler=failing),
    ]
    with _damaged(gpu, damaged), pytest.raises(error, match=r"not finite|no token"):
        gpu.forward(Batch(EXACT, rows))
    drawn = [
        [
            gpu.forward(Batch(EXACT, [BatchRow(tokens, 0, tables[0], sampler=each)])).rows[0].tokens
            for _ in range(6)
        ]
        for each in (state, fresh)
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("params", [
    SamplingParams(ignore_eos=True), SamplingParams(logit_bias={7: 1e-6}, ignore_eos=True),
], ids=["device", "host"])  # fmt: skip
def test_steps_before_one_that_cannot_draw_are_told_first(
    both: tuple[Backend, GpuBackend], params: SamplingParams
) -> None:
    """And a draft goes as far as what follows its guesses is finite."""
    gpu, greedy = both[1], WANT.greedy.tolist()
    count = next(i for i in range(2, 64) if greedy[i] not in {*WANT.prompt, *greedy[:i]})
    (table,) = block_tables(gpu, [120])
    state = gpu.sampler(params, eos_ids=())
    gpu.forward(Batch(EXACT, [BatchRow(WANT.prompt, 0, table, sampler=state)]))
    position = len(WANT.prompt)
    row = BatchRow(WANT.greedy[:1], position, table, sampler=state)
    draft = BatchRow(WANT.greedy[: count + 2], position, table, sampler=state, drafted=True)
    last = BatchRow(WANT.greedy[count : count + 1], position + count, table, sampler=state)
    with _damaged(gpu, greedy[count]):
        for asked, steps in ((row, count + 4), (draft, 1)):
            found = gpu.forward(Batch(EXACT, [asked], max_steps=steps))
            assert found.rows[0].tokens == greedy[1 : count + 1]
        assert len(found.step_ms) == 1
        with pytest.raises(ModelError, match="not finite"):
            gpu.forward(Batch(EXACT, [last], max_steps=4))
    told = BatchRow(WANT.prompt, 0, table, prompt_logprobs=True)
    with _damaged(gpu, int(WANT.prompt[3])), pytest.raises(ModelError, match="not finite"):
        gpu.forward(Batch(EXACT, [told]))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_mask_holds_for_one_token(both: tuple[Backend, GpuBackend], temperature: float) -> None:
    params = SamplingParams(
        temperature=temperature, seed=3, response_format={"type": "json_object"}, ignore_eos=True
    )
    drawn = []
    for backend in both:
        (table,) = block_tables(backend, [80])
        state = backend.sampler(params, eos_ids=())
        mask = np.zeros((backend.vocab_size + 31) // 32, dtype=np.uint32)
        mask[0] = 0b101000
        state.allow(mask)
        first = backend.forward(Batch(EXACT, [BatchRow(WANT.prompt, 0, table, sampler=state)]))
        tokens = first.rows[0].tokens
        assert tokens[0] in (3, 5)
        last = BatchRow(np.array(tokens, np.int32), len(WANT.prompt), table, sampler=state)
        drawn.append((tokens, backend.forward(Batch(EXACT, [last])).rows[0].tokens))
    assert drawn[0] == drawn[1]
