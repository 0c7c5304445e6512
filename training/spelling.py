"""Spellings that no word list holds, for training only: what a name is made of is copied as it is.

A model copies what it has seen copied. The lists' characters and words are a third of the
tokenizer's; the others, and the bytes that rarer characters consist of, are met here.
Characters that only held words have are left out, so that the examination asks for new ones.
It must not know what a name stands for.
"""

from __future__ import annotations

import random

from . import words

# GB 2312: rows 16 to 55 hold 3,755 common characters, rows 56 to 87 another 3,008.
COMMON_ROWS, FURTHER_ROWS = range(16, 56), range(56, 88)
FURTHER_SHARE = 0.25
LISTED = set(words.ANY_CHARS + words.NAME_CHARS + words.SURNAMES_ZH) | {
    c for _, chinese in (*words.THINGS, *words.QUALITIES) for c in chinese
}
HELD_CHARS = {
    c for _, chinese in (*words.HELD_THINGS, *words.HELD_QUALITIES) for c in chinese
} - LISTED
HELD_WORDS = {english for english, _ in (*words.HELD_THINGS, *words.HELD_QUALITIES)}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ACCENTS = str.maketrans("aeioucns", "áéíöüçñš")
ALPHABETS = (
    "абвгдеёжзийклмнопрстуфхцчшщыьэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "アイウエオカキクケコサシスセソタチツテトナニノハヒフホマミムメモヤユヨラリルレロワン",
    "가나다라마바사아자차카타파하고노도로모보소오조기니디리미비시이지강김박신윤임정최한",
)


def rows(numbers: range) -> str:
    """The characters of GB 2312's rows, without those that only held words have."""
    coded = (bytes([0xA0 + row, 0xA0 + cell]) for row in numbers for cell in range(1, 95))
    return "".join(c for b in coded if (c := b.decode("gb2312", "ignore")) not in HELD_CHARS)


COMMON, FURTHER = rows(COMMON_ROWS), rows(FURTHER_ROWS)


def characters(rng: random.Random, count: int) -> list[str]:
    """Any Chinese characters, common ones more often."""
    pools = (FURTHER if rng.random() < FURTHER_SHARE else COMMON for _ in range(count))
    return [pool[rng.randrange(len(pool))] for pool in pools]


def word(rng: random.Random) -> str:
    """A word: pieces of two others (half), letters at random, accented, of another alphabet."""
    kind = rng.random()
    if kind < 0.25:
        return "".join(rng.choices(LETTERS, k=rng.randint(2, 9)))
    if kind < 0.33:
        return "".join(rng.choices(rng.choice(ALPHABETS), k=rng.randint(2, 6)))
    first, second = (words.ANY_WORDS[rng.randrange(len(words.ANY_WORDS))] for _ in range(2))
    text = first[: rng.randint(1, len(first))] + second[rng.randrange(len(second)) :]
    if text in HELD_WORDS:
        return first
    return text.translate(ACCENTS) if kind < 0.41 else text
