"""Tokenizer: round trips, streams, special tokens, and typed errors for hostile input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizer_samples as samples
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from onesec.core.errors import (
    ContextLengthExceeded,
    CorruptFile,
    InvalidRequest,
    ModelNotFound,
    UnsupportedModel,
)
from onesec.model.tokenizer import GUARD, LONG_TEXT_CHARS, Tokenizer

FLAVOURS = ("byte_level", "sentence_piece", "metaspace")
TEXTS = st.text(max_size=60) | st.text(st.sampled_from("ab 你好😀é\n<>|▁ĠÃ"), max_size=60)


@pytest.fixture(scope="module", params=FLAVOURS)
def tok(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load(request.param, tmp_path_factory.mktemp("tok"))


@pytest.fixture(scope="module")
def byte_tok(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load("byte_level", tmp_path_factory.mktemp("tok"))


def load(flavour: str, folder: Path, **options: Any) -> Tokenizer:
    if flavour == "byte_level":
        library, names = samples.byte_level(), {"eos_token": "<|im_end|>"}
    else:
        library = samples.sentence_piece(metaspace=flavour == "metaspace")
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return Tokenizer.from_folder(samples.write_folder(folder, library, names), **options)


def library_of(tok: Tokenizer) -> tokenizers.Tokenizer:
    return tok._library


@given(text=TEXTS)
def test_round_trip(tok: Tokenizer, text: str) -> None:
    text = "x" + text  # the first space of a text is SentencePiece's own
    expected = text if tok.bos_id is None else text.replace("▁", " ")
    assert tok.decode(tok.encode(text)) == expected


@given(text=TEXTS)
def test_decodes_as_the_library_does(tok: Tokenizer, text: str) -> None:
    ids = tok.encode(text)
    assert tok.decode(ids, skip_special=False) == library_of(tok).decode(
        ids, skip_special_tokens=False
    )


@given(text=st.text(st.sampled_from("The quick brown fox "), max_size=30))
def test_metaspace_decoder(text: str) -> None:
    library = samples.sentence_piece(metaspace=True)
    library.decoder = tokenizers.decoders.Metaspace(prepend_scheme="first")
    tok = Tokenizer(library, source="test", special_tokens={})
    ids = tok.encode(text)
    assert tok.decode(ids) == library.decode(ids)


@given(data=st.data())
def test_stream_is_decode_in_pieces(tok: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tok.vocab_size + 5), max_size=40))
    skip = data.draw(st.booleans())
    stream = tok.stream(skip_special=skip)
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.flush() == tok.decode(ids, skip_special=skip)


@given(text=TEXTS)
def test_stream_never_shows_half_a_character(tok: Tokenizer, text: str) -> None:
    stream = tok.stream()
    shown = "".join(stream.push(token) for token in tok.encode(text))
    assert "\ufffd" not in shown or "\ufffd" in text
    assert stream.flush() == ""


@given(before=TEXTS, after=TEXTS)
def test_special_tokens_in_users_text_are_text(
    byte_tok: Tokenizer, before: str, after: str
) -> None:
    text = before + "<|im_end|>" + after
    ids = byte_tok.encode(text)
    assert not byte_tok.special_ids & set(ids)
    assert byte_tok.decode(ids) == text


def test_special_tokens_are_parsed_in_templates(byte_tok: Tokenizer) -> None:
    end = byte_tok.token_to_id("<|im_end|>")
    assert byte_tok.encode("a<|im_end|>b", special=True).count(end) == 1
    assert end not in byte_tok.encode("a<|im_end|>b")


@given(user=st.lists(st.sampled_from(["<|im_end|>", "<|im_", "start|>", "hi ", "😀", GUARD])))
def test_protected_text_is_text_inside_a_template(byte_tok: Tokenizer, user: list[str]) -> None:
    said = "".join(user).replace(GUARD, "")
    prompt = "<|im_start|>user\n" + byte_tok.protect("".join(user)) + "<|im_end|>\n"
    ids = byte_tok.encode(prompt, special=True)
    assert [token for token in ids if token in byte_tok.special_ids] == [
        byte_tok.token_to_id("<|im_start|>"),
        byte_tok.token_to_id("<|im_end|>"),
    ]
    assert byte_tok.decode(ids, skip_special=False) == f"<|im_start|>user\n{said}<|im_end|>\n"


def test_protection_costs_nothing_where_nothing_is_special(byte_tok: Tokenizer) -> None:
    text = "plain text <think> 你好"
    assert byte_tok.protect(text) == text
    assert byte_tok.encode(text) == byte_tok.encode(text, special=True)


def test_bos(tmp_path: Path) -> None:
    library = samples.sentence_piece()
    names = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}}
    for add_bos, starts in ((None, True), (True, True), (False, False)):
        config = names if add_bos is None else {**names, "add_bos_token": add_bos}
        tok = Tokenizer.from_folder(samples.write_folder(tmp_path, library, config))
        assert tok.bos_id == 1
        assert tok.eos_ids == (2,)
        assert (tok.encode("a", add_bos=True)[0] == 1) is starts
        assert tok.encode("a", add_bos=True).count(1) == int(starts)
        assert 1 not in tok.encode("a")


def test_bos_that_only_the_config_knows(tmp_path: Path) -> None:
    config = {"bos_token": "<|endoftext|>", "add_bos_token": True}
    tok = Tokenizer.from_folder(samples.write_folder(tmp_path, samples.byte_level(), config))
    assert tok.encode("a", add_bos=True) == [tok.bos_id, *tok.encode("a")]


def test_end_tokens_come_from_all_files(tmp_path: Path) -> None:
    folder = samples.write_folder(tmp_path, samples.byte_level(), {})
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|im_end|>"}')
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    assert Tokenizer.from_folder(folder).eos_ids == (2, 0)


def test_end_tokens_that_are_no_tokens_are_left_out(tmp_path: Path) -> None:
    folder = samples.write_folder(tmp_path, samples.byte_level(), {})
    ids = [10**30, 2**31, -1, True, "2", 100_000, 2]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    assert Tokenizer.from_folder(folder).eos_ids == (2,)


def test_chat_templates_of_a_folder(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    folder = samples.write_folder(tmp_path, samples.byte_level(), {"chat_template": named})
    assert Tokenizer.from_folder(folder).chat_templates == {"default": "A", "tool_use": "B"}
    (folder / "chat_template.jinja").write_text("C")
    assert Tokenizer.from_folder(folder).chat_templates == {"default": "C", "tool_use": "B"}


def test_long_texts_have_the_same_ids(tok: Tokenizer) -> None:
    text = samples.TEXT[0] + samples.TEXT[1]
    long = text * 60  # beyond LONG_TEXT_CHARS
    assert tok.encode(long) == library_of(tok).encode(long, add_special_tokens=False).ids


def test_truncation_and_padding_of_the_file_are_ignored(tmp_path: Path) -> None:
    library = samples.byte_level()
    library.enable_truncation(4)
    library.enable_padding(length=64)
    tok = Tokenizer.from_folder(samples.write_folder(tmp_path, library))
    text = samples.TEXT[0]
    assert tok.decode(tok.encode(text)) == text


def test_size_cap(tmp_path: Path) -> None:
    tok = load("byte_level", tmp_path, context_length=8)
    assert tok.encode("x" * 128)
    with pytest.raises(ContextLengthExceeded, match=r"9 tokens or more \(129 bytes.*holds 8"):
        tok.encode("x" * 129)
    with pytest.raises(ContextLengthExceeded, match="130 bytes"):
        tok.encode("é" * 65)
    tok = load("byte_level", tmp_path, context_length=1 << 20)
    assert tok.max_text_bytes == 4 << 20
    with pytest.raises(InvalidRequest, match=r"4194305 bytes; at most 4194304"):
        tok.encode("x" * ((4 << 20) + 1))


def test_surrogates_are_a_typed_error(byte_tok: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="character 1 is half of a pair"):
        byte_tok.encode("a\ud800")


def test_a_panic_of_the_library_is_a_typed_error(
    byte_tok: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):  # as pyo3 names it
        pass

    class Panicking:
        def encode(self, *_: Any, **__: Any) -> None:
            raise PanicException("index out of range\nbacktrace")

    class Interrupted:
        def encode(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(byte_tok, "_library", Panicking())
    with pytest.raises(InvalidRequest, match="index out of range"):
        byte_tok.encode("a")
    monkeypatch.setattr(byte_tok, "_library", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        byte_tok.encode("a")


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        Tokenizer.from_folder(tmp_path)
    file = tmp_path / "tokenizer.json"
    for content in (b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"model": {"type": "BPE"}}'):
        file.write_bytes(content)
        with pytest.raises(CorruptFile):
            Tokenizer.from_folder(tmp_path)
    folder = samples.write_folder(tmp_path, samples.byte_level())
    for content in (b"{", b"[1]", b'{"a": ' * 1000 + b"}" * 1000):
        (folder / "tokenizer_config.json").write_bytes(content)
        with pytest.raises(CorruptFile):
            Tokenizer.from_folder(folder)


def test_an_oversized_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(CorruptFile, match=str(64 << 20)):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
def test_explosive_patterns_are_refused(tmp_path: Path, part: str) -> None:
    pattern = {"Regex": "(a+)+$"}
    spec = json.loads(samples.byte_level().to_str())
    spec[part] = (
        {"type": "Replace", "pattern": pattern, "content": "b"}
        if part == "normalizer"
        else {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(CorruptFile, match="repeats a repetition"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "decoder", [None, {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "Fuse"}]
)
def test_decoders_of_other_kinds(tmp_path: Path, decoder: dict[str, Any] | None) -> None:
    spec = json.loads(samples.byte_level().to_str())
    spec["decoder"] = decoder
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UnsupportedModel):
        Tokenizer.from_folder(tmp_path)


def test_a_long_text_that_spells_a_special_token_does_not_hold_the_lock(
    byte_tok: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`encode` keeps the interpreter lock, `encode_batch` does not; both give the same tokens."""
    said = byte_tok.protect("<|im_end|> hi " * (LONG_TEXT_CHARS // 10))
    expected = byte_tok.encode(said, special=True)
    library = byte_tok._library

    class Watched:
        def __getattr__(self, name: str) -> Any:
            assert name != "encode"
            return getattr(library, name)

    monkeypatch.setattr(byte_tok, "_library", Watched())
    assert byte_tok.encode(said, special=True) == expected


@pytest.mark.parametrize("text", [None, 5, b"Hi", ["Hi"]])
def test_what_is_no_text_is_refused(text: Any, byte_tok: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="A text cannot be a"):
        byte_tok.encode(text)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_goes_on_keeps_the_space_that_opens_it(flavour: str, tmp_path: Path) -> None:
    tok = load(flavour, tmp_path)
    whole = tok.encode("The quick brown fox")
    for cut in range(1, len(whole)):
        stream = tok.stream(begun=True)
        streamed = "".join([stream.push(token) for token in whole[cut:]]) + stream.flush()
        assert tok.decode(whole[:cut]) + streamed == "The quick brown fox"
        assert tok.decode(whole[cut:], begun=True) == streamed
