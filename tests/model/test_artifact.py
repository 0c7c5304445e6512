"""Artifacts: written whole or not at all, read back equal, refused when anything disagrees."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from onesec.core.errors import (
    CorruptFile,
    InvalidRequest,
    ModelError,
    ModelNotFound,
    UnsupportedModel,
)
from onesec.model import partfolder
from onesec.model.artifact import is_artifact, open_artifact
from onesec.model.artifact_writer import copy_companions, write_artifact
from onesec.model.checkpoints import open_checkpoint
from onesec.model.config import ModelConfig
from onesec.model.names import matrix_shape
from onesec.model.partfile import PartFile
from onesec.model.partfolder import part_folder
from onesec.model.planes import PackedMatrix, packed_names, plane_bytes

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
ROPE = {"inv_freq": [1.0], "attention_factor": 1.0}
FAMILIES = sorted(p.parent.name for p in GOLDEN.glob("*/config.json"))


def _planes(config: ModelConfig) -> Iterator[tuple[str, PackedMatrix]]:
    rng = np.random.default_rng(0)
    for name in packed_names(config):
        rows, cols = matrix_shape(config, name)
        hi, lo = (rng.integers(0, 256, n, dtype=np.uint8) for n in plane_bytes(rows, cols))
        yield name, PackedMatrix(hi, lo, rng.random(rows, dtype=np.float32), rows, cols)


def _write(path: Path, name: str = "gpt_neo") -> ModelConfig:
    with open_checkpoint(GOLDEN / name) as checkpoint:
        config = checkpoint.config
        write_artifact(path, config, _planes(config), checkpoint.vectors(), gears={"g": 1})
    return config


def test_plane_sizes() -> None:
    assert plane_bytes(16, 64) == (576, 512)
    assert plane_bytes(1, 1) == (576, 512)
    assert plane_bytes(33, 128) == (6 * 576, 6 * 512)


@pytest.mark.parametrize("name", FAMILIES)
def test_round_trip(name: str, tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    config = _write(path, name)
    with open_checkpoint(GOLDEN / name) as checkpoint, open_artifact(path) as artifact:
        assert artifact.config == config
        assert artifact.generation_defaults["eos_ids"] == config.eos_ids
        assert artifact.gears == {"g": 1}
        assert artifact.recipe == {}
        assert artifact.matrix_names() == packed_names(config)
        for matrix, expected in _planes(config):
            packed = artifact.packed(matrix)
            assert (packed.rows, packed.cols) == (expected.rows, expected.cols)
            assert packed.nbytes == expected.nbytes
            assert packed.hi.ctypes.data % 64 == packed.lo.ctypes.data % 64 == 0
            np.testing.assert_array_equal(packed.hi, expected.hi)
            np.testing.assert_array_equal(packed.lo, expected.lo)
            np.testing.assert_array_equal(packed.row_scale, expected.row_scale)
            artifact.release(matrix)
        vectors = checkpoint.vectors()
        assert set(artifact.vectors) == set(artifact.vector_names()) == set(vectors)
        for vector, values in vectors.items():
            np.testing.assert_array_equal(artifact.vector(vector), values.reshape(-1))
        assert artifact.nbytes > 0
        assert artifact.source == path


def test_the_tokenizer_and_the_licence_come_along(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("tokenizer.json", "LICENSE", "evil.py", "pytorch_model.bin"):
        (source / name).write_text(name)
    (source / "generation_config.json").write_text('{"do_sample": true, "top_p": 0.5}')
    beside = partial(copy_companions, source)
    with open_checkpoint(GOLDEN / "llama2") as checkpoint:
        config = checkpoint.config
        path = tmp_path / "artifact"
        write_artifact(path, config, _planes(config), checkpoint.vectors(), beside)
    assert {p.name for p in path.iterdir()} == {
        "config.json",
        "gears.json",
        "recipe.json",
        "model.safetensors",
        "tokenizer.json",
        "LICENSE",
        "generation_config.json",
    }
    with open_artifact(path) as artifact:
        assert artifact.generation_defaults["top_p"] == 0.5
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.json").symlink_to("/etc/hostname")
    with pytest.raises(CorruptFile, match="links out"):
        write_artifact(path, config, _planes(config), {}, beside)


def test_further_chat_templates_come_along(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "additional_chat_templates").mkdir(parents=True)
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    target.mkdir()
    copy_companions(source, target)
    assert (target / "additional_chat_templates" / "tool_use.jinja").read_text() == "tools"
    outside = source / "additional_chat_templates" / "outside.jinja"
    outside.symlink_to("/etc/hostname")
    with pytest.raises(CorruptFile, match="links out"):
        copy_companions(source, target)


def test_replaces_an_artifact_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    _write(path, "llama2")
    _write(path, "gpt2")
    with open_artifact(path) as artifact:
        assert artifact.config.architecture == "gpt2"
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("keep")
    with pytest.raises(InvalidRequest, match="not overwritten"):
        _write(other)
    assert (other / "notes.txt").read_text() == "keep"
    (other / "notes.txt").unlink()
    _write(other)
    assert is_artifact(other)


def test_a_link_goes_on_pointing_to_what_was_written(tmp_path: Path) -> None:
    link, there = tmp_path / "link", tmp_path / "there" / "artifact"
    link.symlink_to(there)
    for name in ("llama2", "gpt2"):
        _write(link, name)
        with open_artifact(there) as artifact:
            assert artifact.config.architecture == {"llama2": "llama"}.get(name, name)
    assert link.is_symlink()
    assert [p.name for p in there.parent.iterdir()] == ["artifact"]
    assert {p.name for p in tmp_path.iterdir()} == {"link", "there"}


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_an_artifact_needs_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match="has no name"):
        _write(Path(name))


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    config = _write(path, "llama2")

    def broken() -> Iterator[tuple[str, PackedMatrix]]:
        yield from list(_planes(config))[:2]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_artifact(path, config, broken(), {})
    with pytest.raises(ValueError, match="matrices are missing"):
        write_artifact(path, config, list(_planes(config))[:2], {})
    with pytest.raises(ValueError, match="does not fit"):
        write_artifact(path, replace(config, hidden_size=1), _planes(config), {})
    short = [(n, replace(p, hi=p.hi[:-1])) for n, p in _planes(config)]
    with pytest.raises(ValueError, match="planes of"):
        write_artifact(path, config, short, {})
    with open_artifact(path) as artifact:
        assert artifact.config == config
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written"):
        _write(tmp_path / ("x" * 300) / "artifact")
    (tmp_path / "file").write_text("")
    for place in ("artifact", "deep/artifact"):
        with pytest.raises(InvalidRequest, match="file is no folder"):
            _write(tmp_path / "file" / place)


def test_is_artifact(tmp_path: Path) -> None:
    assert not is_artifact(tmp_path)
    assert not is_artifact(tmp_path / "none")
    assert not is_artifact(f"{tmp_path}/a\0b")
    assert not is_artifact(GOLDEN / "llama2")
    (tmp_path / "config.json").write_text("{")
    assert not is_artifact(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("vocab_size", 0, "vocab_size is 0"),
        ("num_layers", 3, "layers has 2 entries"),
        ("num_kv_heads", 3, "does not divide"),
        ("norm", "batch", "not one of"),
        ("architecture", None, "architecture is missing"),
        ("gated", 1, "not true or false"),
        ("attention_scale", float("nan"), "NaN"),
        ("ropes", [], "is empty"),
        ("ropes", [{"inv_freq": [], "attention_factor": 1.0}], "has 0 values"),
        ("ropes", [{"inv_freq": ["x"], "attention_factor": 1.0}], "not a number"),
        ("ropes", [{"inv_freq": [0.0], "attention_factor": 1.0}], "must lie in"),
        ("ropes", {}, "not a list of objects"),
        ("long", {"context_length": 128, "ropes": [ROPE]}, "context_length is 128"),
        ("long", {"context_length": 256, "ropes": []}, "has 0 entries"),
        ("long", [], "not an object"),
        ("layers", [{"window": 0, "rope": 1}] * 2, "rope is 1"),
        ("hidden_size", 128, "the config needs"),
        ("intermediate_size", 1 << 30, "must lie in"),
        ("hidden_size", 10**400, "must lie in"),
    ],
)
def test_a_config_that_lies(key: str, value: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    _write(path, "llama2")
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(values | {key: value}))
    with pytest.raises(CorruptFile, match=words):
        open_artifact(path)


@pytest.mark.parametrize("name", ["config.json", "recipe.json", "gears.json"])
def test_a_number_that_overflows_is_refused(name: str, tmp_path: Path) -> None:
    """Kept, it could not be written again: Infinity is not JSON."""
    path = tmp_path / "artifact"
    _write(path, "llama2")
    values = json.loads((path / name).read_text()) | {"extra": {"x": 1.5}}
    (path / name).write_text(json.dumps(values).replace("1.5", "1e999"))
    with pytest.raises(CorruptFile, match="1e999, which no number can hold"):
        open_artifact(path)


def test_other_versions_and_other_folders(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    _write(path, "llama2")
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(values | {"version": 2}))
    with pytest.raises(UnsupportedModel, match="version 2"):
        open_artifact(path)
    with pytest.raises(UnsupportedModel, match="not a OneSec artifact"):
        open_artifact(GOLDEN / "llama2")
    with pytest.raises(ModelNotFound):
        open_artifact(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("embed.hi", None, "no tensor 'embed.hi'"),
        ("embed.lo", np.zeros(64, np.uint8), "the config needs u8"),
        ("layers.0.o.row_scale", np.full(64, np.nan, np.float32), "not finite"),
        ("pos_embed", None, "no tensor 'pos_embed'"),
        ("final_norm", np.full(64, np.inf, np.float32), "not finite"),
        ("final_norm", np.ones(63, np.float32), "the config needs f32"),
        ("final_norm", np.ones(64, np.float16), "the config needs f32"),
        ("final_norm_bias", None, "no tensor 'final_norm_bias'"),
        ("layers.1.ffn_norm", None, "no tensor 'layers.1.ffn_norm'"),
        ("surprise", np.ones(64, np.float32), "has no place"),
        ("layers.2.ffn_norm", np.ones(64, np.float32), "has no place"),
        ("layers.01.ffn_norm", np.ones(64, np.float32), "has no place"),
        ("layers.0.qkv", np.ones(64, np.float32), "has no place"),
        ("evil.hi", np.ones(64, np.uint8), "has no place"),
    ],
)
def test_tensors_that_lie(name: str, array: np.ndarray | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    _write(path)
    tensors = safetensors.numpy.load_file(path / "model.safetensors")
    tensors.pop(name, None)
    if array is not None:
        tensors[name] = array
    safetensors.numpy.save_file(tensors, path / "model.safetensors")
    with pytest.raises(CorruptFile, match=words):
        open_artifact(path)


def test_what_a_killed_writer_left_is_cleared_and_a_living_one_is_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "artifact"
    for name in (".artifact.dead.part", ".artifact.alive.part", ".artifact2.dead.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    alive = os.open(tmp_path / ".artifact.alive.part", os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    _write(path)
    os.close(alive)
    assert is_artifact(path)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"artifact", ".artifact.alive.part", ".artifact2.dead.part"}


_KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
import test_artifact as t
def planes(config):
    yield from list(t._planes(config))[:2]
    os.kill(os.getpid(), 9)
with t.open_checkpoint(t.GOLDEN / "llama2") as c:
    t.write_artifact(Path(sys.argv[1]), c.config, planes(c.config), c.vectors())
"""


