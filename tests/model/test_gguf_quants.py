"""Block formats against the gguf package's decoder and against blocks laid out by hand."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from onesec.model.gguf import GGUFFile
from onesec.model.gguf_quants import BLOCK_FORMATS, dequantize

_HALVES = {  # bytes at which float16 values begin; elsewhere at 0 alone
    "q4_1": (0, 2),
    "q5_1": (0, 2),
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
}


def _finite_blocks(kind: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random bytes, with half floats that are finite and of a usual size."""
    block = BLOCK_FORMATS[kind]
    data = rng.integers(0, 256, (count, block.nbytes), dtype=np.uint8)
    for at in _HALVES.get(block.name, (0,)):
        half = rng.uniform(-0.1, 0.1, count).astype("<f2")
        data[:, at : at + 2] = half.view(np.uint8).reshape(count, 2)
    return data.reshape(-1)


def _edge_blocks(kind: int) -> np.ndarray:
    """All bits clear, all set, one bit alone, each with the half floats that are hardest."""
    block = BLOCK_FORMATS[kind]
    codes = [np.zeros(block.nbytes, np.uint8), np.full(block.nbytes, 255, np.uint8)]
    for bit in range(8 * block.nbytes):
        one = np.zeros(block.nbytes, np.uint8)
        one[bit // 8] = 1 << bit % 8
        codes.append(one)
    blocks = []
    for half in (0.0, -0.0, 1.0, 6e-8, -65504.0):  # 6e-8: the smallest subnormal
        for code in codes:
            data = code.copy()
            for at in _HALVES.get(block.name, (0,)):
                data[at : at + 2] = np.array([half], "<f2").view(np.uint8)
            blocks.append(data)
    return np.concatenate(blocks)


@pytest.mark.parametrize("kind", sorted(BLOCK_FORMATS))
@pytest.mark.parametrize("count", [1, 7])
def test_same_bits_as_the_gguf_package(kind: int, count: int) -> None:
    _check_bits(kind, _finite_blocks(kind, count, np.random.default_rng(kind)))


@pytest.mark.parametrize("kind", sorted(BLOCK_FORMATS))
def test_same_bits_on_edge_cases(kind: int) -> None:
    _check_bits(kind, _edge_blocks(kind))


def _check_bits(kind: int, data: np.ndarray) -> None:
    expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(kind)).reshape(-1)
    ours = dequantize(BLOCK_FORMATS[kind], data)
    np.testing.assert_array_equal(ours.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", sorted(BLOCK_FORMATS))
@pytest.mark.parametrize("scale", [np.inf, np.nan])
def test_scales_that_are_not_finite_show_in_the_values(kind: int, scale: float) -> None:
    block = BLOCK_FORMATS[kind]
    data = np.zeros(block.nbytes, np.uint8)
    for at in _HALVES.get(block.name, (0,)):
        data[at : at + 2] = np.array([scale], "<f2").view(np.uint8)
    assert not np.isfinite(dequantize(block, data)).any()


@pytest.mark.parametrize("kind", sorted(BLOCK_FORMATS))
def test_sizes_are_those_of_the_gguf_package(kind: int) -> None:
    block = BLOCK_FORMATS[kind]
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)] == (block.weights, block.nbytes)


@pytest.mark.parametrize("kind", [2, 3, 6, 7, 8])
def test_quantised_values_come_back_near(kind: int) -> None:
    values = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind))
    back = dequantize(BLOCK_FORMATS[kind], stored.reshape(-1)).reshape(values.shape)
    assert np.abs(back - values).max() < {2: 0.3, 3: 0.25, 6: 0.16, 7: 0.13, 8: 0.02}[kind]


def test_many_blocks_are_decoded_in_chunks() -> None:
    data = _finite_blocks(8, 3, np.random.default_rng(1))
    many = np.tile(data, (1 << 17) // 3 + 1)
    values = dequantize(BLOCK_FORMATS[8], many).reshape(-1, 96)
    assert (values == values[0]).all()


@pytest.mark.parametrize("kind", sorted(BLOCK_FORMATS))
def test_whole_files_as_the_gguf_package_reads_them(kind: int, tmp_path: Path) -> None:
    """Two matrices and a vector of floats: places, shapes and values of each."""
    block, named = BLOCK_FORMATS[kind], gguf.GGMLQuantizationType(kind)
    rng = np.random.default_rng(kind)
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, rows, blocks in (("a", 3, 2), ("b", 5, 1)):
        raw = _finite_blocks(kind, rows * blocks, rng).reshape(rows, blocks * block.nbytes)
        writer.add_tensor(name, raw, raw_dtype=named)
        writer.add_tensor(f"{name}.norm", rng.normal(size=rows).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with GGUFFile(path) as file:
        assert set(file.names()) == set(theirs)
        for name, tensor in theirs.items():
            assert file.shape(name) == tuple(int(n) for n in tensor.shape[::-1])
            expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(file.read(name).data, expected.reshape(file.shape(name)))
        assert file.dtype("b") == block.name
        assert file.dtype("b.norm") == "f32"


def test_a_q4_0_block_by_hand() -> None:
    block = np.zeros(18, dtype=np.uint8)
    block[:2] = np.array([2.0], dtype="<f2").view(np.uint8)
    block[2:] = 0x88  # code 8 is zero
    block[2] = 0xF0  # weight 0: code 0; weight 16: code 15
    values = dequantize(BLOCK_FORMATS[2], block)
    assert values[0] == -16.0
    assert values[16] == 14.0
    assert not values[[*range(1, 16), *range(17, 32)]].any()


def test_a_q6_k_block_by_hand() -> None:
    block = np.zeros(210, dtype=np.uint8)
    block[192:208] = 1  # all scales 1
    block[208:] = np.array([0.5], dtype="<f2").view(np.uint8)
    block[0] = 0x0F  # weight 0: low nibble 15
    block[128] = 0b10  # its upper bits: 2 -> code 47
    values = dequantize(BLOCK_FORMATS[14], block)
    assert values[0] == 0.5 * (47 - 32)
    assert (values[1:] == -16.0).all()


def test_part_of_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        dequantize(BLOCK_FORMATS[8], np.zeros(33, dtype=np.uint8))
