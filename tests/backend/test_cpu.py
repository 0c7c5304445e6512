"""CpuBackend: planes to files and back, gears over one cache, what is read, and clear refusals."""

from __future__ import annotations

import os
import re
import shutil
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onesec.backend.base import Batch, BatchRow
from onesec.backend.cpu import CpuBackend, cpu_features
from onesec.backend.gears import GearSet
from onesec.core.errors import (
    CorruptFile,
    InvalidRequest,
    ModelError,
    OneSecError,
    OutOfMemory,
    UnknownGear,
)
from onesec.core.gear import UNIFORM, W8A16, Gear
from onesec.core.request import SamplingParams
from onesec.loading import load_model
from onesec.model.artifact import open_artifact
from onesec.model.checkpoints import open_checkpoint
from onesec.model.ladder import gear_records
from onesec.model.safetensors import SafetensorsFile, SafetensorsWriter
from onesec.model.shapes import shape

GOLDEN = Path(__file__).parents[1] / "golden"
PROMPT = np.arange(3, 43, dtype=np.int32)
TABLE = np.array([3, 1, 0, 2], dtype=np.int32)


def load(name: str, **options: object) -> CpuBackend:
    options.setdefault("context_tokens", 128)
    return CpuBackend.load(open_checkpoint(GOLDEN / name), **options)  # type: ignore[arg-type]


def logits(
    backend: CpuBackend, gear: Gear, tokens: np.ndarray = PROMPT, start: int = 0
) -> np.ndarray:
    return backend.logits(Batch(gear, [BatchRow(tokens, start, TABLE)]))


@pytest.mark.parametrize("name", ["llama-sharded", "gpt2", "qwen2", "gemma3", "phi3"])
@pytest.mark.parametrize("mapped", [False, True])
def test_an_artifact_gives_the_same_bits(name: str, mapped: bool, tmp_path: Path) -> None:
    backend = load(name)
    backend.save(tmp_path / "model.onesec", None)
    with open_artifact(tmp_path / "model.onesec") as artifact:
        again = CpuBackend.load(artifact, context_tokens=128, mapped=mapped)
        for width in (4, 8):
            assert np.array_equal(logits(backend, UNIFORM[width]), logits(again, UNIFORM[width]))


def test_an_artifact_of_another_writer_lies_anywhere(tmp_path: Path) -> None:
    backend = load("qwen2")
    backend.save(tmp_path / "model.onesec", None)
    file = tmp_path / "model.onesec" / "model.safetensors"
    raw = file.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = raw[8:end].rstrip() + b" "
    file.write_bytes(len(header).to_bytes(8, "little") + header + raw[end:])
    with open_artifact(tmp_path / "model.onesec") as artifact:
        again = CpuBackend.load(artifact, context_tokens=128)
    assert np.array_equal(logits(backend, UNIFORM[8]), logits(again, UNIFORM[8]))


def test_an_artifact_holds_no_16_bits(tmp_path: Path) -> None:
    load("qwen2").save(tmp_path / "model.onesec", None)
    with open_artifact(tmp_path / "model.onesec") as artifact, pytest.raises(UnknownGear):
        CpuBackend.load(artifact, context_tokens=128, reference=True)


def test_gears_are_ordered_by_cost_and_the_reference_comes_last() -> None:
    assert [gear.name for gear in load("llama3", reference=True).gears] == ["4", "8", "16"]


def test_any_gear_reads_the_cache_of_any_other() -> None:
    backend = load("llama3", reference=True)
    skipping = Gear("skip", 8, {"layers.1.qkv": 0, "layers.1.o": 0})
    gears = (UNIFORM[4], UNIFORM[8], W8A16, UNIFORM[16], skipping)
    for reader in gears[:4]:  # the skipping one reads less of the cache
        whole = logits(backend, reader)[-1]
        for writer in gears:
            logits(backend, writer, PROMPT[:-1])
            last = logits(backend, reader, PROMPT[-1:], len(PROMPT) - 1)[0]
            if writer is reader:
                assert np.array_equal(last, whole)
            else:  # what the writer left was read: near, not equal
                assert not np.array_equal(last, whole)
                assert np.corrcoef(last, whole)[0, 1] > 0.8, (writer.name, reader.name)


