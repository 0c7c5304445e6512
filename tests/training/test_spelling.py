"""Names spelled from more than the lists: wide, copied whole, and never what is held out."""

import random

import pytest
from tokenizers import Tokenizer

from training import shop, spelling, values, words
from training.wording import Wide

HELD = (*words.HELD_THINGS, *words.HELD_QUALITIES)


def test_what_only_held_words_have_is_never_spelled():
    pool = set(spelling.COMMON + spelling.FURTHER)
    assert len(pool) > 6700
    assert not pool & spelling.HELD_CHARS
    # Some held words are made of such characters alone: nothing spells them.
    new = [chinese for _, chinese in HELD if not set(chinese) <= pool | spelling.LISTED]
    assert len(new) >= 12
    rng = Wide(5)
    met = {values.latin(rng).casefold() for _ in range(5000)}
    met |= {spelling.word(rng) for _ in range(20000)}
    assert not met & spelling.HELD_WORDS


def test_only_training_spells_beyond_the_lists():
    listed = set(words.ANY_CHARS + words.NAME_CHARS)
    drawn = {
        kind: "".join(values.han(rng, 2, 2) for _ in range(500))
        for kind, rng in (("asked", random.Random(1)), ("trained", Wide(1)))
    }
    assert set(drawn["asked"]) <= listed
    beyond = sum(c not in listed for c in drawn["trained"]) / len(drawn["trained"])
    assert 0.1 < beyond < 0.6


def test_names_meet_the_bytes_and_pieces_that_the_lists_leave_out():
    tokenizer = Tokenizer.from_file("training/onesec-mini/tokenizer.json")

    def met(rng: random.Random) -> set[int]:
        names = [name for _ in range(4000) for name in shop.any_thing(rng, False)]
        return {i for name in names for i in tokenizer.encode(f" {name}").ids}

    def parts(tokens: set[int]) -> int:
        """How many of them are a part of a character."""
        return sum("\ufffd" in tokenizer.decode([i]) for i in tokens)

    listed, wide = met(random.Random(2)), met(Wide(2))
    assert len(wide) > 1.3 * len(listed)
    assert parts(wide) > 100
    assert parts(listed) < 10


@pytest.mark.parametrize("seed", range(3))
def test_a_spelled_name_is_whole_text(seed):
    rng = Wide(seed)
    for _ in range(2000):
        name = spelling.word(rng)
        assert name.strip() == name
        assert name.isalpha(), name
        assert all(c.isalpha() for c in spelling.characters(rng, 2))
