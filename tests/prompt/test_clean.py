"""clean: what goes, what must stay, and that doing it twice changes nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.prompt.clean import clean

# All code points, surrogates and noncharacters included.
ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
NASTY = st.text(
    st.sampled_from(" \t\r\n\x0b\x0c\x00\x1c\x85\u2028\ufeff\ufdd0e\u0301\ud83d\ude00a가")
)


@given(ANY | NASTY, st.booleans(), st.booleans())
def test_idempotent(text: str, nfc: bool, strip: bool) -> None:
    once = clean(text, nfc=nfc, strip=strip)
    assert clean(once, nfc=nfc, strip=strip) == once


@given(ANY | NASTY)
def test_what_is_left_is_sound(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in cleaned)
    assert "\ufdd0" not in cleaned
    assert cleaned == cleaned.rstrip()


@given(st.text(st.characters(categories=("L", "N", "P", "S")), max_size=40))
def test_only_canonical_equivalents_change(text: str) -> None:
    assert unicodedata.normalize("NFD", clean(text)) == unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("a\x00b\x1bc\x7f", "abc"),
        ("a\x1fb", "a b"),
        ("cafe\u0301", "café"),
        ("x² ﬁ ①", "x² ﬁ ①"),  # NFKC would change all three
        ("👩\u200d💻", "👩\u200d💻"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\ud83d\ude00 \ud83d", "😀"),
        ("\ufeffhi", "hi"),
        ("  hi  ", "hi"),
        ("\n \n    if x:\n        y\n", "    if x:\n        y"),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_options() -> None:
    assert clean("e\u0301 ", nfc=False, strip=False) == "e\u0301 "


def test_accents_without_end_cost_linear_time_and_are_cut() -> None:
    most = "e" + "\u0327\u0301" * 15
    assert unicodedata.normalize("NFD", clean(most)) == unicodedata.normalize("NFD", most)
    assert clean("e" + "\u0301\u0327" * 200_000) == clean(
        most
    )  # a quadratic pass does not come back
    tibetan = clean("\u0f73" * 100_000)  # each decomposes into two
    assert len(tibetan) == 30
    assert clean(tibetan) == tibetan
    nukta = clean("\u0958" + "\u0301" * 40)
    assert clean(nukta) == nukta
    assert clean("—" * 1000 + "😀" * 1000) == "—" * 1000 + "😀" * 1000
