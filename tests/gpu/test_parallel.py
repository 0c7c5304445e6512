"""Two ranks over gloo give what one process gives: every token, and the logits to a rounding."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
import torch
from engine_run import answer, block_tables

from onesec.backend.base import Batch, BatchRow
from onesec.backend.gpu.backend import GpuBackend
from onesec.backend.gpu.ops_plain import PlainOps
from onesec.backend.gpu.parallel import Joined, shard
from onesec.backend.gpu.weights import random_weights
from onesec.core.errors import InvalidRequest
from onesec.core.gear import UNIFORM
from onesec.core.request import SamplingParams
from onesec.model.shapes import shape

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


class ParallelOps(Joined, PlainOps):
    """The reference's arithmetic on two ranks."""


CPU = torch.device("cpu")
PROMPT = np.arange(3, 15, dtype=np.int32)


def _backend(config: Any, weights: Any, ops: Any) -> GpuBackend:
    return GpuBackend(
        config,
        weights,
        context_tokens=128,
        kv_dtype="f32",
        compute_dtype="f32",
        device=CPU,
        ops=ops,
        prompt_ops=ops,
    )


def _run(backend: GpuBackend) -> tuple[dict[str, list[int]], np.ndarray]:
    drawn = {
        gear.name: answer(backend, gear, [PROMPT], 12, max_steps=4)[0] for gear in backend.gears
    }
    (table,) = block_tables(backend, [len(PROMPT)])
    return drawn, backend.logits(Batch(UNIFORM[8], [BatchRow(PROMPT, 0, table)]))


def _rank(rank: int, rendezvous: str, results: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    config = shape("tiny")
    weights = random_weights(config, CPU, dense=torch.float32)
    local, part = shard(config, weights, rank, 2)
    results.put((rank, *_run(_backend(local, part, ParallelOps()))))
    torch.distributed.destroy_process_group()


def test_two_ranks_answer_as_one(tmp_path: Path) -> None:
    config = shape("tiny")
    drawn, logits = _run(
        _backend(config, random_weights(config, CPU, dense=torch.float32), PlainOps())
    )
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ranks = [
        context.Process(target=_rank, args=(rank, str(tmp_path / "meet"), results))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    found = sorted((results.get(timeout=120) for _ in ranks), key=lambda item: item[0])
    for process in ranks:
        process.join(timeout=30)
        assert process.exitcode == 0
    for _, tokens, values in found:
        assert tokens == drawn
        np.testing.assert_allclose(values, logits, rtol=0, atol=1e-4 * float(logits.std()))
    np.testing.assert_array_equal(found[0][2], found[1][2])  # the ranks agree bit for bit


def test_ranks_do_not_stop_at_an_instant_of_their_own_clocks() -> None:
    class Both(PlainOps):
        joined = True

    config = shape("tiny")
    weights = random_weights(config, CPU, planes=False, dense=torch.float32)
    for ops, steps in ((PlainOps(), 1), (Both(), 4)):
        backend = _backend(config, weights, ops)
        state = backend.sampler(SamplingParams(ignore_eos=True), eos_ids=())
        row = BatchRow(PROMPT, 0, np.arange(1, dtype=np.int32), sampler=state)
        found = backend.forward(Batch(UNIFORM[16], [row], max_steps=4, until_ns=1))
        assert len(found.rows[0].tokens) == steps
    assert ParallelOps.joined


def test_what_cannot_be_divided_is_refused() -> None:
    config = shape("tiny")
    with pytest.raises(InvalidRequest, match="3 ranks"):
        shard(config, random_weights(config, CPU), 0, 3)