def test_a_killed_writer_leaves_the_old_artifact_whole(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    config = _write(path, "gpt2")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path), str(Path(__file__).parent)], check=False
    )
    assert killed.returncode == -9
    with open_artifact(path) as artifact:
        assert artifact.config == config
    assert len(list(tmp_path.iterdir())) == 2  # and what was half-written, until
    _write(path, "llama2")
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ModelError, match="cannot be written"):
            _write(tmp_path / "artifact", "llama2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_writer_killed_between_its_two_renames_leaves_the_old_artifact(tmp_path: Path) -> None:
    path = tmp_path / "made"
    _write(path)
    before = (path / "config.json").read_bytes()
    part = tmp_path / ".made.abcd.part"
    part.mkdir()
    path.rename(part.with_suffix(".old"))
    with pytest.raises(ZeroDivisionError), part_folder(path):
        1 / 0  # noqa: B018
    assert (path / "config.json").read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
def test_a_new_folder_that_another_writer_cleared_is_made_again(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before this one has locked it the other may take it for an abandoned one."""
    lock = partfolder._lock
    cleared: list[Path] = []

    def racing(folder: Path, **how: bool) -> int | None:
        if cleared:
            return lock(folder)
        cleared.append(folder)
        held = lock(folder) if when == "after" else None
        shutil.rmtree(folder)
        return lock(folder) if when == "before" else held

    monkeypatch.setattr(partfolder, "_lock", racing)
    _write(tmp_path / "made")
    assert cleared
    assert is_artifact(tmp_path / "made")


def test_a_folder_whose_name_begins_alike_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A writer of `made.small` was killed between its two renames; then `made` is written."""
    part = tmp_path / ".made.small.abcd.part"
    _write(tmp_path / "made.small", "gpt2")
    (tmp_path / "made.small").rename(part.with_suffix(".old"))
    part.mkdir()
    _write(tmp_path / "made", "llama2")
    with part_folder(tmp_path / "made.small") as new:
        (new / "a").write_text("whole")
        with open_artifact(tmp_path / "made.small") as artifact:
            assert artifact.config.architecture == "gpt2"
    assert {one.name for one in tmp_path.iterdir()} == {"made", "made.small"}


def test_a_rename_that_fails_gives_the_old_folder_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made"
    _write(path)
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(OSError, match="No space"), part_folder(path) as part:
        (part / "new").write_text("x")
    assert is_artifact(path)
    assert [one.name for one in tmp_path.iterdir()] == ["made"]


def test_a_replaced_folder_that_was_left_behind_is_cleared_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "made"
    _write(path)
    for name in (".made.abcd1234.old", ".made.other.abcd1234.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"x")
    with part_folder(path) as part:
        (part / "new").write_text("x")
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {"made", ".made.other.abcd1234.old"}  # which is of a folder "made.other"


@pytest.mark.parametrize("errno", [38, 95], ids=["ENOSYS", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_written_to(
    errno: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(handle: int, how: int) -> None:
        raise OSError(errno, os.strerror(errno))

    monkeypatch.setattr(fcntl, "flock", none)
    path = tmp_path / "made"
    for text in ("old", "new"):
        with part_folder(path) as part:
            (part / "x").write_text(text)
    with PartFile(tmp_path / "file") as file:
        file.file.write(b"whole")
    assert (path / "x").read_text() == "new"
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert {one.name for one in tmp_path.iterdir()} == {"made", "file"}
