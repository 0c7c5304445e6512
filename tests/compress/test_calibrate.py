"""Calibration: the sums that the engine hands out are the inputs' own, and planes fit them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onesec._native")

from onesec.backend.base import Batch, BatchRow
from onesec.backend.cpu import CpuBackend
from onesec.compress.calibrate import calibrate, gram, repack
from onesec.core.gear import UNIFORM
from onesec.model.checkpoints import open_checkpoint
from onesec.model.weights import Checkpoint

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TOKENS = np.random.default_rng(1).integers(0, 160, 400).tolist()


def _load(source: Checkpoint, threads: int = 2) -> CpuBackend:
    return CpuBackend.load(source, context_tokens=256, threads=threads, reference=True)


def _planes(backend: CpuBackend) -> dict[str, tuple[bytes, ...]]:
    return {n: (p.hi.tobytes(), p.lo.tobytes(), p.row_scale.tobytes()) for n, p in backend.packed()}


def _read(backend: CpuBackend, tokens: list[int], gear: int = 16) -> None:
    row = BatchRow(np.array(tokens, np.int32), 0, np.arange(8, dtype=np.int32))
    backend.logits(Batch(UNIFORM[gear], [row], exact=True))


def test_the_first_matrix_reads_the_normalised_embedding() -> None:
    tokens = TOKENS[:50]
    with open_checkpoint(GOLDEN / "llama-tied") as source:
        backend = _load(source)
        h = source.matrix("embed")[0].float32()[tokens].astype(np.float64)
        h /= np.sqrt((h**2).mean(axis=1, keepdims=True) + source.config.norm_eps)
        h *= source.vector("layers.0.attn_norm")
        with backend.watching():
            _read(backend, tokens)
            found = gram(backend.moments("layers.0.qkv"), len(tokens))
            assert all(backend.moments(name).any() for name in backend.matrix_names)
        assert found.shape[0] == 1
        n = h.shape[1]
        expected = h.T @ h / len(tokens)
        off = ~np.eye(n, dtype=bool)
        np.testing.assert_allclose(found[0, :n, :n][off], expected[off], rtol=1e-3, atol=1e-5)
        diagonal = np.diag(expected)
        np.testing.assert_allclose(
            np.diag(found[0])[:n], diagonal + 0.02 * diagonal.mean(), rtol=1e-3
        )
        backend.close()


def test_nothing_is_summed_up_unless_it_is_watched_and_watching_changes_no_result() -> None:
    with open_checkpoint(GOLDEN / "llama-tied") as source:
        backend = _load(source)
        row = BatchRow(np.array(TOKENS[:40], np.int32), 0, np.arange(8, dtype=np.int32))
        batch = Batch(UNIFORM[8], [row], exact=True)
        before = backend.logits(batch)
        with backend.watching():
            assert not backend.moments("layers.0.down").any()
            np.testing.assert_array_equal(backend.logits(batch), before)
            once = backend.moments("layers.0.down").copy()
            backend.logits(batch)
            twice = backend.moments("layers.0.down")
            np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-6 * once.max())
        with pytest.raises(IndexError):
            backend.moments("layers.0.down")
        backend.close()


def test_planes_are_the_same_whatever_the_threads_and_undone_without_inputs() -> None:
    with open_checkpoint(GOLDEN / "llama-tied") as source:
        found = []
        for threads in (1, 3):
            backend = _load(source, threads)
            plain = _planes(backend)
            repack(backend, TOKENS)
            found.append(_planes(backend))
            assert found[-1] != plain
            for name in backend.matrix_names:
                backend.repack(name, None)
            assert _planes(backend) == plain
            backend.close()
        assert found[0] == found[1]


def test_an_embedding_that_nothing_multiplies_keeps_its_planes() -> None:
    with open_checkpoint(GOLDEN / "mistral") as source:
        assert not source.config.tie_embeddings
        backend = _load(source)
        plain = _planes(backend)
        repack(backend, TOKENS)
        fitted = _planes(backend)
        assert [name for name in fitted if fitted[name] == plain[name]] == ["embed"]
        backend.close()


def test_calibration_says_what_it_brought_and_keeps_the_better_planes() -> None:
    with open_checkpoint(GOLDEN / "llama-tied") as source:
        backend = _load(source)
        plain = _planes(backend)
        found = calibrate(backend, UNIFORM[16], TOKENS[:256], TOKENS[256:])
        assert found.tokens == 256
        assert found.kept is (found.after.value < found.before.value)
        assert (_planes(backend) != plain) is found.kept
        backend.close()