@pytest.mark.parametrize("isa", cpu_features()["isas"])
@pytest.mark.parametrize("width", [4, 8, 16])
def test_both_arithmetics_ignore_the_chunks(
    isa: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONESEC_ISA", isa)
    backend = load("qwen2", reference=True)
    whole = {}
    for exact in (True, False):

        def tell(tokens: np.ndarray, start: int, exact: bool = exact) -> np.ndarray:
            rows = [BatchRow(tokens, start, TABLE)]
            return backend.logits(Batch(UNIFORM[width], rows, exact=exact))

        whole[exact] = tell(PROMPT, 0)
        parts = [tell(PROMPT[i : i + n], i) for i, n in ((0, 1), (1, 21), (22, 18))]
        assert np.array_equal(np.concatenate(parts), whole[exact])
    differ = not np.array_equal(whole[True], whole[False])
    assert differ == (isa.startswith("amx") and width != 16)
    assert np.corrcoef(whole[True].ravel(), whole[False].ravel())[0, 1] > 0.99


def test_further_steps_are_exact_whatever_the_first_was() -> None:
    backend = load("qwen2")
    greedy = SamplingParams(temperature=0.0, ignore_eos=True)
    drawn = []
    for steps in (1, 6):  # after the same prompt: six steps a call, and one
        sampler = backend.sampler(greedy, eos_ids=())
        row = BatchRow(PROMPT, 0, TABLE, sampler=sampler)
        result = backend.forward(Batch(UNIFORM[8], [row], max_steps=steps)).rows[0]
        logprobs = list(result.logprobs)
        while len(logprobs) < 6:
            row.start += len(row.tokens)
            row.tokens = np.array(result.tokens[-1:], dtype=np.int32)
            result = backend.forward(Batch(UNIFORM[8], [row], exact=True)).rows[0]
            logprobs += result.logprobs
        drawn.append(logprobs)
    assert drawn[0] == drawn[1]


def test_mixed_widths_lie_between_their_neighbours() -> None:
    backend = load("qwen3", reference=True)
    names = [f"layers.{i}.{m}" for i in range(2) for m in ("gate_up", "down")]
    mixed = Gear("mixed", 4, dict.fromkeys(names, 8))
    by_gear = [backend.bytes_per_token(g) for g in (UNIFORM[4], mixed, UNIFORM[8])]
    assert by_gear == sorted(by_gear)
    reference = logits(backend, UNIFORM[16])
    errors = [
        float(np.abs(logits(backend, g) - reference).mean()) for g in (UNIFORM[8], UNIFORM[4])
    ]
    assert errors[0] < errors[1] / 4


@pytest.mark.parametrize("name", ["llama3", "gpt2", "qwen3", "gemma3"])
def test_fine_activations_take_their_error_away(name: str) -> None:
    backend = load(name, reference=True)
    truth = logits(backend, UNIFORM[16])
    one = Gear("one", 8, fine=frozenset({"layers.0.qkv"}))
    told = {gear.name: logits(backend, gear) for gear in (UNIFORM[8], one, W8A16)}
    errors = {name: float(np.square(values - truth).mean()) for name, values in told.items()}
    assert errors["w8a16"] < 0.8 * errors["8"]  # what the weights' own rounding does stays
    assert not np.array_equal(told["one"], told["8"])
    assert not np.array_equal(told["one"], told["w8a16"])


def test_fine_gears_come_after_those_of_the_same_bytes(tmp_path: Path) -> None:
    backend = load("qwen3")
    names = [name for name in backend.matrix_names if name != "embed"]
    ladder = (
        Gear("g2", 8, fine=frozenset(names)),
        Gear("g1", 8, fine=frozenset(names[:1])),
    )
    backend.save(tmp_path / "model.onesec", None, gears={"gears": gear_records(ladder, {})})
    with open_artifact(tmp_path / "model.onesec") as artifact:
        again = CpuBackend.load(artifact, context_tokens=128)
        assert [gear.name for gear in again.gears] == ["4", "8", "g1", "g2"]
        assert len({again.bytes_per_token(gear) for gear in again.gears}) == 2


def test_a_backend_without_fine_activations_leaves_such_gears_out() -> None:
    gears = GearSet(planes=True, reference=False, tied=True, fine=False)
    fine, plain = Gear("g2", 8, fine=frozenset({"head"})), Gear("g1", 4, {"head": 8})
    gears.order((fine, plain), lambda gear: gear.width)
    assert [gear.name for gear in gears.gears] == ["4", "g1", "8"]
    for gear in (fine, W8A16):
        with pytest.raises(UnknownGear):
            gears.width(gear, "layers.0.qkv")


def test_the_4_bit_width_never_touches_lo(tmp_path: Path) -> None:
    """Pages of the mapped artifact that this process has touched: hi all, lo almost none."""
    backend = CpuBackend.random(shape("smollm2-135m"), context_tokens=64)
    hi, lo, _ = backend._engine.planes("embed")
    source = tmp_path / "planes.safetensors"
    with SafetensorsWriter(source, max_tensors=2) as writer:
        writer.add("hi", hi)
        writer.add("lo", lo)
    row_scale = backend._engine.planes("embed")[2].copy()
    with SafetensorsFile(source) as file:
        mapped_hi, mapped_lo = file.tensors["hi"].data, file.tensors["lo"].data
        backend._engine.set_planes("embed", mapped_hi, mapped_lo, row_scale, False)
        tokens = np.arange(8, dtype=np.int32)
        table = np.arange(2, dtype=np.int32)
        backend.logits(Batch(UNIFORM[4], [BatchRow(tokens, 0, table)]))
        after_4 = resident_bytes(source)
        backend.logits(Batch(UNIFORM[8], [BatchRow(tokens, 0, table)]))
        after_8 = resident_bytes(source)
        assert after_4 >= 0.95 * hi.nbytes
        assert after_4 <= hi.nbytes + 0.1 * lo.nbytes
        assert after_8 >= 0.95 * (hi.nbytes + lo.nbytes)
        backend.close()


@pytest.mark.parametrize("count", [4, 40])
def test_what_is_measured_at_16_bits_keeps_no_page_of_the_checkpoint(count: int) -> None:
    folder = GOLDEN.parents[1] / "training" / "onesec-mini"
    with closing(load_model(str(folder), reference=True, threads=1)) as loaded:
        assert isinstance(loaded.backend, CpuBackend)
        row = BatchRow(np.arange(count, dtype=np.int32), 0, np.arange(3, dtype=np.int32))
        loaded.backend.logits(Batch(UNIFORM[16], [row], exact=True))
        assert resident_bytes(folder / "model.safetensors") < 1 << 20


def resident_bytes(path: Path) -> int:
    """Rss of the mapping of `path` in this process."""
    text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    found = re.search(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("kept", [{}, {"planes": False, "reference": True}])
def test_values_that_are_not_finite_are_refused(kept: dict[str, bool], tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(GOLDEN / "qwen2", folder)
    with SafetensorsFile(folder / "model.safetensors") as file:
        data = {name: (t.data.copy(), t.dtype) for name, t in file.tensors.items()}
    name = next(n for n in data if n.endswith("down_proj.weight"))
    data[name][0][1, 2] = np.nan
    with SafetensorsWriter(folder / "model.safetensors", max_tensors=len(data)) as writer:
        for key, (array, dtype) in data.items():
            writer.add(key, array, dtype)
    with pytest.raises(CorruptFile, match="not finite"):
        CpuBackend.load(open_checkpoint(folder), context_tokens=64, **kept)


@pytest.mark.parametrize(
    "row",
    [
        BatchRow(np.array([-1], np.int32), 0, TABLE),
        BatchRow(np.array([10**6], np.int32), 0, TABLE),
        BatchRow(np.array([], np.int32), 0, TABLE),
        BatchRow(PROMPT, -1, TABLE),
        BatchRow(PROMPT, 0, TABLE[:1]),
        BatchRow(PROMPT, 0, np.array([0, 99], np.int32)),
        BatchRow(PROMPT, 10**6, TABLE),
    ],
)
def test_the_border_checks_every_index(row: BatchRow) -> None:
    backend = load("qwen2")
    with pytest.raises(ValueError, match=r"."):
        backend.logits(Batch(UNIFORM[4], [row]))
    assert np.isfinite(logits(backend, UNIFORM[4])).all()


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"kv_dtype": "f8"},
        {"context_tokens": 0},
        {"context_tokens": None},
        {"context_tokens": 64.0},
        {"planes": False},
    ],
)
def test_options_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        load("qwen2", **options)


