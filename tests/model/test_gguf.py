"""GGUF: what the gguf package writes is what is read, and equals the Hugging Face checkpoint."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_converter import convert

from onesec.core.errors import CorruptFile, UnsupportedModel
from onesec.model.architectures.rope import yarn
from onesec.model.checkpoints import open_checkpoint
from onesec.model.config import ModelConfig
from onesec.model.gguf import GGUFFile

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def _comparable(config: ModelConfig) -> ModelConfig:
    """Without what GGUF does not carry: the family's name, token ids, exact scales."""
    return replace(
        config, architecture="", bos_id=None, eos_ids=(), ropes=(), norm_eps=0.0, attention_scale=0
    )


@pytest.mark.parametrize(
    "name", ["llama2", "llama3", "qwen2", "qwen2-bf16", "qwen3", "gpt2", "gemma2", "gemma3", "phi3"]
)
def test_gguf_equals_the_checkpoint_it_came_from(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    convert(GOLDEN / name, path)
    with open_checkpoint(GOLDEN / name) as ours, open_checkpoint(path) as theirs:
        expected = _comparable(ours.config)
        if name == "phi3":  # its converter does not say which layers have windows
            expected = replace(expected, layers=theirs.config.layers)
        assert _comparable(theirs.config) == expected
        assert theirs.config.norm_eps == pytest.approx(ours.config.norm_eps)
        for mine, other in zip(ours.config.ropes, theirs.config.ropes, strict=True):
            np.testing.assert_allclose(other.inv_freq, mine.inv_freq, rtol=1e-6)
            assert other.attention_factor == mine.attention_factor
        assert theirs.matrix_names() == ours.matrix_names()
        for matrix in ours.matrix_names():
            for a, b in zip(ours.matrix(matrix), theirs.matrix(matrix), strict=True):
                np.testing.assert_array_equal(b.float32(), a.float32(), err_msg=matrix)
        assert set(theirs.vector_names()) == set(ours.vector_names())
        for vector in ours.vector_names():
            np.testing.assert_array_equal(theirs.vector(vector), ours.vector(vector))


@pytest.mark.parametrize("quant", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "F16"])
def test_quantised_matrices_are_near_and_still_split(quant: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    convert(GOLDEN / "llama2", path, quant=gguf.GGMLQuantizationType[quant])
    with open_checkpoint(GOLDEN / "llama2") as ours, open_checkpoint(path) as theirs:
        for a, b in zip(ours.matrix("layers.1.qkv"), theirs.matrix("layers.1.qkv"), strict=True):
            assert b.dtype == {"BF16": "bf16", "F16": "f16"}.get(quant, "f32")
            assert b.data.flags.c_contiguous
            error = np.abs(a.float32() - b.float32()).max() / np.abs(a.float32()).max()
            assert error < {"Q4_0": 0.2, "Q4_1": 0.2, "Q5_0": 0.1, "Q5_1": 0.1}.get(quant, 0.01)
        theirs.release("layers.1.qkv")
        assert theirs.matrix("layers.1.qkv")[0].float32().any()


def test_longrope_factors_follow_the_context(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_orig_ctx_len(32)
        writer.add_tensor("rope_factors_long.weight", np.full(8, 4.0, np.float32))
        writer.add_tensor("rope_factors_short.weight", np.full(8, 2.0, np.float32))

    path = _tiny(tmp_path / "m.gguf", architecture="phi3", change=change, fused=True)
    with open_checkpoint(path) as checkpoint:
        config = checkpoint.config
    short, long = config.for_context(32), config.for_context(33)
    assert (short.context_length, long.context_length, config.max_context) == (32, 64, 64)
    assert short.ropes[0].inv_freq[0] == 0.5
    assert long.ropes[0].inv_freq[0] == 0.25
    for rope in (*short.ropes, *long.ropes):
        assert rope.attention_factor == pytest.approx((1 + np.log(2) / np.log(32)) ** 0.5)


@pytest.mark.parametrize(
    ("kind", "first", "last"), [("linear", 0.25, None), ("yarn", 1.0, 0.25), ("none", 1.0, None)]
)
def test_rope_scaling_keys(kind: str, first: float, last: float | None, tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(32)

    with open_checkpoint(_tiny(tmp_path / "m.gguf", change=change)) as checkpoint:
        (rope,) = checkpoint.config.ropes
    assert rope.inv_freq[0] == pytest.approx(first)
    if last is not None:
        assert rope.inv_freq[-1] == pytest.approx(last * 10000 ** (-14 / 16), rel=1e-5)


def _tiny(
    path: Path,
    *,
    architecture: str = "llama",
    change: Callable[[gguf.GGUFWriter], None] | None = None,
    fused: bool = False,
    heads: int | list[int] = 2,
) -> Path:
    """One layer, hidden 32, 2 heads of 16, 8 tokens, ffn 32."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(3)
    zeros = np.zeros((32, 32), np.float32)
    matrices = ["attn_output", "ffn_down"]
    matrices += [] if fused else ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"]
    for name in matrices:
        writer.add_tensor(f"blk.0.{name}.weight", zeros)
    if fused:
        writer.add_tensor("blk.0.attn_qkv.weight", np.zeros((96, 32), np.float32))
        writer.add_tensor("blk.0.ffn_up.weight", np.zeros((64, 32), np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    if change:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_end_of_turn_tokens_end_too(tmp_path: Path) -> None:
    with open_checkpoint(_tiny(tmp_path / "m.gguf")) as checkpoint:
        assert checkpoint.config.eos_ids == (2, 3)
        assert checkpoint.generation_defaults == {"eos_ids": (2, 3)}
        assert checkpoint.config.tie_embeddings


def test_values_given_a_layer_are_read_when_equal(tmp_path: Path) -> None:
    with open_checkpoint(_tiny(tmp_path / "m.gguf", heads=[2])) as checkpoint:
        assert checkpoint.config.num_heads == 2
    with pytest.raises(UnsupportedModel, match="layer to layer"):
        open_checkpoint(_tiny(tmp_path / "n.gguf", heads=[2, 4]))


def _add(key: str, value: object) -> Callable[[gguf.GGUFWriter], None]:
    def change(writer: gguf.GGUFWriter) -> None:
        {
            int: writer.add_uint32,
            float: writer.add_float32,
            str: writer.add_string,
            bool: writer.add_bool,
            list: writer.add_array,
        }[type(value)](key, value)  # type: ignore[operator]

    return change


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("llama.expert_count", 8, UnsupportedModel, "experts"),
        ("llama.attention.value_length", 8, UnsupportedModel, "different length"),
        ("llama.rope.scaling.type", "magic", UnsupportedModel, "'magic'"),
        ("llama.rope.scaling.attn_factor", 1.5, UnsupportedModel, "with attn_factor"),
        ("llama.rope.scaling.yarn_ext_factor", 0.5, UnsupportedModel, "with yarn_ext_factor"),
        ("llama.rope.dimension_count", 7, CorruptFile, "even"),
        ("llama.rope.freq_base", float("nan"), CorruptFile, "must lie in"),
        ("split.count", 3, UnsupportedModel, "3 parts"),
        ("tokenizer.ggml.bos_token_id", "one", CorruptFile, "not a token id"),
    ],
)
def test_keys_that_cannot_be_run(
    key: str, value: object, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        open_checkpoint(_tiny(tmp_path / "m.gguf", change=_add(key, value)))


@pytest.mark.parametrize("key", ["scaling.factor", "scale_linear"])
def test_a_factor_without_a_type_is_linear(key: str, tmp_path: Path) -> None:
    plain, path = _tiny(tmp_path / "p.gguf"), tmp_path / "m.gguf"
    _tiny(path, change=_add(f"llama.rope.{key}", 4.0))
    with open_checkpoint(plain) as before, open_checkpoint(path) as after:
        one, four = before.config.ropes[0].inv_freq, after.config.ropes[0].inv_freq
        np.testing.assert_allclose(np.array(one) / 4.0, four, rtol=1e-6)


def test_yarn_s_own_ends_are_read(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        _add("llama.rope.scaling.type", "yarn")(writer)
        for key, value in (("factor", 4.0), ("yarn_beta_fast", 8.0), ("yarn_beta_slow", 2.0)):
            _add(f"llama.rope.scaling.{key}", value)(writer)

    with open_checkpoint(_tiny(tmp_path / "m.gguf", change=change)) as checkpoint:
        config = checkpoint.config
    expected = yarn(
        1e4, 16, factor=4.0, original=config.context_length, beta_fast=8.0, beta_slow=2.0
    )
    assert config.ropes == (expected,)


def test_rows_of_weights_and_biases_come_back_from_rotary_neighbours(tmp_path: Path) -> None:
    stored = np.arange(32, dtype=np.float32)  # two heads of 16: rows 0, 1 are a pair

    def change(writer: gguf.GGUFWriter) -> None:
        for name in "qkv":
            writer.add_tensor(f"blk.0.attn_{name}.bias", stored)

    with open_checkpoint(_tiny(tmp_path / "m.gguf", change=change)) as checkpoint:
        q, k, v = np.split(checkpoint.vector("layers.0.qkv_bias"), 3)
    assert q.tolist() == [*range(0, 16, 2), *range(1, 16, 2), *range(16, 32, 2), *range(17, 32, 2)]
    assert k.tolist() == q.tolist()
    assert v.tolist() == stored.tolist()


def test_rope_factors_are_checked(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", np.array([1.0, -1.0], np.float32))

    with pytest.raises(CorruptFile, match="rope_freqs has 2 values"):
        open_checkpoint(_tiny(tmp_path / "m.gguf", change=change))

    def change_many(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", np.full(2049, np.nan, np.float32))

    with pytest.raises(CorruptFile, match="rope_freqs has 2049 values; at most 2048"):
        open_checkpoint(_tiny(tmp_path / "n.gguf", change=change_many))

    def change_phi(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_factors_long.weight", np.ones(3, np.float32))
        writer.add_tensor("rope_factors_short.weight", np.ones(3, np.float32))

    with pytest.raises(CorruptFile, match="rope_factors_short has 3 values; 8 are needed"):
        open_checkpoint(
            _tiny(tmp_path / "p.gguf", architecture="phi3", change=change_phi, fused=True)
        )


@pytest.mark.parametrize("factor", [0.0, -1.0, 1e-40, 1e-4, 1e30])
def test_rope_factors_of_which_no_frequency_comes_are_refused(
    tmp_path: Path, factor: float
) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", np.array([1.0] * 7 + [factor], np.float32))

    with pytest.raises(CorruptFile, match=r"rope_freqs holds .*; it must lie in"):
        open_checkpoint(_tiny(tmp_path / "m.gguf", change=change))


def test_windows_listed_layer_by_layer_are_refused(tmp_path: Path) -> None:
    change = _add("gemma3.attention.sliding_window_pattern", [True])
    with pytest.raises(UnsupportedModel, match="layer by layer"):
        open_checkpoint(_tiny(tmp_path / "m.gguf", architecture="gemma3", change=change))


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="'mamba'"):
        open_checkpoint(_tiny(tmp_path / "m.gguf", architecture="mamba"))


def test_all_value_types_are_read(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_uint8("x.u8", 255)
        writer.add_int8("x.i8", -128)
        writer.add_uint16("x.u16", 65535)
        writer.add_int16("x.i16", -32768)
        writer.add_int32("x.i32", -(2**31))
        writer.add_uint64("x.u64", 2**64 - 1)
        writer.add_int64("x.i64", -(2**63))
        writer.add_float64("x.f64", 0.1)
        writer.add_bool("x.yes", True)
        writer.add_string("x.text", "秒级")
        writer.add_array("x.numbers", [1.5, 2.5])
        writer.add_array("x.texts", ["a", "", "bc"])
        writer.add_array("x.bools", [True, False])
        writer.add_array("x.nested", [[1, 2], [3]])

    with GGUFFile(_tiny(tmp_path / "m.gguf", change=change)) as file:
        values = {k[2:]: v for k, v in file.metadata.items() if k.startswith("x.")}
        assert file.nbytes == 4 * (7 * 32 * 32 + 8 * 32 + 3 * 32)
        assert set(file.names()) == set(file.infos)
    assert values == {
        "u8": 255,
        "i8": -128,
        "u16": 65535,
        "i16": -32768,
        "i32": -(2**31),
        "u64": 2**64 - 1,
        "i64": -(2**63),
        "f64": 0.1,
        "yes": True,
        "text": "秒级",
        "numbers": [1.5, 2.5],
        "texts": ["a", "", "bc"],
        "bools": [True, False],
        "nested": [[1, 2], [3]],
    }


def test_a_file_without_tensors_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "vocab.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    with GGUFFile(path) as file:
        assert (file.metadata, file.infos, file.nbytes) == ({}, {}, 0)
    with pytest.raises(CorruptFile, match=r"general\.architecture is missing"):
        open_checkpoint(path)


def test_an_embedding_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CorruptFile, match="token_embd"):
        open_checkpoint(path)


@pytest.mark.parametrize(("kind", "nbytes"), [("IQ2_XXS", 66), ("IQ3_S", 110), ("TQ1_0", 54)])
def test_types_that_are_not_read_are_named(kind: str, nbytes: int, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    raw = np.zeros((8, nbytes), np.uint8)
    writer.add_tensor("token_embd.weight", raw, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModel, match=f"has the type {kind}, which is not read"):
        GGUFFile(path)
