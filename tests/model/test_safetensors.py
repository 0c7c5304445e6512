"""safetensors: what others write is read, what is written others read; the writer is atomic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.core.errors import CorruptFile, ModelNotFound
from onesec.model.safetensors import ALIGNMENT, SafetensorsFile, SafetensorsWriter
from onesec.model.tensor import MappedFile, Tensor, check_finite, count_not_finite

_DTYPES = ["f4", "f2", "f8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text("abc.é", min_size=1, max_size=12),
        st.tuples(st.sampled_from(_DTYPES), st.lists(st.integers(0, 5), max_size=4)),
        max_size=6,
    )
)
def test_round_trip_with_the_safetensors_package(
    tmp_path_factory: pytest.TempPathFactory, specs: dict[str, tuple[str, list[int]]]
) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 2, shape).astype(dtype) for name, (dtype, shape) in specs.items()
    }
    folder = tmp_path_factory.mktemp("st")
    theirs, ours = folder / "theirs.safetensors", folder / "ours.safetensors"
    safetensors.numpy.save_file(arrays, theirs, metadata={"format": "np"})
    with SafetensorsFile(theirs) as file:
        assert set(file.tensors) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.tensors[name].data, array)
        with SafetensorsWriter(ours, max_tensors=len(arrays), metadata={"a": "b"}) as out:
            for name, tensor in file.tensors.items():
                out.add(name, tensor.data, tensor.dtype)
    back = safetensors.numpy.load_file(ours)
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    with SafetensorsFile(ours) as file:
        assert file.metadata == {"a": "b"}
        assert file.nbytes == sum(a.nbytes for a in arrays.values())


def test_data_is_aligned_where_sizes_allow(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with SafetensorsWriter(path, max_tensors=4) as out:
        out.add("small", np.ones(3, np.float32))
        out.add("big", np.zeros(64, np.uint8))
        out.add("half", np.ones(5, np.float16))
        out.add("other", np.zeros((16, 16), np.float32).T)
    with SafetensorsFile(path) as file:
        for name in ("big", "other"):
            assert file.tensors[name].data.ctypes.data % ALIGNMENT == 0
        assert all(t.data.flags.aligned for t in file.tensors.values())
        assert file.tensors["small"].data.tolist() == [1, 1, 1]


def test_bf16_is_bits_with_a_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    bits = np.array([0x3F80, 0xC000], np.uint16)
    with SafetensorsWriter(path, max_tensors=2) as out:
        out.add("b", bits, "bf16")
        out.add("u", bits)
    with SafetensorsFile(path) as file:
        assert file.tensors["b"].dtype == "bf16"
        assert file.tensors["b"].float32().tolist() == [1.0, -2.0]
        assert file.tensors["u"].dtype == "u16"
        with pytest.raises(ValueError, match="not one of"):
            file.tensors["u"].float32()


def _write(path: Path, names: list[str], *, max_tensors: int) -> None:
    with SafetensorsWriter(path, max_tensors=max_tensors) as out:
        for name in names:
            out.add(name, np.zeros(16, np.float32))


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="given twice"):
        _write(tmp_path / "a", ["a", "a"], max_tensors=2)
    names = [f"a long name of the tensor with the number {i}" for i in range(9)]
    with pytest.raises(ValueError, match="header needs"):
        _write(tmp_path / "a", names, max_tensors=0)
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_survives_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="given twice"):
        _write(path, ["a", "a"], max_tensors=2)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("array", "dtype"), [(np.zeros(2, np.complex64), None), (np.zeros(2, np.uint8), "bf16")]
)
def test_what_the_format_has_not_is_refused(
    array: np.ndarray, dtype: str | None, tmp_path: Path
) -> None:
    with (
        pytest.raises(ValueError, match="cannot be written"),
        SafetensorsWriter(tmp_path / "a", max_tensors=1) as out,
    ):
        out.add("a", array, dtype)


def test_views_outlive_the_file_and_survive_release(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    values = np.arange(1 << 16, dtype=np.float32)
    safetensors.numpy.save_file({"a": values, "empty": np.zeros((0, 4), np.float32)}, path)
    file = SafetensorsFile(path)
    view = file.tensors["a"].data
    assert not view.flags.writeable
    file.release("a")
    file.release("empty")
    np.testing.assert_array_equal(view, values)
    file.close()
    file.close()
    np.testing.assert_array_equal(view, values)


def test_released_pages_leave_memory(tmp_path: Path) -> None:
    def resident(path: Path) -> int:
        text = Path("/proc/self/smaps").read_text()
        return int(text.split(str(path))[1].split("Rss:")[1].split()[0])

    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"a": np.ones(1 << 20, np.float32)}, path)
    with SafetensorsFile(path) as file:
        assert file.tensors["a"].data.sum() == 1 << 20
        before = resident(path)
        file.release("a")
        assert before >= 4096
        assert resident(path) < 64


def test_finite_or_named_and_counted(tmp_path: Path) -> None:
    for dtype, values in {
        "f32": np.array([1, np.nan, np.inf, 3.4e38], np.float32),
        "f16": np.array([1, np.nan, -np.inf, 65504], np.float16),
        "bf16": np.array([0x3F80, 0x7FC0, 0xFF80, 0x7F7F], np.uint16),
    }.items():
        tensor = Tensor("w", dtype, (4,), values)
        assert count_not_finite(tensor) == 2
        assert count_not_finite(Tensor("w", dtype, (2, 2), values.reshape(2, 2).T)) == 2
        with pytest.raises(CorruptFile, match="'w' has 2 of 4 values not finite"):
            check_finite(tmp_path, tensor)


def test_errors_of_the_file_itself(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        MappedFile(tmp_path / "none")
    with pytest.raises(CorruptFile, match="not a regular file"):
        MappedFile(tmp_path)
    with pytest.raises(CorruptFile, match="NUL"):
        MappedFile(tmp_path / "a\0b")


def test_the_header_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with SafetensorsWriter(path, max_tensors=1) as out:
        out.add("a", np.zeros((2, 8), np.float32))
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    assert (8 + size) % ALIGNMENT == 0
    assert json.loads(raw[8 : 8 + size]) == {
        "a": {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]}
    }


def test_a_touched_file_is_resident(tmp_path: Path) -> None:
    path = tmp_path / "many-pages"
    path.write_bytes(bytes(1 << 20))
    file = MappedFile(path)

    def resident_kb() -> int:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if line.endswith(str(path)))
        return int(next(line for line in lines[start:] if line.startswith("Rss:")).split()[1])

    assert resident_kb() < 1024
    file.touch()
    assert resident_kb() == 1024
    file.close()
