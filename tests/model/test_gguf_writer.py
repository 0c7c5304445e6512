"""GGUF files that are written, read back by the gguf package and by this reader."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from onesec.model.gguf import GGUFFile
from onesec.model.gguf_encode import encode
from onesec.model.gguf_writer import GGUFWriter, OutgoingTensor

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "x.yes": True,
    "x.count": 2**32 - 1,
    "x.float": float(np.float32(0.1)),
    "x.text": "秒级",
    "x.texts": ["a", "", "bc\n"],
    "x.numbers": np.array([1.5, -2.0], "<f4"),
    "x.signed": np.array([-1, 2], "<i4"),
    "x.unsigned": np.array([1, 2**32 - 1], "<u4"),
}


def _write(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    floats = rng.normal(size=(3, 256)).astype(np.float32)
    tensors = {
        "odd": (rng.normal(size=7).astype(np.float32), "f32"),
        "half": (floats.astype(np.float16), "f16"),
        "eight": (encode("q8_0", floats), "q8_0"),
        "four": (encode("q4_0", floats), "q4_0"),
        "four_k": (encode("q4_k", floats), "q4_k"),
    }
    listed = [
        OutgoingTensor(name, a.shape if kind in ("f32", "f16") else floats.shape, kind)
        for name, (a, kind) in tensors.items()
    ]
    with GGUFWriter(path, METADATA, listed) as out:
        for name, (array, _) in tensors.items():
            out.add(name, array)
    return {name: array for name, (array, _) in tensors.items()}


def test_the_gguf_package_reads_what_was_written(tmp_path: Path) -> None:
    tensors = _write(tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    for key, value in METADATA.items():
        contents = reader.fields[key].contents()
        assert contents == (value.tolist() if isinstance(value, np.ndarray) else value), key
    assert [tensor.name for tensor in reader.tensors] == list(tensors)
    for tensor in reader.tensors:
        np.testing.assert_array_equal(tensor.data.reshape(-1), tensors[tensor.name].reshape(-1))
        assert tensor.data_offset % 32 == 0
    assert [t.tensor_type.name for t in reader.tensors] == ["F32", "F16", "Q8_0", "Q4_0", "Q4_K"]


def test_this_reader_reads_it_too(tmp_path: Path) -> None:
    tensors = _write(tmp_path / "m.gguf")
    with GGUFFile(tmp_path / "m.gguf") as file:
        assert file.metadata["x.texts"] == METADATA["x.texts"]
        assert file.shape("four_k") == (3, 256)
        np.testing.assert_array_equal(file.read("odd").data, tensors["odd"])
        assert file.nbytes == sum(array.nbytes for array in tensors.values())


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"what was there")
    one = OutgoingTensor("a", (2,), "f32")
    with pytest.raises(KeyboardInterrupt), GGUFWriter(path, {}, [one]):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="1 tensors were not given"), GGUFWriter(path, {}, [one]):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["m.gguf"]
    assert path.read_bytes() == b"what was there"


@pytest.mark.parametrize("room", [1000, 50_000, 109_000])
def test_a_full_disk_leaves_nothing(room: int, tmp_path: Path) -> None:
    """In the middle of the keys, of a tensor, and of what was still to be flushed."""
    path, tensors = tmp_path / "m.gguf", [OutgoingTensor("a", (25_000,), "f32")]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with (
            pytest.raises(OSError, match="too large"),
            GGUFWriter(path, {"x": "a" * 9000}, tensors) as out,
        ):
            out.add("a", np.zeros(25_000, np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "size"), [("b", 2), ("a", 3)])
def test_tensors_come_as_they_were_said(name: str, size: int, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", {}, [OutgoingTensor("a", (2,), "f32")])
    with pytest.raises(ValueError, match="comes next"), writer as out:
        out.add(name, np.zeros(size, np.float32))


@pytest.mark.parametrize("value", [None, -1, 2**32, ["a", 1], np.zeros(2), b"raw"])
def test_values_of_other_types_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x is .* which is not written"):
        GGUFWriter(tmp_path / "m.gguf", {"x": value}, [])
    assert not list(tmp_path.iterdir())