@pytest.mark.parametrize("tokens", [0, None])
def test_random_weights_need_a_cache_too(tokens: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"context_tokens is .*at least 1"):
        CpuBackend.random(shape("smollm2-135m"), context_tokens=tokens)


@pytest.mark.parametrize("kv_dtype", ["f16", "i8", "f32"])
def test_a_cache_that_does_not_fit_is_refused_by_its_own_size(
    kv_dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load("llama3", kv_dtype=kv_dtype, context_tokens=4096)
    config = backend.config
    values = config.num_layers * config.num_kv_heads * 2 * config.head_dim
    pairs = config.num_layers * config.num_kv_heads * 2
    token_bytes = {"f16": 2 * values, "i8": values + 4 * pairs, "f32": 4 * values}[kv_dtype]
    assert backend.kv_block_bytes == backend.block_size * token_bytes
    planes = sum(
        rows * cols * 17 // 16
        for rows, cols in (backend._engine.matrix_shape(name) for name in backend._names)
    )
    attention = 4 * config.num_heads * config.head_dim * min(4096, config.context_length)
    need = planes + 4096 * token_bytes + attention
    monkeypatch.setattr("onesec.backend.cpu.free_memory_bytes", lambda: need)
    load("llama3", kv_dtype=kv_dtype, context_tokens=4096).close()
    monkeypatch.setattr("onesec.backend.cpu.free_memory_bytes", lambda: need - 1)
    with pytest.raises(OutOfMemory):
        load("llama3", kv_dtype=kv_dtype, context_tokens=4096)


@pytest.mark.parametrize(("name", "decodes"), [("llama3", False), ("gpt2", True)])
def test_a_reference_that_is_in_no_file_counts(
    name: str, decodes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2's matrices lie transposed in its file: the reference keeps copies of them."""
    config = load(name).config
    cache = 128 // 32 * load(name).kv_block_bytes
    cache += 4 * config.num_heads * config.head_dim * min(128, config.context_length)
    monkeypatch.setattr("onesec.backend.cpu.free_memory_bytes", lambda: cache)
    if not decodes:
        load(name, planes=False, reference=True).close()
        return
    seen: list[float] = []
    with pytest.raises(OutOfMemory) as caught:
        load(name, planes=False, reference=True, progress=seen.append)
    assert seen[-1] < 0.5, "told when the first layer is read"
    assert caught.value.need_bytes > caught.value.have_bytes == cache


def test_threads_are_at_most_what_a_pool_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def stop(config: object, threads: int, isa: str) -> None:
        asked.append(threads)
        raise RuntimeError("asked")

    monkeypatch.setattr("onesec.backend.cpu._native.allowed_cpus", lambda: 2048)
    monkeypatch.setattr("onesec.backend.cpu._native.Transformer", stop)
    with pytest.raises(InvalidRequest, match="asked"):
        load("qwen2")
    assert asked == [1024]


@pytest.mark.parametrize(("cpus", "most"), [(2, 64), (16, 64), (100, 400), (2048, 1024)])
def test_more_threads_than_the_machine_could_run_are_refused(
    cpus: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onesec.backend.cpu._native.allowed_cpus", lambda: cpus)
    words = rf"threads is {most + 1}; for {cpus} CPUs it must lie in \[1, {most}\]"
    with pytest.raises(InvalidRequest, match=words):
        load("qwen2", threads=most + 1)

    def stop(config: object, threads: int, isa: str) -> None:
        raise RuntimeError(f"{threads} asked")

    monkeypatch.setattr("onesec.backend.cpu._native.Transformer", stop)
    with pytest.raises(InvalidRequest, match=f"{most} asked"):
        load("qwen2", threads=most)


def test_the_threads_that_there_are_stay_though_fewer_are_used() -> None:
    backend = load("qwen2", threads=3)
    backend.use_threads(1)
    logits(backend, UNIFORM[4])
    assert backend._engine.threads == 3


def test_a_row_that_cannot_draw_leaves_the_others_as_they_were() -> None:
    backend = load("llama2")
    params = SamplingParams(temperature=0.9, seed=5, presence_penalty=1.0, ignore_eos=True)

    def row(table: np.ndarray) -> BatchRow:
        return BatchRow(PROMPT, 0, table, sampler=backend.sampler(params, eos_ids=()))

    alone = backend.forward(Batch(UNIFORM[8], [row(TABLE[:2])], max_steps=6)).rows[0]
    good, bad = row(TABLE[:2]), row(TABLE[2:])
    for guilty in (0, 1):
        rows = [bad, good] if guilty == 0 else [good, bad]
        assert bad.sampler is not None
        bad.sampler.allow(np.zeros((backend.vocab_size + 31) // 32, np.uint32))
        with pytest.raises(ValueError, match="no token is allowed"):
            backend.forward(Batch(UNIFORM[8], rows))
    assert backend.forward(Batch(UNIFORM[8], [good], max_steps=6)).rows[0] == alone


def test_steps_before_one_that_fails_are_told() -> None:
    """The position after the next is not finite: the first two steps of eight draw, for all."""
    backend = load("gpt2", context_tokens=256)
    params = SamplingParams(temperature=0.9, seed=5, ignore_eos=True)

    def rows() -> list[BatchRow]:
        return [
            BatchRow(PROMPT[:n], 0, table, sampler=backend.sampler(params, eos_ids=()))
            for n, table in ((40, TABLE[:2]), (20, TABLE[2:]))
        ]

    whole = backend.forward(Batch(UNIFORM[8], rows(), max_steps=8, exact=True))
    positions = backend.vectors()["pos_embed"].reshape(-1, backend.config.hidden_size).copy()
    positions[41] = np.nan
    backend._engine.set_vector("pos_embed", positions.reshape(-1))
    backend._engine.finish()
    batch = Batch(UNIFORM[8], rows(), max_steps=8, exact=True)
    told = backend.forward(batch)
    assert len(told.step_ms) == 2
    assert not told.overdue
    for row, result, complete in zip(batch.rows, told.rows, whole.rows, strict=True):
        assert result.tokens == complete.tokens[:2]
        row.start += len(row.tokens) + 1
        row.tokens = np.array(result.tokens[-1:], np.int32)
    for some in (batch.rows, batch.rows[:1]):
        with pytest.raises(ModelError, match="not finite"):
            backend.forward(Batch(UNIFORM[8], some, max_steps=6, exact=True))
    rest = backend.forward(Batch(UNIFORM[8], batch.rows[1:], max_steps=6, exact=True))
    assert rest.rows[0].tokens == whole.rows[1].tokens[2:]


def test_hidden_states_that_are_not_finite_are_an_error() -> None:
    backend = load("gpt2")
    positions = backend.vectors()["pos_embed"].copy()
    positions[-1] = np.nan
    backend._engine.set_vector("pos_embed", positions)
    backend._engine.finish()
    last = backend.context_length - 1
    table = np.zeros(last // 32 + 1, np.int32)
    good, bad = (BatchRow(PROMPT[:1], start, table, pooled=True) for start in (0, last))
    assert np.isfinite(backend.forward(Batch(UNIFORM[8], [good])).rows[0].hidden).all()
    with pytest.raises(ModelError, match="hidden states are not finite"):
        backend.forward(Batch(UNIFORM[8], [good, bad]))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_forked_process_can_let_go_of_a_backend(threads: int) -> None:
    backend = load("qwen2", threads=threads)
    batch = Batch(UNIFORM[4], [BatchRow(PROMPT, 0, TABLE)], watch_ns=2**62)
    backend.forward(batch)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # if it hangs
        backend.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    backend.forward(batch)


def test_an_unknown_isa_names_the_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESEC_ISA", "z80")
    with pytest.raises(OneSecError, match="scalar"):
        load("qwen2")


def decode(
    backend: CpuBackend, rows: int, *, statistics: bool, steps: int = 24, **params: object
) -> tuple[list[list[int]], int]:
    """Greedy tokens of `rows` different prompts in one batch, and the bytes that all steps read."""
    tables = np.arange(rows * 2, dtype=np.int32).reshape(rows, 2)
    batch = []
    for i in range(rows):
        sampler = backend.sampler(SamplingParams(**params), eos_ids=())  # type: ignore[arg-type]
        prompt = PROMPT[i : i + 8]
        batch.append(BatchRow(prompt, 0, tables[i], sampler, statistics=statistics))
    first = backend.forward(Batch(UNIFORM[8], batch))
    for row, result in zip(batch, first.rows, strict=True):
        row.tokens, row.start = np.array(result.tokens, np.int32), 8
    rest = backend.forward(Batch(UNIFORM[8], batch, max_steps=steps))
    for result in rest.rows:
        wanted = steps if statistics else 0
        assert [len(result.logprobs), len(result.entropies), len(result.margins)] == [wanted] * 3
    drawn = [a.tokens + b.tokens for a, b in zip(first.rows, rest.rows, strict=True)]
    return drawn, rest.bytes_read


@pytest.mark.parametrize("name", ["llama3", "qwen2", "gpt2", "gpt_neo"])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_coarse_head_draws_what_the_full_one_draws(name: str, threads: int) -> None:
    backend = load(name, threads=threads, context_tokens=512)
    full, _ = decode(backend, 1, statistics=True)
    alone, _ = decode(backend, 1, statistics=False)
    together, _ = decode(backend, 7, statistics=False)
    assert alone == full
    assert together[0] == full[0]


def test_the_coarse_head_reads_less_and_says_so() -> None:
    backend = CpuBackend.random(shape("smollm2-135m"), context_tokens=256, threads=2)
    full, full_bytes = decode(backend, 1, statistics=True)
    coarse, coarse_bytes = decode(backend, 1, statistics=False)
    lo = backend._engine.planes("embed")[1].nbytes
    assert coarse == full
    assert full_bytes >= 24 * backend.bytes_per_token(UNIFORM[8])
    assert full_bytes - 24 * lo < coarse_bytes < full_bytes - 12 * lo
    for params in ({"temperature": 0.7}, {"repetition_penalty": 1.1}, {"min_tokens": 99}):
        assert decode(backend, 1, statistics=False, **params)[1] == full_bytes


def test_rows_behind_the_vocabulary_are_no_tokens_of_the_coarse_head() -> None:
    """All tokens' logits are negative, and the last tile's padding makes zeros."""
    config = replace(shape("tiny"), vocab_size=2049)
    backend = CpuBackend.random(config, context_tokens=64, threads=2)
    backend._engine.set_vector("head_bias", np.full(2049, -100.0, np.float32))
    backend._engine.finish()
    full, full_bytes = decode(backend, 1, statistics=True)
    coarse, coarse_bytes = decode(backend, 1, statistics=False)
    assert coarse == full
    assert coarse_bytes < full_bytes - 12 * backend._engine.planes("embed")[1].nbytes


def test_an_artifact_brings_what_the_coarse_head_needs(tmp_path: Path) -> None:
    backend = load("qwen2")
    tokens, read = decode(backend, 1, statistics=False)
    backend.save(tmp_path / "model.onesec", None)
    with open_artifact(tmp_path / "model.onesec") as artifact:
        again = CpuBackend.load(artifact, context_tokens=128)
        assert decode(again, 1, statistics=False) == (tokens, read)


def test_drawn_tokens_repeat_with_their_seed_and_stop_ends_the_call() -> None:
    backend = load("llama2")
    params = SamplingParams(temperature=0.9, top_p=0.9, seed=5, logprobs=3)

    def draw(stop_ids: tuple[int, ...] = ()) -> list[int]:
        sampler = backend.sampler(params, eos_ids=())
        row = BatchRow(PROMPT, 0, TABLE, sampler, stop_ids=stop_ids, top_logprobs=3)
        result = backend.forward(Batch(UNIFORM[8], [row], max_steps=8)).rows[0]
        assert all(len(top) == 3 for top in result.top)
        assert all(p <= 0 for p in result.logprobs)
        return result.tokens

    tokens = draw()
    assert len(tokens) == 8
    assert tokens == draw()
    first = tokens.index(tokens[3])
    assert draw(stop_ids=(tokens[3],)) == tokens[: first + 1]


@pytest.mark.parametrize("isa", cpu_features()["isas"])
@pytest.mark.parametrize("right", [0, 1, 3, 5])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(ignore_eos=True),
        SamplingParams(temperature=0.9, top_p=0.95, seed=5, repetition_penalty=1.2),
    ],
)
def test_a_draft_gives_what_plain_steps_give(
    isa: str, right: int, params: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`right` of five guesses are right: so many tokens and one more, bit for bit."""
    monkeypatch.setenv("ONESEC_ISA", isa)
    backend = load("qwen2")

    def start() -> BatchRow:
        row = BatchRow(PROMPT, 0, TABLE, sampler=backend.sampler(params, eos_ids=()))
        first = backend.forward(Batch(UNIFORM[8], [row])).rows[0].tokens
        row.tokens, row.start = np.array(first, dtype=np.int32), len(PROMPT)
        row.top_logprobs = 2
        return row

    plain = backend.forward(Batch(UNIFORM[8], [start()], max_steps=9, exact=True)).rows[0]
    guesses = plain.tokens[:5]
    if right < 5:
        guesses[right] = (guesses[right] + 1) % backend.vocab_size
    row = start()
    row.tokens, row.drafted = np.array([*row.tokens, *guesses], dtype=np.int32), True
    found = backend.forward(Batch(UNIFORM[8], [row], exact=True)).rows[0]
    assert found.tokens == plain.tokens[: right + 1]
    # What comes after overwrites what the wrong guesses left in the cache.
    row.start, row.drafted = len(PROMPT) + right + 1, False
    row.tokens = np.array(found.tokens[-1:], dtype=np.int32)
    rest = backend.forward(Batch(UNIFORM[8], [row], max_steps=9 - right - 1, exact=True)).rows[0]
    assert found.tokens + rest.tokens == plain.tokens
    assert found.logprobs + rest.logprobs == plain.logprobs
    assert found.top + rest.top == plain.top


def test_a_draft_ends_at_a_stop_token_and_needs_a_sampler() -> None:
    backend = load("qwen2")
    sampler = backend.sampler(SamplingParams(ignore_eos=True), eos_ids=())
    tokens = (
        backend.forward(
            Batch(UNIFORM[8], [BatchRow(PROMPT, 0, TABLE, sampler=sampler)], max_steps=6)
        )
        .rows[0]
        .tokens
    )
    row = BatchRow(
        np.array(tokens[:5], dtype=np.int32), len(PROMPT), TABLE,
        sampler=sampler, stop_ids=(tokens[2],), drafted=True,
    )  # fmt: skip
    found = backend.forward(Batch(UNIFORM[8], [row], exact=True)).rows[0].tokens
    assert found == tokens[1 : tokens.index(tokens[2], 1) + 1]
    row.sampler = None
    with pytest.raises(ValueError, match="a draft needs a sampler"):
        backend.forward(Batch(UNIFORM[8], [row], exact=True))
