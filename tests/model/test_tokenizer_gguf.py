"""Tokenizers from GGUF metadata give the ids of the tokenizer that the metadata was made from."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizer_samples as samples
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from onesec.core.errors import CorruptFile, OneSecError, UnsupportedModel
from onesec.model import tokenizer_gguf
from onesec.model.tokenizer import Tokenizer

TEXTS = st.text(max_size=60) | st.text(st.sampled_from("ab 你好😀é\nT12'<>|"), max_size=60)
WORDS = ["The quick", " brown fox", " 12 + 345?", "你好，世界。", "\n\n\n", " it's", "😀", "  "]
BYTE_LEVEL = samples.byte_level()
SENTENCE_PIECE = samples.sentence_piece()


@pytest.fixture(scope="module")
def byte_tok() -> Tokenizer:
    return Tokenizer.from_gguf(samples.gguf_metadata(BYTE_LEVEL, kind="gpt2"))


@pytest.fixture(scope="module")
def piece_tok() -> Tokenizer:
    return Tokenizer.from_gguf(samples.gguf_metadata(SENTENCE_PIECE, kind="llama"))


def expected(library: tokenizers.Tokenizer, text: str) -> list[int]:
    ids: list[int] = library.encode(text, add_special_tokens=False).ids
    return ids


@given(text=TEXTS | st.lists(st.sampled_from(WORDS), max_size=9).map("".join))
def test_byte_level(byte_tok: Tokenizer, text: str) -> None:
    assert byte_tok.encode(text) == expected(BYTE_LEVEL, text)
    assert byte_tok.decode(byte_tok.encode(text)) == text


@given(text=TEXTS | st.lists(st.sampled_from(WORDS), max_size=9).map("".join))
def test_sentence_piece(piece_tok: Tokenizer, text: str) -> None:
    assert piece_tok.encode(text) == expected(SENTENCE_PIECE, text)
    assert piece_tok.decode(piece_tok.encode(text)) == text.replace("▁", " ")


def test_names_ids_and_template(byte_tok: Tokenizer, piece_tok: Tokenizer) -> None:
    assert byte_tok.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert byte_tok.eos_ids == (2, 0)  # <|endoftext|> ends an answer as well
    assert byte_tok.encode("a", add_bos=True) == byte_tok.encode("a")  # the kind's default
    assert piece_tok.encode("a", add_bos=True) == [1, *piece_tok.encode("a")]
    metadata = samples.gguf_metadata(BYTE_LEVEL, kind="gpt2")
    metadata |= {"tokenizer.chat_template": "A", "tokenizer.chat_template.tool_use": "B"}
    metadata["tokenizer.ggml.add_bos_token"] = True
    tok = Tokenizer.from_gguf(metadata)
    assert tok.chat_templates == {"default": "A", "tool_use": "B"}
    assert tok.encode("a", add_bos=True)[0] == 1


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("gpt-2", "a 1234\n\n b", ["a", " 1234", "\n\n", " b"]),
        ("llama-bpe", "a 1234\n\n b", ["a", " ", "123", "4", "\n\n", " b"]),
        ("qwen2", "a 1234\n\n b", ["a", " ", "1", "2", "3", "4", "\n\n", " b"]),
        ("smollm", "a 1234 b", ["a", " ", "1", "2", "3", "4", " b"]),
        ("llama-bpe", "IT'S ok", ["IT", "'S", " ok"]),
        ("gpt-2", "IT'S ok", ["IT", "'", "S", " ok"]),
    ],
)
def test_how_text_is_cut(pre: str, text: str, pieces: list[str]) -> None:
    tok = Tokenizer.from_gguf(samples.gguf_metadata(BYTE_LEVEL, kind="gpt2", pre=pre))
    assert not tok.warnings
    cut = tok._library.pre_tokenizer.pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in cut] == pieces


def test_an_unknown_cut_is_said() -> None:
    tok = Tokenizer.from_gguf(samples.gguf_metadata(BYTE_LEVEL, kind="gpt2", pre="odd"))
    assert len(tok.warnings) == 1
    assert "'odd'" in tok.warnings[0]
    assert tok.decode(tok.encode("hello 你好")) == "hello 你好"


def test_qwen2_composes_characters() -> None:
    tok = Tokenizer.from_gguf(samples.gguf_metadata(BYTE_LEVEL, kind="gpt2", pre="qwen2"))
    assert tok.encode("e\u0301") == tok.encode("é")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("gpt2", {"tokenizer.ggml.tokens": None}),
        ("gpt2", {"tokenizer.ggml.tokens": []}),
        ("gpt2", {"tokenizer.ggml.tokens": ["a", "a"]}),
        ("gpt2", {"tokenizer.ggml.tokens": ["a", 5]}),
        ("gpt2", {"tokenizer.ggml.tokens": ["a" * 5000]}),
        ("gpt2", {"tokenizer.ggml.token_type": [1]}),
        ("gpt2", {"tokenizer.ggml.merges": ["nospace"]}),
        ("gpt2", {"tokenizer.ggml.merges": ["un known"]}),
        ("gpt2", {"tokenizer.ggml.merges": 5}),
        ("gpt2", {"tokenizer.ggml.eos_token_id": 10**6}),
        ("gpt2", {"tokenizer.ggml.bos_token_id": -1}),
        ("llama", {"tokenizer.ggml.scores": None}),
        ("llama", {"tokenizer.ggml.scores": [0.0]}),
        ("llama", {"tokenizer.ggml.scores": ["x"] * 520}),
    ],
)
def test_contradictions(kind: str, change: dict[str, Any]) -> None:
    library = BYTE_LEVEL if kind == "gpt2" else SENTENCE_PIECE
    metadata = {**samples.gguf_metadata(library, kind=kind), **change}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    with pytest.raises(CorruptFile):
        Tokenizer.from_gguf(metadata)


def test_other_kinds() -> None:
    with pytest.raises(UnsupportedModel, match="bert"):
        Tokenizer.from_gguf({**samples.gguf_metadata(BYTE_LEVEL, kind="bert")})


@given(
    st.dictionaries(
        st.sampled_from(sorted(samples.gguf_metadata(BYTE_LEVEL, kind="gpt2"))),
        st.none()
        | st.integers()
        | st.text(max_size=5)
        | st.lists(st.text(max_size=3), max_size=4)
        | st.lists(st.floats() | st.integers(), max_size=4),
    )
)
def test_any_metadata_gives_a_tokenizer_or_a_typed_error(metadata: dict[str, Any]) -> None:
    try:
        tok = Tokenizer.from_gguf({"tokenizer.ggml.model": "gpt2", **metadata})
    except OneSecError:
        return
    assert tok.vocab_size > 0


@pytest.mark.parametrize(
    "whole",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"version": "1.0", "model": {"type": "BPE"}}',
        "\ufeff{}",
        "[" * 10_000,
        json.dumps(
            json.loads(samples.byte_level().to_str())
            | {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "(a+)+$"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            }
        ),
    ],
    ids=range(9),
)
def test_hostile_tokenizers_in_one_string(whole: str) -> None:
    metadata = samples.gguf_metadata(samples.byte_level(), kind="gpt2", pre="gpt-2")
    with pytest.raises((CorruptFile, UnsupportedModel)):
        Tokenizer.from_gguf({**metadata, "tokenizer.huggingface.json": whole})


def test_tokens_that_are_made_of_each_other_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few megabytes of them would be merges of gigabytes."""
    tokens = ["a" * length for length in range(1, 2000)]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
    }
    with pytest.raises(CorruptFile, match="copies 2664667000 characters"):
        Tokenizer.from_gguf(metadata)
    metadata["tokenizer.ggml.tokens"] = tokens[:100]
    metadata["tokenizer.ggml.scores"] = [0.0] * 100
    assert Tokenizer.from_gguf(metadata).vocab_size == 100
    monkeypatch.setattr(tokenizer_gguf, "MAX_MERGES", 4000)
    with pytest.raises(CorruptFile, match="in more than 4000 ways"):
        Tokenizer.from_gguf(metadata)


@pytest.mark.parametrize("type_", [1, 4], ids=["plain", "user's own"])
def test_a_turns_end_is_special_whatever_the_file_calls_it(type_: int) -> None:
    metadata = samples.gguf_metadata(BYTE_LEVEL, kind="gpt2")
    end = metadata["tokenizer.ggml.tokens"].index("<|endoftext|>")
    metadata["tokenizer.ggml.token_type"][end] = type_
    tok = Tokenizer.from_gguf(metadata)
    assert end in tok.eos_ids
    assert end not in tok.encode("a<|endoftext|>")
    assert tok.decode([*tok.encode("a"), end]) == "a"
