"""GGUF that is exported: the tensors that an independent converter writes, and the same model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from export_models import CHATML, MINI, prepared
from gguf_converter import convert

from onesec.core.errors import CorruptFile, InvalidRequest, ModelError, UnsupportedModel
from onesec.export import export_compressed, export_gguf, open_outgoing
from onesec.loading import load_model, open_tokenizer
from onesec.model.checkpoints import open_checkpoint
from onesec.model.config_same import differing

YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
FAMILIES = ["llama2", "llama3", "llama-tied", "qwen2", "qwen2-bf16", "qwen3", "gpt2", "phi3"]
FAMILIES += ["phi3-long", "gemma2", "gemma3"]


def export(folder: Path, path: Path, kind: str, **options: Any) -> Path:
    with open_outgoing(folder, options.pop("gear", None)) as outgoing:
        files = open_tokenizer(folder).files(folder)
        export_gguf(outgoing, files, path, kind, name="tiny", **options)
    return path


def _tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_tensors_as_an_independent_converter(name: str, tmp_path: Path) -> None:
    """Names, types, orders of rows, norms plus one and the bits of every block."""
    folder = prepared(name, tmp_path / "model")
    ours = _tensors(export(folder, tmp_path / "ours.gguf", "q8_0"))
    convert(folder, tmp_path / "theirs.gguf", quant=gguf.GGMLQuantizationType.Q8_0)
    theirs = _tensors(tmp_path / "theirs.gguf")
    factors = {key for key in {*ours, *theirs} if key.startswith("rope_f")}
    assert {*ours} - factors == {*theirs} - factors
    for key in theirs.keys() - factors:
        assert ours[key].shape.tolist() == theirs[key].shape.tolist()
        if theirs[key].tensor_type != gguf.GGMLQuantizationType.Q8_0:  # as its checkpoint has them
            assert ours[key].tensor_type == gguf.GGMLQuantizationType.F32
        np.testing.assert_array_equal(ours[key].data, theirs[key].data, err_msg=key)


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_read_as_the_same_model(name: str, kind: str, tmp_path: Path) -> None:
    folder = prepared(name, tmp_path / "model")
    path = export(folder, tmp_path / "m.gguf", kind)
    with open_checkpoint(folder) as before, open_checkpoint(path) as after:
        assert differing(before.config, after.config) == []
        assert after.config.bos_id == 1
        assert after.config.eos_ids == tuple(dict.fromkeys((2, *before.config.eos_ids)))
        assert set(after.vector_names()) == set(before.vector_names())
        for vector in before.vector_names():
            np.testing.assert_allclose(after.vector(vector), before.vector(vector), rtol=1e-6)
        for matrix in before.matrix_names():
            for a, b in zip(before.matrix(matrix), after.matrix(matrix), strict=True):
                values, again = a.float32(), b.float32()
                np.testing.assert_array_equal(again, _expected(values, kind, matrix, before))


def _expected(values: np.ndarray, kind: str, matrix: str, checkpoint: Any) -> np.ndarray:
    """What the gguf package makes of the values: rows of rotary pairs are whole rows, so their
    order does not matter to blocks."""
    head = matrix == "head" or (matrix == "embed" and checkpoint.config.tie_embeddings)
    kind = "q8_0" if head and kind == "q4_0" else kind
    if matrix == "pos_embed":
        return values
    if kind == "f16":
        return values.astype(np.float16).astype(np.float32)
    named = gguf.GGMLQuantizationType[kind.upper()]
    return gguf.quants.dequantize(gguf.quants.quantize(values, named), named)


def test_metadata_that_other_engines_need(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")
    fields = gguf.GGUFReader(export(folder, tmp_path / "m.gguf", "q4_0")).fields
    config = json.loads((folder / "config.json").read_text())
    for key, value in {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": 2,
        "general.quantization_version": 2,
        "llama.block_count": config["num_hidden_layers"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": config["vocab_size"],
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": CHATML,
    }.items():
        assert fields[key].contents() == value, key
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    assert len(tokens) == len(types) == len(set(tokens)) == config["vocab_size"]
    assert types[:4] == [2, 3, 3, 1]  # unknown, control, control, normal
    assert types[-1] == 5  # no token: unused


def test_end_tokens_of_config_json_are_written_too(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for ends, told in (([2, 5], 0), ([2, 5, 7, 9], 1)):
        (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": ends}))
        path = tmp_path / f"{len(ends)}.gguf"
        with open_outgoing(folder) as outgoing:
            files = open_tokenizer(folder).files(folder)
            lost = export_gguf(outgoing, files, path, "q8_0", name="tiny")
        with open_checkpoint(path) as after:
            assert after.config.eos_ids == tuple(ends[:3])
        assert sum("end tokens 9" in words for words in lost) == told


def test_q4_k_needs_256_columns(tmp_path: Path) -> None:
    """onesec-mini has 256 and 768; the tiny checkpoints have fewer and get the next wider kind."""
    kinds = {t.tensor_type.name for t in _tensors(export(MINI, tmp_path / "a", "q4_k")).values()}
    assert kinds == {"F32", "Q8_0", "Q4_K"}
    small = prepared("llama2", tmp_path / "model")
    kinds = {t.tensor_type.name for t in _tensors(export(small, tmp_path / "b", "q4_k")).values()}
    assert kinds == {"F32", "Q8_0"}


def test_progress_rises_to_one(tmp_path: Path) -> None:
    seen: list[float] = []
    folder = prepared("llama2", tmp_path / "model")
    export(folder, tmp_path / "m.gguf", "q8_0", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 4


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[float], Path]:
    """A checkpoint in which one weight of the last matrix is as told."""

    def make(value: float) -> Path:
        from onesec.model.safetensors import SafetensorsFile, SafetensorsWriter

        folder = prepared("llama2", tmp_path / "model")
        with SafetensorsFile(folder / "model.safetensors") as file:
            arrays = {name: t.data.copy() for name, t in file.tensors.items()}
        arrays["lm_head.weight"] = arrays["lm_head.weight"].astype(np.float32)
        arrays["lm_head.weight"][0, 0] = value
        with SafetensorsWriter(folder / "model.safetensors", max_tensors=len(arrays)) as out:
            for name, array in arrays.items():
                out.add(name, array)
        return folder

    return make


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (float("nan"), CorruptFile, "not finite"),
        (1e5, UnsupportedModel, "100000; at most 65504"),
        (-1e5, UnsupportedModel, "100000; at most 65504"),
    ],
)
def test_weights_that_cannot_be_written_leave_nothing(
    value: float, error: type[ModelError], words: str, broken: Any, tmp_path: Path
) -> None:
    folder = broken(value)
    with pytest.raises(error, match=words):
        export(folder, tmp_path / "m.gguf", "q8_0")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("mistral", "cannot say this model's layers"), ("gpt_neo", "no models of the type gpt_neo")],
)
def test_models_that_gguf_cannot_say(name: str, words: str, tmp_path: Path) -> None:
    folder = prepared(name, tmp_path / "model")
    with pytest.raises(UnsupportedModel, match=words):
        export(folder, tmp_path / "m.gguf", "q8_0")


@pytest.mark.parametrize(
    ("name", "changes", "way"),
    [
        ("mistral", {}, "Export to compressed-tensors."),
        ("qwen2", {"rope_scaling": YARN}, "Export from the Hugging Face folder .*to compressed-t"),
        ("gpt_neo", {}, "Export from the Hugging Face folder .*to compressed-tensors"),
    ],
)
def test_the_next_step_of_a_refusal_is_one(
    name: str, changes: dict[str, Any], way: str, tmp_path: Path
) -> None:
    folder, artifact = prepared(name, tmp_path / "model"), tmp_path / "m.onesec"
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    with load_model(folder, context=32, threads=1) as loaded:
        loaded.save(artifact)
    with pytest.raises(UnsupportedModel, match=r"Export to compressed-tensors\.$"):
        export(folder, tmp_path / "m.gguf", "q8_0")
    with pytest.raises(UnsupportedModel, match=way) as refused:
        export(artifact, tmp_path / "m.gguf", "q8_0")
    whole = "folder" in refused.value.hint
    with open_outgoing(folder if whole else artifact) as outgoing:
        export_compressed(outgoing, lambda _: None, tmp_path / "out")
    if whole:
        with (
            open_outgoing(artifact) as outgoing,
            pytest.raises(UnsupportedModel, match=way) as refused,
        ):
            export_compressed(outgoing, lambda _: None, tmp_path / "again")
        assert "GGUF" not in refused.value.hint


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")
    with pytest.raises(InvalidRequest, match="is a folder"):
        export(folder, tmp_path, "q8_0")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match="no regular file"):
        export(folder, tmp_path / "pipe", "q8_0")
    with pytest.raises(InvalidRequest, match="NUL at byte 1"):
        export(folder, Path("a\0b"), "q8_0")
    with pytest.raises(ModelError, match="cannot be written"):
        export(folder, tmp_path / "no" / "m.gguf", "q8_0")
