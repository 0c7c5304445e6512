"""compressed-tensors that is exported: packed as the format says, and the same model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantized_folders as forms
from export_models import GOLDEN, MINI, prepared
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from onesec.cli.main import main
from onesec.core.errors import InvalidRequest, ModelError, UnsupportedModel
from onesec.export import export_compressed, open_outgoing
from onesec.export.compressed import packed_parts
from onesec.loading import open_tokenizer
from onesec.model.checkpoints import open_checkpoint
from onesec.model.config_same import differing
from onesec.model.hf_config import hf_config

FAMILIES = ["llama2", "llama3", "llama-tied", "mistral", "qwen2", "qwen2-bf16", "qwen3", "phi3"]
FAMILIES += ["phi3-long", "gemma2", "gemma3"]


def export(folder: Path, path: Path, **options: Any) -> Path:
    with open_outgoing(folder) as outgoing:
        export_compressed(outgoing, open_tokenizer(folder).save, path, **options)
    return path


def _by_hand(matrix: np.ndarray, bits: int, symmetric: bool) -> tuple[np.ndarray, ...]:
    """Codes, zero points (both from 0 on), scales and values, group by group."""
    rows, cols = matrix.shape
    half = 1 << (bits - 1)
    codes, values = np.empty((rows, cols), np.int64), np.empty((rows, cols), np.float32)
    zeros = np.empty((rows, cols // 32), np.int64)
    scales = np.empty((rows, cols // 32), np.float32)
    for row in range(rows):
        for group in range(cols // 32):
            part = matrix[row, 32 * group : 32 * group + 32]
            low, high = np.float32(min(part.min(), 0)), np.float32(max(part.max(), 0))
            span = 2 * max(-low, high) if symmetric else high - low
            exact = np.float32(span) / np.float32(2 * half - 1)
            bits16 = int(np.float32(exact).view(np.uint32))
            upper, rest = bits16 >> 16, bits16 & 0xFFFF
            upper += rest > 0x8000 or (rest == 0x8000 and upper & 1)
            scale = np.array([upper << 16], np.uint32).view(np.float32)[0]
            zero = 0 if symmetric else round(max(-half, min(half - 1, float(-half - low / exact))))
            whole = np.clip(np.rint(part / scale + np.float32(zero)), -half, half - 1)
            span_of = slice(32 * group, 32 * group + 32)
            codes[row, span_of], zeros[row, group] = whole + half, zero + half
            scales[row, group] = scale
            values[row, span_of] = (whole - zero).astype(np.float32) * scale
    return codes, zeros, scales, values


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_matrices_are_packed_as_the_format_says(bits: int, symmetric: bool) -> None:
    matrix = np.random.default_rng(bits).standard_t(3, (13, 96)).astype(np.float32)
    matrix[2, :32] = np.abs(matrix[2, :32])
    codes, zeros, scales, _ = _by_hand(matrix, bits, symmetric)
    parts = {name: array for name, array, _ in packed_parts("m", matrix, bits, symmetric=symmetric)}
    np.testing.assert_array_equal(parts["m.weight_packed"], forms.packed_words(codes, bits))
    np.testing.assert_array_equal(parts["m.weight_scale"], scales.view(np.uint32) >> 16)
    assert parts["m.weight_shape"].tolist() == [13, 96]
    assert ("m.weight_zero_point" in parts) != symmetric
    if not symmetric:
        expected = forms.packed_words(zeros.T, bits).T
        np.testing.assert_array_equal(parts["m.weight_zero_point"], expected)


def test_groups_of_zeros_stay_zeros() -> None:
    for symmetric in (True, False):
        matrix = np.zeros((4, 32), np.float32)
        parts = {n: a for n, a, _ in packed_parts("m", matrix, 4, symmetric=symmetric)}
        assert (parts["m.weight_scale"] != 0).all()
        zero = 0x88888888 if symmetric else 0x00000000
        assert (parts["m.weight_packed"].view(np.uint32) == zero).all()


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True)])
@pytest.mark.parametrize("name", [*FAMILIES, "gpt_neo"])
def test_it_is_read_as_the_same_model(
    name: str, bits: int, symmetric: bool, tmp_path: Path
) -> None:
    folder = prepared(name, tmp_path / "model")
    out = export(folder, tmp_path / "out", bits=bits, symmetric=symmetric)
    with open_checkpoint(folder) as before, open_checkpoint(out) as after:
        assert differing(before.config, after.config) == []
        assert set(after.vector_names()) == set(before.vector_names())
        for vector in before.vector_names():
            np.testing.assert_allclose(after.vector(vector), before.vector(vector), rtol=1e-6)
        for matrix in before.matrix_names():
            for a, b in zip(before.matrix(matrix), after.matrix(matrix), strict=True):
                expected = a.float32()
                if matrix not in ("embed", "pos_embed", "head"):
                    *_, expected = _by_hand(expected, bits, symmetric)
                np.testing.assert_array_equal(b.float32(), expected, err_msg=matrix)
    assert open_tokenizer(out).encode("w3 w4") == open_tokenizer(folder).encode("w3 w4")


def test_columns_that_are_no_whole_groups_stay_floats(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    config = {**forms.CONFIG, "intermediate_size": 40}
    tensors = {
        "model.embed_tokens.weight": rng.normal(size=(24, 32)),
        "lm_head.weight": rng.normal(size=(24, 32)),
        "model.norm.weight": rng.normal(size=32),
    }
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = rng.normal(size=32)
        for module, shape in forms.LINEAR.items():
            real = tuple(40 if n == 64 else n for n in shape)
            tensors[f"{prefix}{module}.weight"] = rng.normal(size=real)
    floats = {name: array.astype(np.float32) for name, array in tensors.items()}
    folder = forms.write(tmp_path / "model", config, floats, {})
    with open_outgoing(folder) as outgoing:
        export_compressed(outgoing, lambda _: None, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    down = "model.layers.0.mlp.down_proj"
    assert {"lm_head", down} <= set(written["ignore"])
    with safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor(f"{down}.weight"), floats[f"{down}.weight"])
        assert "model.layers.0.mlp.up_proj.weight_packed" in list(file.keys())
    open_checkpoint(tmp_path / "out").close()


def test_an_artifact_gets_a_config_of_its_own(tmp_path: Path) -> None:
    seen: list[float] = []
    out = export(MINI, tmp_path / "out", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    values = json.loads((out / "config.json").read_text())
    assert (values["model_type"], values["rope_theta"]) == ("qwen3", 100000.0)
    assert values["quantization_config"]["format"] == "pack-quantized"
    with open_checkpoint(out) as checkpoint, open_outgoing(MINI) as outgoing:
        assert differing(outgoing.config, checkpoint.config) == []
        (ours,), (theirs,) = checkpoint.matrix("embed"), outgoing.matrix("embed")
        np.testing.assert_array_equal(ours.float32(), theirs.float32())


@pytest.mark.parametrize("name", [*FAMILIES, "llama-sharded"])
def test_a_config_that_is_made_anew_says_the_same_or_is_refused(name: str) -> None:
    with open_checkpoint(GOLDEN / name) as checkpoint:
        if name == "llama3":  # its frequencies have a form of their own
            with pytest.raises(UnsupportedModel, match="cannot say this model's ropes"):
                hf_config(checkpoint.config, Path("out"))
            return
        values = hf_config(checkpoint.config, Path("out"))
    own = json.loads((GOLDEN / name / "config.json").read_text())
    for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "head_dim"):
        assert values[key] == own.get(key, values[key])


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_gemmas_scalar_is_an_int(name: str) -> None:
    """transformers opens no float there."""
    with open_checkpoint(GOLDEN / name) as checkpoint:
        scalar = hf_config(checkpoint.config, Path("out"))["query_pre_attn_scalar"]
    assert isinstance(scalar, int)
    assert (
        scalar == json.loads((GOLDEN / name / "config.json").read_text())["query_pre_attn_scalar"]
    )


def test_a_config_that_is_made_anew_says_which_biases_there_are() -> None:
    with open_checkpoint(GOLDEN / "llama2") as checkpoint:
        config = checkpoint.config
    assert "attention_bias" not in hf_config(config, Path("out"))
    values = hf_config(config, Path("out"), {"o_bias", "down_bias"})
    assert values["attention_bias"] is values["mlp_bias"] is True
    qwen = replace(config, architecture="qwen2")
    assert "attention_bias" not in hf_config(qwen, Path("out"), {"qkv_bias"})
    with pytest.raises(UnsupportedModel, match="cannot say this model's o_bias"):
        hf_config(qwen, Path("out"), {"qkv_bias", "o_bias"})


def test_biases_of_an_artifact_are_in_its_config(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    rows = {x: len(tensors[f"model.layers.0.self_attn.{x}_proj.weight"]) for x in "qkvo"}
    for layer in range(2):
        for x, count in rows.items():
            bias = np.full(count, 0.5, np.float32)
            tensors[f"model.layers.{layer}.self_attn.{x}_proj.bias"] = bias
    save_file(tensors, folder / "model.safetensors")
    assert main(["pack", str(folder), "-o", str(tmp_path / "packed")]) == 0
    out = export(tmp_path / "packed", tmp_path / "out")
    values = json.loads((out / "config.json").read_text())
    assert values["attention_bias"] is True
    assert "mlp_bias" not in values


def test_a_checkpoint_keeps_what_its_config_says(tmp_path: Path) -> None:
    folder = prepared("llama3", tmp_path / "model")
    own = json.loads((folder / "config.json").read_text())
    written = json.loads((export(folder, tmp_path / "out") / "config.json").read_text())
    assert written.pop("quantization_config")["quant_method"] == "compressed-tensors"
    assert written == own


def test_a_quantised_checkpoint_is_quantised_anew(tmp_path: Path) -> None:
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    folder, _ = forms.write_pair(tmp_path, gptq, forms.gptq())
    with open_outgoing(folder) as outgoing:
        export_compressed(outgoing, lambda _: None, tmp_path / "out", bits=8)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] == 8
    open_checkpoint(tmp_path / "out").close()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")
    with pytest.raises(InvalidRequest, match="not overwritten"):
        export(folder, folder)
    with pytest.raises(InvalidRequest, match="NUL at byte 1"):
        export(folder, Path("a\0b"))
    (tmp_path / "empty").mkdir()
    export(folder, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").exists()


def test_nothing_is_left_of_an_export_that_failed(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with open_outgoing(folder) as outgoing, pytest.raises(ModelError, match="No space left"):
        export_compressed(outgoing, full, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_families_that_are_not_written(tmp_path: Path) -> None:
    folder = prepared("gpt2", tmp_path / "model")
    with pytest.raises(UnsupportedModel, match="type gpt2"):
        export(folder, tmp_path / "out")
    # The hint is a way that there is: GGUF has no GPT-Neo, and a folder of GPT-2 is refused too.
    for name, way in (("gpt2", "to GGUF"), ("gpt_neo", "from the Hugging Face folder")):
        with (
            open_checkpoint(GOLDEN / name) as checkpoint,
            pytest.raises(UnsupportedModel, match=f"type {name} .* Export .*{way}"),
        ):
            hf_config(checkpoint.config, Path("out"))
