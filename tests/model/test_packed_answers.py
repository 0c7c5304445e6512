"""A packed artifact answers as what it was packed from: a GGUF file, a model of two contexts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizer_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.cli.main import main
from onesec.core.errors import CorruptFile, InvalidRequest
from onesec.llm import LLM
from onesec.loading import load_model
from onesec.model.artifact import open_artifact
from onesec.model.checkpoints import open_checkpoint
from onesec.model.tokenizer import Tokenizer

pytest.importorskip("onesec._native")

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PROMPTS = ["The quick brown", "你好，世界。", "😀 \n\n\t it's 12 + 345?", "<|im_start|>user", " "]
TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from([*PROMPTS, "  ", "\r\n", "é", "e\u0301", "<think>", "</s>", "<0x0A>", "▁a"]),
    max_size=9,
).map("".join)
HIDDEN, FFN, HEADS, CONTEXT = 64, 96, 4, 256


def _metadata(kind: str) -> dict[str, Any]:
    if kind == "llama":
        return samples.gguf_metadata(samples.sentence_piece(), kind=kind) | {
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.add_space_prefix": True,
        }
    return samples.gguf_metadata(samples.byte_level(), kind="gpt2", pre=kind) | {
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.eot_token_id": 0,
        "tokenizer.chat_template": CHATML,
        "tokenizer.chat_template.tool_use": "{{ messages | length }} tools",
    }


def _write(path: Path, metadata: dict[str, Any]) -> Path:
    """A llama of two layers with random weights and this tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_block_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    for key, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif value:
            writer.add_array(key, value)
    vocab = len(metadata["tokenizer.ggml.tokens"])
    shapes = {"token_embd": (vocab, HIDDEN), "output": (vocab, HIDDEN)}
    for i in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{i}.{name}"] = (HIDDEN, HIDDEN)
        shapes |= {f"blk.{i}.{name}": (FFN, HIDDEN) for name in ("ffn_gate", "ffn_up")}
        shapes[f"blk.{i}.ffn_down"] = (HIDDEN, FFN)
    rng = np.random.default_rng(7)
    for name, shape in shapes.items():
        weight = rng.normal(0.0, shape[1] ** -0.5, shape).astype(np.float32)
        quantized = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    norms = [f"blk.{i}.{norm}" for i in range(2) for norm in ("attn_norm", "ffn_norm")]
    for norm in [*norms, "output_norm"]:
        writer.add_tensor(f"{norm}.weight", np.ones(HIDDEN, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module", params=["llama", "gpt-2", "qwen2", "llama-bpe", "smollm"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A GGUF file and what `onesec pack` made of it; the file lies elsewhere."""
    folder = tmp_path_factory.mktemp(request.param)
    file = _write(folder / "model.gguf", _metadata(request.param))
    out = folder / "packed" / "model.onesec"
    assert main(["pack", str(file), "-o", str(out), "--threads", "1"]) == 0
    return [file, out]


@pytest.fixture(scope="module")
def tokenizers(pair: list[Path]) -> list[Tokenizer]:
    loaded = [load_model(path, context=16, threads=1) for path in pair]
    for one in loaded:
        one.close()
    return [one.tokenizer for one in loaded]


@settings(deadline=None)
@given(text=TEXTS)
def test_the_tokenizer_is_the_same(tokenizers: list[Tokenizer], text: str) -> None:
    ours, theirs = tokenizers
    for special in (False, True):
        for add_bos in (False, True):
            ids = ours.encode(text, special=special, add_bos=add_bos)
            assert theirs.encode(text, special=special, add_bos=add_bos) == ids
            assert theirs.decode(ids, skip_special=special) == ours.decode(
                ids, skip_special=special
            )


def test_its_names_ends_and_templates_are_the_same(tokenizers: list[Tokenizer]) -> None:
    ours, theirs = tokenizers
    assert theirs.vocab_size == ours.vocab_size
    assert theirs.special_ids == ours.special_ids
    assert theirs.special_tokens == ours.special_tokens
    assert (theirs.bos_id, theirs.eos_ids) == (ours.bos_id, ours.eos_ids)
    assert theirs.chat_templates == ours.chat_templates


def test_answers_are_the_same(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answers = []
    for path in pair:
        with LLM(path, threads=1) as llm:
            assert llm.context_length == CONTEXT
            found = [
                (output.tokens, output.text, output.finish_reason)
                for gear in ("4", "8")
                for output in llm.generate(PROMPTS, gear=gear, max_tokens=24)
            ]
            if llm.has_chat_template:
                messages = [{"role": "user", "content": text} for text in PROMPTS]
                found += [llm.chat(messages, gear="8", max_tokens=24).text]
            answers.append(found)
    assert answers[0] == answers[1]
    assert len({tuple(tokens) for tokens, *_ in answers[0][:10]}) > 5


def _phi3(folder: Path) -> Path:
    """The golden LongRoPE model (96 positions, stretched to 128) with a tokenizer of its size."""
    shutil.copytree(GOLDEN / "phi3-short", folder)
    return samples.write_folder(folder, samples.characters(160), {"eos_token": "</s>"})


def test_a_longer_context_takes_the_long_factors_from_checkpoint_and_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = _phi3(tmp_path / "phi3")
    assert main(["pack", str(folder), "-o", str(tmp_path / "packed"), "--threads", "1"]) == 0
    tokens = list(range(3, 60))
    found = {}
    for path in (folder, tmp_path / "packed"):
        for context in (None, 96, 97, 128):
            with LLM(path, context=context, threads=1) as llm:
                assert llm.context_length == (context or 96)
                answer = llm.generate(tokens, gear="8", max_tokens=24, ignore_eos=True)
                found[path.name, context] = answer.tokens
        with pytest.raises(InvalidRequest, match="Choose 1 to 128"):
            LLM(path, context=129, threads=1)
    for name in ("phi3", "packed"):
        assert found[name, None] == found[name, 96] == found["phi3", 96]
        assert found[name, 97] == found[name, 128] == found["phi3", 97]
    assert found["phi3", 96] != found["phi3", 97]


def test_saving_with_a_long_context_keeps_both(tmp_path: Path) -> None:
    folder = _phi3(tmp_path / "phi3")
    with load_model(folder, context=128, threads=1) as loaded:
        loaded.save(tmp_path / "packed")
    with open_artifact(tmp_path / "packed") as artifact, open_checkpoint(folder) as checkpoint:
        assert artifact.config.long is not None
        assert artifact.config.long == checkpoint.config.long
        assert artifact.config.ropes == checkpoint.config.ropes


@pytest.mark.parametrize(
    ("tokens", "refused"), [(79, True), (80, False), (160, False), (161, True)]
)
def test_another_models_tokenizer_is_refused(tokens: int, refused: bool, tmp_path: Path) -> None:
    folder = _phi3(tmp_path / "phi3")  # 160 rows
    samples.write_folder(folder, samples.characters(tokens))
    if refused:
        with pytest.raises(CorruptFile, match=f"{tokens} tokens, its embedding 160 rows"):
            load_model(folder, threads=1)
    else:
        load_model(folder, threads=1).close()


def test_a_padding_token_without_a_row_is_no_mismatch(tmp_path: Path) -> None:
    folder = _phi3(tmp_path / "phi3")
    library = samples.characters(160)
    library.add_special_tokens(["[PAD]"])
    samples.write_folder(folder, library)
    load_model(folder, threads=1).close()


@pytest.mark.parametrize("context", [1, 16, 33, 64, 65])
def test_small_contexts_answer(
    context: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with LLM(_phi3(tmp_path / "phi3"), context=context, threads=1) as llm:
        if context > 1:
            assert len(llm.generate([3], max_tokens=8, ignore_eos=True).tokens) == 8


@pytest.mark.parametrize(
    "options",
    [
        {"context": 0},
        {"context": -5},
        {"context": 1.5},
        {"context": True},
        {"context": "9"},
        {"threads": 0},
        {"threads": "2"},
        {"threads": 1.5},
        {"kv_dtype": "f8"},
    ],
)
def test_options_of_the_wrong_kind_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(options))):
        load_model(_phi3(tmp_path / "phi3"), **options)


@pytest.mark.parametrize("prompt", [5, None, b"hi", 1.5, {0: 1}, [1.5], ["一", 5], [None]])
def test_prompts_of_the_wrong_kind_are_refused(
    prompt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with (
        LLM(_phi3(tmp_path / "phi3"), context=16, threads=1) as llm,
        pytest.raises(InvalidRequest, match="must be text or token ids"),
    ):
        llm.generate(prompt, max_tokens=1)
