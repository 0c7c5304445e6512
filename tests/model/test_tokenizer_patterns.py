"""Which patterns are refused, and that any_of finds exactly what str.startswith finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.model.patterns import any_of, explodes
from onesec.model.tokenizer_gguf import _LLAMA3, _QWEN2


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*",
        "(?:a+b?)+",
        "((a+))+",
        "(a|b+)*c",
        r"(\w+\s?)+",
        "(a{2,})+",
        "(a+){3,}",
        "([a-z]+)*",
        "(x(y+)z)+",
        r"(\)+)+",
        "(a+)?+",
    ],
)
def test_explosive(pattern: str) -> None:
    assert explodes(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a+b+",
        "(a+)",
        "(a+)?",
        "(ab)+",
        "(?i:'s|'t|'re)",
        r"\(a+\)+",
        "[(a+)+]",
        "[^(]+)+",
        "(a{1,3})+",
        r"\p{L}+",
        r"[\p{L}&&[^\p{Han}]]+",
        r" ?[^(\s|[.,!?…。，、।۔،])]+",
        "(?=a+)b",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lm}]+(?i:'s|'t)?|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)",
        _LLAMA3,
        _QWEN2,
    ],
)
def test_harmless(pattern: str) -> None:
    assert not explodes(pattern)


@given(
    st.lists(st.text("ab<|>", min_size=1, max_size=4), max_size=6), st.text("ab<|>", max_size=20)
)
def test_any_of(texts: list[str], where: str) -> None:
    found = [match.start() for match in any_of(texts).finditer(where)]
    assert found == [i for i in range(len(where)) if where.startswith(tuple(texts), i)]


def test_any_of_many_long_texts() -> None:
    texts = [f"<|reserved_special_token_{i}|>" for i in range(1000)] + ["x" * 5000]
    assert any_of(texts).search("a <|reserved_special_token_999|>") is not None
    assert any_of(texts).search("a <|reserved_special_token_1000|>") is None
