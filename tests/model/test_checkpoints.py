"""Checkpoints: folders, shards, links, pickles; names, presence and shapes of tensors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from onesec.core.errors import CorruptFile, ModelNotFound, UnsupportedModel
from onesec.model.checkpoints import open_checkpoint
from onesec.model.config import ModelConfig
from onesec.model.names import matrix_names, matrix_shape, required_vectors, vector_length

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FAMILIES = sorted(p.parent.name for p in GOLDEN.glob("*/config.json"))
CONFIG = {
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
}


def _tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    layer = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (8, 16),
        f"{layer}self_attn.q_proj.weight": (16, 16),
        f"{layer}self_attn.k_proj.weight": (8, 16),
        f"{layer}self_attn.v_proj.weight": (8, 16),
        f"{layer}self_attn.o_proj.weight": (16, 16),
        f"{layer}mlp.gate_proj.weight": (24, 16),
        f"{layer}mlp.up_proj.weight": (24, 16),
        f"{layer}mlp.down_proj.weight": (16, 24),
        f"{layer}input_layernorm.weight": (16,),
        f"{layer}post_attention_layernorm.weight": (16,),
        "model.norm.weight": (16,),
        "lm_head.weight": (8, 16),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _folder(
    path: Path,
    tensors: dict[str, np.ndarray] | None = None,
    config: dict[str, Any] | None = None,
    **extra: Any,
) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **(config or {}), **extra}))
    safetensors.numpy.save_file(tensors or _tensors(), path / "model.safetensors")
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_opens_with_canonical_names(name: str) -> None:
    with open_checkpoint(GOLDEN / name) as checkpoint:
        config = checkpoint.config
        assert checkpoint.matrix_names() == matrix_names(config)
        for matrix in checkpoint.matrix_names():
            segments = checkpoint.matrix(matrix)
            checkpoint.check_finite(matrix, segments)
            assert len(segments) == {"qkv": 3, "gate_up": 2}.get(matrix.rpartition(".")[2], 1)
            rows, cols = matrix_shape(config, matrix)
            assert sum(s.shape[0] for s in segments) == rows
            for segment in segments:
                assert segment.shape == segment.data.shape == (segment.shape[0], cols)
                assert segment.data.flags.c_contiguous
                assert segment.data.flags.aligned
                assert segment.dtype in ("f32", "f16", "bf16")
            checkpoint.release(matrix)
        for vector, values in checkpoint.vectors().items():
            assert values.dtype == np.float32
            if vector != "pos_embed":
                assert values.shape == (vector_length(config, vector),)
        assert set(required_vectors(config)) <= set(checkpoint.vector_names())
        assert checkpoint.nbytes > 0
        assert checkpoint.source == GOLDEN / name


def test_values_are_views_of_the_file(tmp_path: Path) -> None:
    tensors = _tensors()
    with open_checkpoint(_folder(tmp_path)) as checkpoint:
        q, k, v = checkpoint.matrix("layers.0.qkv")
        np.testing.assert_array_equal(q.data, tensors["model.layers.0.self_attn.q_proj.weight"])
        np.testing.assert_array_equal(v.data, tensors["model.layers.0.self_attn.v_proj.weight"])
        assert not k.data.flags.owndata
        assert not k.data.flags.writeable
        with pytest.raises(KeyError):
            checkpoint.matrix("layers.1.qkv")
        with pytest.raises(KeyError):
            checkpoint.vector("layers.0.qkv_bias")


def test_tensors_are_found_without_the_prefix(tmp_path: Path) -> None:
    bare = {name.removeprefix("model."): array for name, array in _tensors().items()}
    with open_checkpoint(_folder(tmp_path, bare)) as checkpoint:
        np.testing.assert_array_equal(checkpoint.vector("final_norm"), bare["norm.weight"])


def test_tied_embeddings_may_lie_under_the_heads_name(tmp_path: Path) -> None:
    tensors = _tensors()
    head = tensors["lm_head.weight"]
    del tensors["model.embed_tokens.weight"]
    with open_checkpoint(_folder(tmp_path, tensors, tie_word_embeddings=True)) as checkpoint:
        assert "head" not in checkpoint.matrix_names()
        np.testing.assert_array_equal(checkpoint.matrix("embed")[0].data, head)


def test_the_head_of_a_model_that_sees_too(tmp_path: Path) -> None:
    """As transformers saves Gemma 3 untied: the outer config says so, the head lies beside the
    text part."""
    layer, prefix = "layers.0.", "language_model.model."
    tensors = {name.removeprefix("model."): array for name, array in _tensors().items()}
    head = tensors.pop("lm_head.weight")
    norms = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
    tensors |= {f"{layer}{norm}.weight": np.ones(16, np.float32) for norm in norms}
    tensors |= {f"{layer}self_attn.{x}_norm.weight": np.ones(8, np.float32) for x in "qk"}
    tensors = {prefix + name: array for name, array in tensors.items()}
    tensors["language_model.lm_head.weight"] = head
    text = CONFIG | {"model_type": "gemma3_text", "head_dim": 8}
    del text["tie_word_embeddings"]
    with open_checkpoint(
        _folder(tmp_path, tensors, {"model_type": "gemma3", "text_config": text})
    ) as checkpoint:
        np.testing.assert_array_equal(checkpoint.matrix("head")[0].data, head)


def test_a_missing_bias_of_three_is_zeros(tmp_path: Path) -> None:
    tensors = _tensors() | {"model.layers.0.self_attn.k_proj.bias": np.ones(8, np.float32)}
    with open_checkpoint(_folder(tmp_path, tensors)) as checkpoint:
        bias = checkpoint.vector("layers.0.qkv_bias")
    assert bias.tolist() == [0] * 16 + [1] * 8 + [0] * 8


def test_misaligned_data_is_copied_to_an_aligned_place(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    path.write_bytes((size + 1).to_bytes(8, "little") + raw[8 : 8 + size] + b" " + raw[8 + size :])
    with open_checkpoint(folder) as checkpoint:
        (down,) = checkpoint.matrix("layers.0.down")
        assert down.data.flags.aligned
        np.testing.assert_array_equal(down.data, _tensors()["model.layers.0.mlp.down_proj.weight"])


def _change(name: str, value: np.ndarray | None) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_change("model.norm.weight", None), CorruptFile, "no tensor 'norm.weight'"),
        (_change("lm_head.weight", None), CorruptFile, "head: no tensor 'lm_head.weight'"),
        (
            _change("model.layers.0.self_attn.k_proj.weight", None),
            CorruptFile,
            "no tensor 'model.layers.0.self_attn.k_proj.weight'",
        ),
        (
            _change("model.layers.0.mlp.up_proj.weight", np.zeros((24, 15), np.float32)),
            CorruptFile,
            r"\[24, 15\]; the config needs \[24, 16\]",
        ),
        (
            _change("model.norm.weight", np.zeros(15, np.float32)),
            CorruptFile,
            r"\[15\]; the config needs \[16\]",
        ),
        (
            _change("model.layers.1.mlp.up_proj.weight", np.zeros(2, np.float32)),
            UnsupportedModel,
            "1 tensors have no place in llama: model.layers.1",
        ),
    ],
)
def test_wrong_tensors(
    change: Callable[[dict[str, np.ndarray]], None],
    error: type[Exception],
    words: str,
    tmp_path: Path,
) -> None:
    tensors = _tensors()
    change(tensors)
    with pytest.raises(error, match=words):
        open_checkpoint(_folder(tmp_path, tensors))


def test_values_not_finite_are_found_when_read(tmp_path: Path) -> None:
    tensors = _tensors()
    tensors["model.norm.weight"][3] = np.nan
    tensors["model.layers.0.mlp.up_proj.weight"][1, 2] = np.inf
    with open_checkpoint(_folder(tmp_path, tensors)) as checkpoint:
        with pytest.raises(CorruptFile, match=r"'model\.norm\.weight' has 1 of 16"):
            checkpoint.vector("final_norm")
        with pytest.raises(CorruptFile, match=r"'model\.layers\.0\.mlp\.up_proj\.weight' has 1"):
            checkpoint.check_finite("layers.0.gate_up", checkpoint.matrix("layers.0.gate_up"))


def test_names_that_are_not_canonical() -> None:
    with open_checkpoint(GOLDEN / "llama2") as checkpoint:
        config = checkpoint.config
    for name in ("", "norm", "layers.0.o", "layers.0.x_bias", "layers.2.attn_norm", "x.final_norm"):
        with pytest.raises(KeyError):
            vector_length(config, name)
    with pytest.raises(KeyError):
        matrix_shape(config, "layers.0.attn_norm")
    assert vector_length(config, "head_bias") == config.vocab_size


def test_integers_are_no_weights(tmp_path: Path) -> None:
    tensors = _tensors()
    tensors["lm_head.weight"] = np.zeros((8, 16), np.int8)
    with (
        open_checkpoint(_folder(tmp_path, tensors)) as checkpoint,
        pytest.raises(UnsupportedModel, match="is i8"),
    ):
        checkpoint.matrix("head")


def test_positions_beyond_the_context_are_cut(tmp_path: Path) -> None:
    with open_checkpoint(GOLDEN / "gpt2") as full:
        (table,) = full.matrix("pos_embed")
    shutil.copytree(GOLDEN / "gpt2", tmp_path / "gpt2")
    config = json.loads((GOLDEN / "gpt2" / "config.json").read_text()) | {"n_positions": 7}
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(config))
    with open_checkpoint(tmp_path / "gpt2") as checkpoint:
        assert checkpoint.config.context_length == 7
        (first,) = checkpoint.matrix("pos_embed")
        np.testing.assert_array_equal(first.data, table.data[:7])


def _longrope(tmp_path: Path, **changes: Any) -> ModelConfig:
    folder = shutil.copytree(GOLDEN / "phi3-short", tmp_path / "phi3", dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["rope_scaling"] |= changes.pop("scaling", {})
    (folder / "config.json").write_text(json.dumps(config | changes))
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.config


def test_longrope_has_two_contexts(tmp_path: Path) -> None:
    config = _longrope(tmp_path)
    assert (config.context_length, config.max_context) == (96, 128)
    assert config.for_context(96) == config.for_context(1) == config
    long = config.for_context(97)
    assert (long.context_length, long.max_context, long.long) == (128, 128, None)
    (ours,), (theirs,) = config.ropes, long.ropes
    ratios = np.divide(ours.inv_freq, theirs.inv_freq)
    np.testing.assert_allclose(
        ratios * [1.0, 1.1, 1.3, 1.6, 2.0, 2.5], [1.2, 2, 4, 8, 13, 20], 1e-6
    )
    assert ours.attention_factor == theirs.attention_factor > 1.0


def test_longrope_attention_is_what_the_config_says(tmp_path: Path) -> None:
    given = _longrope(tmp_path, scaling={"attention_factor": 1.5, "factor": 9.0})
    assert given.ropes[0].attention_factor == 1.5
    factor = _longrope(tmp_path, scaling={"attention_factor": None, "factor": 9.0})
    assert factor.ropes[0].attention_factor == pytest.approx((1 + np.log(9) / np.log(96)) ** 0.5)


def test_longrope_that_stretches_nothing_has_one_context(tmp_path: Path) -> None:
    config = _longrope(tmp_path, original_max_position_embeddings=128)
    assert (config.max_context, config.long) == (128, None)
    assert config.ropes[0].attention_factor == 1.0
    with pytest.raises(CorruptFile, match="long_factor"):
        _longrope(tmp_path, scaling={"long_factor": [1.0]})


def test_generation_defaults(tmp_path: Path) -> None:
    folder = _folder(tmp_path, eos_token_id=[3, 99])
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.generation_defaults == {"eos_ids": (3,)}
    values = {
        "eos_token_id": [2, 3, 2, 4000],
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.0,
        "repetition_penalty": 1.1,
        "max_new_tokens": 64,
        "auto_map": {"AutoModel": "evil.Model"},
    }
    (folder / "generation_config.json").write_text(json.dumps(values))
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.config.eos_ids == (2, 3)
        assert checkpoint.generation_defaults == {
            "eos_ids": (2, 3),
            "temperature": 0.6,
            "top_p": 0.9,
            "top_k": 20,
            "min_p": 0.0,
            "repetition_penalty": 1.1,
            "max_tokens": 64,
        }
    (folder / "generation_config.json").write_text(json.dumps(values | {"do_sample": False}))
    with open_checkpoint(folder) as checkpoint:
        greedy = {"eos_ids": (2, 3), "repetition_penalty": 1.1, "max_tokens": 64}
        assert checkpoint.generation_defaults == greedy
    bad = {"top_k": -1, "top_p": 7, "temperature": "hot", "max_new_tokens": 0, "min_p": 0.5}
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True} | bad))
    with open_checkpoint(folder) as checkpoint:
        left = {"eos_ids": (3,), "temperature": 1.0, "min_p": 0.5}
        assert checkpoint.generation_defaults == left
    (folder / "generation_config.json").write_text('{"do_sample": true}')
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.generation_defaults == {"eos_ids": (3,), "temperature": 1.0}
    (folder / "generation_config.json").write_text('{"temperature": 0.6}')
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.generation_defaults == {"eos_ids": (3,)}


def _sharded(path: Path, places: dict[str, str] | None = None) -> Path:
    folder = _folder(path)
    (folder / "model.safetensors").unlink()
    tensors = _tensors()
    names = sorted(tensors)
    halves = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for file, part in halves.items():
        safetensors.numpy.save_file({n: tensors[n] for n in part}, folder / file)
    if places is None:
        places = {n: file for file, part in halves.items() for n in part}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": places})
    )
    return folder


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    with open_checkpoint(_sharded(tmp_path)) as checkpoint:
        assert checkpoint.nbytes == sum(a.nbytes for a in _tensors().values())
        np.testing.assert_array_equal(
            checkpoint.matrix("head")[0].data, _tensors()["lm_head.weight"]
        )


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("../a.safetensors", "not a file name"),
        ("/etc/passwd", "not a file name"),
        ("a.bin", "not a safetensors file"),
        ("c.safetensors", "is missing"),
        ("b.safetensors", "disagree on 1 tensors"),
    ],
)
def test_an_index_that_lies(place: str, words: str, tmp_path: Path) -> None:
    folder = _sharded(tmp_path)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = place
    path.write_text(json.dumps(index))
    with pytest.raises(CorruptFile, match=words):
        open_checkpoint(folder)


@pytest.mark.parametrize("index", ["[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', "{}"])
def test_an_index_of_another_form(index: str, tmp_path: Path) -> None:
    folder = _sharded(tmp_path)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CorruptFile, match="weight_map is not"):
        open_checkpoint(folder)


def test_an_index_of_nothing_or_too_much(tmp_path: Path) -> None:
    folder = _sharded(tmp_path, {})
    with pytest.raises(CorruptFile, match="names 0 files"):
        open_checkpoint(folder)
    _sharded(tmp_path, {f"t{i}": f"{i}.safetensors" for i in range(1025)})
    with pytest.raises(CorruptFile, match="names 1025 files"):
        open_checkpoint(folder)


def test_a_shard_that_links_to_itself(tmp_path: Path) -> None:
    folder = _sharded(tmp_path)
    (folder / "b.safetensors").unlink()
    (folder / "b.safetensors").symlink_to("b.safetensors")
    with pytest.raises(CorruptFile, match=r"in a circle|is missing"):
        open_checkpoint(folder)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    outside = _folder(tmp_path / "outside")
    folder = _folder(tmp_path / "inside")
    for name in ("model.safetensors", "config.json"):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / name).unlink()
        (tmp_path / name / name).symlink_to(outside / name)
        with pytest.raises(CorruptFile, match="links out of the folder"):
            open_checkpoint(tmp_path / name)
    (folder / "generation_config.json").symlink_to("/etc/hostname")
    with pytest.raises(CorruptFile, match="links out"):
        open_checkpoint(folder)


def test_links_in_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b"
    blobs, snapshot = repo / "blobs", repo / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    source = _folder(tmp_path / "source")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(source / name, blobs / f"sha-{name}")
        (snapshot / name).symlink_to(Path("../../blobs") / f"sha-{name}")
    with open_checkpoint(snapshot) as checkpoint:
        assert checkpoint.config.vocab_size == 8
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(repo / "snapshots" / ".." / ".." / "source/config.json")
    with pytest.raises((CorruptFile, ModelNotFound)):
        open_checkpoint(snapshot)


def test_a_link_to_itself(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises((CorruptFile, ModelNotFound)):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "tf_model.h5"])
def test_pickles_are_never_opened(name: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / name)  # opening it would block for ever
    with pytest.raises(UnsupportedModel, match="Convert them") as caught:
        open_checkpoint(folder)
    assert "save_pretrained" in caught.value.hint


def test_code_and_auto_map_are_ignored(tmp_path: Path) -> None:
    folder = _folder(tmp_path, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    (folder / "modeling_evil.py").write_text("raise SystemExit('imported')")
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.config.architecture == "llama"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"model_type": "mamba"}, "'mamba' are not supported"),
        ({"quantization_config": {"quant_method": "hqq"}}, "by the method 'hqq'"),
    ],
)
def test_other_models_are_refused(extra: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        open_checkpoint(_folder(tmp_path, **extra))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nothing at"):
        open_checkpoint(tmp_path / "none")
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelNotFound, match="nothing at"):
        open_checkpoint(f"{tmp_path}/a\0b")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(ModelNotFound, match=r"no model\.safetensors"):
        open_checkpoint(tmp_path)
    with pytest.raises(UnsupportedModel, match="another kind"):
        open_checkpoint(tmp_path / "config.json")
    with pytest.raises(ModelNotFound, match="cannot be opened"):
        open_checkpoint(tmp_path / ("x" * 300))


def test_a_folder_of_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(CorruptFile, match="header"):
        open_checkpoint(tmp_path)
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(UnsupportedModel, match="holds 2 GGUF files"):
        open_checkpoint(tmp_path)
