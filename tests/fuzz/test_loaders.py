"""Hostile files and flipped bytes: each gives one typed error, whatever the file says."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hostile_files import (
    BLOCKS,
    LLAMA,
    hostile_configs,
    hostile_gguf,
    hostile_safetensors,
    valid_gguf,
    valid_safetensors,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onesec.core.errors import CorruptFile, OneSecError, UnsupportedModel
from onesec.model.checkpoints import open_checkpoint
from onesec.model.gguf import GGUFFile
from onesec.model.safetensors import SafetensorsFile

SAFETENSORS, GGUF, CONFIGS = hostile_safetensors(), hostile_gguf(), hostile_configs()
_FUZZ = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _folder(path: Path, config: bytes, weights: bytes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_bytes(config)
    (path / "model.safetensors").write_bytes(weights)
    return path


def _check(error: OneSecError, path: Path) -> None:
    """One sentence that names the file and says what to do, of bounded length."""
    assert type(error) in (CorruptFile, UnsupportedModel)
    assert path.name in str(error)
    assert error.hint
    assert len(str(error)) < 500 + len(str(path))


def test_the_corpus_is_large_and_each_file_another() -> None:
    everything = SAFETENSORS + GGUF + CONFIGS
    assert len(everything) >= 200
    assert len({raw for _, raw in SAFETENSORS}) == len(SAFETENSORS)
    assert len({raw for _, raw in GGUF}) == len(GGUF)


def test_the_seeds_are_well_formed(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "hf", json.dumps(LLAMA).encode(), valid_safetensors())
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(valid_gguf())
    for path in (folder, gguf):
        with open_checkpoint(path) as checkpoint:
            for matrix in checkpoint.matrix_names():
                assert all((s.float32() == 1).all() for s in checkpoint.matrix(matrix))
            assert all((v == 1).all() for v in checkpoint.vectors().values())


@pytest.mark.parametrize(("name", "raw"), SAFETENSORS, ids=[name for name, _ in SAFETENSORS])
def test_hostile_safetensors(name: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(OneSecError) as caught:
        SafetensorsFile(path)
    _check(caught.value, path)
    folder = _folder(tmp_path / "hf", json.dumps(LLAMA).encode(), raw)
    with pytest.raises(OneSecError) as again:
        open_checkpoint(folder)
    assert type(again.value) is type(caught.value)


@pytest.mark.parametrize(("name", "raw"), GGUF, ids=[name for name, _ in GGUF])
def test_hostile_gguf(name: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    with pytest.raises(OneSecError) as caught:
        GGUFFile(path)
    _check(caught.value, path)


@pytest.mark.parametrize(("name", "raw"), CONFIGS, ids=[name for name, _ in CONFIGS])
def test_hostile_configs(name: str, raw: bytes, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "hf", raw, valid_safetensors())
    with pytest.raises(OneSecError) as caught:
        open_checkpoint(folder)
    _check(caught.value, folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
def test_folders_in_the_place_of_files(name: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "hf", json.dumps(LLAMA).encode(), valid_safetensors())
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(CorruptFile, match="not a regular file"):
        open_checkpoint(folder)


def test_a_gguf_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").mkdir()
    with pytest.raises(CorruptFile, match="not a regular file"):
        GGUFFile(tmp_path / "m.gguf")


def _use(path: Path) -> None:
    """Open and read everything: only errors raised on purpose may come out."""
    with suppress(OneSecError), open_checkpoint(path) as checkpoint:
        for matrix in checkpoint.matrix_names():
            segments = checkpoint.matrix(matrix)
            checkpoint.check_finite(matrix, segments)
        for vector in checkpoint.vector_names():
            checkpoint.vector(vector)


_FLIPS = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), min_size=1, max_size=4)


def _flip(raw: bytes, flips: list[tuple[int, int]], span: int) -> bytes:
    spoilt = bytearray(raw)
    for at, mask in flips:
        spoilt[at % span] ^= mask
    return bytes(spoilt)


@_FUZZ
@given(flips=_FLIPS, whole=st.booleans())
def test_flipped_safetensors(flips: list[tuple[int, int]], whole: bool, tmp_path: Path) -> None:
    raw = valid_safetensors()
    span = len(raw) if whole else 8 + int.from_bytes(raw[:8], "little")
    _use(_folder(tmp_path, json.dumps(LLAMA).encode(), _flip(raw, flips, span)))


@_FUZZ
@given(flips=_FLIPS, whole=st.booleans())
def test_flipped_gguf(flips: list[tuple[int, int]], whole: bool, tmp_path: Path) -> None:
    raw = valid_gguf()
    path = tmp_path / "m.gguf"
    path.write_bytes(_flip(raw, flips, len(raw) if whole else 1100))
    _use(path)


@pytest.mark.parametrize("kind", sorted(BLOCKS))
def test_the_seeds_in_blocks_are_well_formed(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(valid_gguf(kind))
    with open_checkpoint(path) as checkpoint:
        for matrix in checkpoint.matrix_names():
            assert not any(part.float32().any() for part in checkpoint.matrix(matrix))


@_FUZZ
@given(kind=st.sampled_from(sorted(BLOCKS)), flips=_FLIPS, whole=st.booleans())
def test_flipped_gguf_in_blocks(
    kind: int, flips: list[tuple[int, int]], whole: bool, tmp_path: Path
) -> None:
    raw = valid_gguf(kind)
    path = tmp_path / "m.gguf"
    path.write_bytes(_flip(raw, flips, len(raw) if whole else 1100))
    _use(path)


@_FUZZ
@given(flips=_FLIPS)
def test_flipped_config(flips: list[tuple[int, int]], tmp_path: Path) -> None:
    raw = json.dumps(LLAMA).encode()
    _use(_folder(tmp_path, _flip(raw, flips, len(raw)), valid_safetensors()))


@_FUZZ
@given(cut=st.integers(0, 1 << 14), insert=st.binary(max_size=16), at=st.integers(0, 1 << 14))
def test_cut_and_stuffed(cut: int, insert: bytes, at: int, tmp_path: Path) -> None:
    for raw, name in ((valid_safetensors(), "model.safetensors"), (valid_gguf(), "m.gguf")):
        at_here = at % len(raw)
        spoilt = raw[:at_here] + insert + raw[at_here + cut % 64 :]
        if name == "m.gguf":
            (tmp_path / name).write_bytes(spoilt)
            _use(tmp_path / name)
        else:
            _use(_folder(tmp_path / "hf", json.dumps(LLAMA).encode(), spoilt))


@_FUZZ
@given(raw=st.binary(max_size=256))
def test_anything_after_the_magic(raw: bytes, tmp_path: Path) -> None:
    for name, reader, magic in (
        ("a.safetensors", SafetensorsFile, len(raw).to_bytes(8, "little") + b"{"),
        ("a.gguf", GGUFFile, b"GGUF\3\0\0\0"),
    ):
        path = tmp_path / name
        path.write_bytes(magic + raw)
        with suppress(OneSecError):
            reader(path).close()
