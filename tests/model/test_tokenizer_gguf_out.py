"""A tokenizer's keys for GGUF are read back as the same tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizer_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library

from onesec.core.errors import UnsupportedModel
from onesec.model.tokenizer import Tokenizer
from onesec.model.tokenizer_gguf import WHOLE, cut_as
from onesec.model.tokenizer_gguf_out import tokenizer_keys

MINI = Path(__file__).resolve().parents[2] / "src" / "onesec" / "assets" / "onesec-mini"
CHATML = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
END = {"eos_token": "<|im_end|>", "chat_template": CHATML, "pad_token": "<|endoftext|>"}
LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["  ", "\r\n", "it's", "12345", "é", "e\u0301", "<think>", "<sep>", "</s>", "▁a", "你"]
    ),
    max_size=9,
).map("".join)
ROWS = 5120


def _cut(pre: str) -> Library:
    """A byte-level tokenizer that cuts by a rule with a name."""
    tok = samples.byte_level()
    spec = json.loads(tok.to_str())
    spec["model"]["ignore_merges"] = pre == "llama-bpe"
    tok = Library.from_str(json.dumps(spec))
    cut_as(tok, pre)
    return tok


def _greedy() -> Library:
    """With a token that takes the blanks beside it along."""
    tok = _cut("gpt-2")
    tok.add_special_tokens([AddedToken("<sep>", lstrip=True, rstrip=True, normalized=False)])
    return tok


def _begun() -> Library:
    """Whose tokenizer.json alone says that texts begin with a token."""
    tok = _cut("smollm")
    tok.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    return tok


NAMED = ("gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2")
START = END | {"bos_token": "<|im_start|>"}
LIBRARIES: dict[str, tuple[Library, dict[str, Any]]] = {
    **{pre: (_cut(pre), END) for pre in NAMED},
    "greedy": (_greedy(), END),
    "begun": (_begun(), START),
    "not begun": (_cut("llama-bpe"), START),
    "sentence-piece": (samples.sentence_piece(), LLAMA),
    "metaspace": (samples.sentence_piece(metaspace=True), LLAMA),
}


def _opened(name: str, folder: Path) -> Tokenizer:
    if name == "mini":
        return Tokenizer.from_folder(MINI)
    return Tokenizer.from_folder(samples.write_folder(folder, *LIBRARIES[name]))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tokenizer, Tokenizer]]:
    """Each tokenizer, and what is read from its keys."""
    found = {}
    for name in (*LIBRARIES, "mini"):
        folder = tmp_path_factory.mktemp(name)
        before = _opened(name, folder)
        keys, _ = tokenizer_keys(before.files(folder), ROWS)
        found[name] = before, Tokenizer.from_gguf(keys)
    return found


@pytest.mark.parametrize("name", [*LIBRARIES, "mini"])
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, special=st.booleans(), add_bos=st.booleans())
def test_texts_have_the_same_ids(
    name: str,
    pairs: dict[str, tuple[Tokenizer, Tokenizer]],
    text: str,
    special: bool,
    add_bos: bool,
) -> None:
    before, after = pairs[name]
    ids = before.encode(text, special=special, add_bos=add_bos)
    assert after.encode(text, special=special, add_bos=add_bos) == ids
    assert after.decode(ids, skip_special=False) == before.decode(ids, skip_special=False)


@pytest.mark.parametrize("name", [*LIBRARIES, "mini"])
def test_ends_names_and_templates_stay(
    name: str, pairs: dict[str, tuple[Tokenizer, Tokenizer]]
) -> None:
    before, after = pairs[name]
    assert set(before.eos_ids) <= set(after.eos_ids)
    assert (after.bos_id, after.special_tokens) == (before.bos_id, before.special_tokens)
    assert after.special_ids == before.special_ids
    assert after.chat_templates == before.chat_templates
    assert after.warnings == ()


@pytest.mark.parametrize("pre", NAMED)
def test_known_cuts_go_by_name_alone(pre: str, tmp_path: Path) -> None:
    keys, lost = tokenizer_keys(_opened(pre, tmp_path).files(tmp_path), ROWS)
    assert (keys["tokenizer.ggml.model"], keys["tokenizer.ggml.pre"]) == ("gpt2", pre)
    assert WHOLE not in keys
    assert lost == ()


def test_other_cuts_take_the_whole_tokenizer_along_and_say_so(tmp_path: Path) -> None:
    keys, lost = tokenizer_keys(_opened("mini", tmp_path).files(tmp_path), ROWS)
    assert keys["tokenizer.ggml.pre"] == "default"
    assert json.loads(keys[WHOLE])["model"]["type"] == "BPE"
    assert "other engines" in lost[0]
    tok = samples.byte_level()
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), "isolated"), pre_tokenizers.ByteLevel(False)]
    )
    opened = Tokenizer.from_folder(samples.write_folder(tmp_path / "a", tok, END))
    assert WHOLE in tokenizer_keys(opened.files(tmp_path), ROWS)[0]


def test_blanks_beside_added_tokens_take_the_whole_tokenizer_along(tmp_path: Path) -> None:
    keys, lost = tokenizer_keys(_opened("greedy", tmp_path).files(tmp_path), ROWS)
    assert keys["tokenizer.ggml.pre"] == "gpt-2"
    assert WHOLE in keys
    assert "blanks beside added tokens" in lost[0]


def test_sentence_piece_has_scores_in_the_order_of_its_merges(tmp_path: Path) -> None:
    before = _opened("sentence-piece", tmp_path)
    keys, lost = tokenizer_keys(before.files(tmp_path), ROWS)
    merges = json.loads(before.files(tmp_path).tokenizer_json)["model"]["merges"]
    scores = dict(zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"], strict=True))
    made = [scores["".join(pair)] for pair in merges]
    assert made == sorted(made, reverse=True)
    assert keys["tokenizer.ggml.add_space_prefix"] is True
    assert lost == ()
    types = dict(zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"], strict=True))
    assert (types["<unk>"], types["<s>"], types["<0x0A>"], types["[PAD4095]"]) == (2, 3, 6, 5)


def _normalized() -> Library:
    tok = samples.sentence_piece()
    spec = json.loads(tok.to_str())
    spec["added_tokens"][1]["normalized"] = True
    return Library.from_str(json.dumps(spec))


def _blanks() -> Library:
    tok = samples.sentence_piece()
    tok.add_special_tokens([AddedToken("<sep>", rstrip=True, normalized=False)])
    return tok


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (samples.sentence_piece(metaspace=True), "no text behind an added token with a space"),
        (_normalized(), "texts that are normalized already"),
        (_blanks(), "blanks beside added tokens"),
    ],
    ids=["first", "normalized", "blanks"],
)
def test_sentence_piece_says_what_other_engines_miss(
    library: Library, words: str, tmp_path: Path
) -> None:
    opened = Tokenizer.from_folder(samples.write_folder(tmp_path, library, LLAMA))
    keys, lost = tokenizer_keys(opened.files(tmp_path), ROWS)
    assert words in lost[0]
    assert WHOLE in keys


def test_what_gguf_has_no_form_for(tmp_path: Path) -> None:
    before = _opened("gpt-2", tmp_path)
    with pytest.raises(UnsupportedModel, match="GGUF needs one for each token"):
        tokenizer_keys(before.files(tmp_path), 100)
    spec = json.loads(samples.sentence_piece().to_str())
    words = Library(models.WordLevel({"▁a": 0, "<unk>": 1}, unk_token="<unk>"))
    words.decoder = Library.from_str(json.dumps(spec)).decoder
    opened = Tokenizer.from_folder(samples.write_folder(tmp_path / "w", words))
    with pytest.raises(UnsupportedModel, match="WordLevel has no form in GGUF"):
        tokenizer_keys(opened.files(tmp_path), 100)
