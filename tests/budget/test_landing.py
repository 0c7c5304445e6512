import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onesec.budget.landing import ends_well, last_end, trim_to_sentence

CASES = [
    ("First. Second sent", "First."),
    ("好的。我们明天", "好的。"),
    ("好的！我们", "好的！"),
    ("他说：“好的。”然后走", "他说：“好的。”"),
    ('He said "go." Then he', 'He said "go."'),
    ("Really?! Yes", "Really?!"),
    ("等等……然后", "等等……"),
    ("Pi is 3.14159 and", None),
    ("Use v1.2.3 or file.txt from a.example.com now", None),
    ("Ask Dr. Smith, e.g. at", None),
    ("Ask Mr. Smith. He", "Ask Mr. Smith."),
    ("The U.S. economy", None),
    ("J. R. Tolkien wrote", None),
    ("It is 3.", None),
    ("It is 3. Next", "It is 3."),
    ("1. Take it", None),
    ("Steps:\n1. Take it\n2. Put", "Steps:\n1. Take it"),
    ("买：\n- 苹果\n- 香", "买：\n- 苹果"),
    ("List:\n- one:\n", None),
    ("Look:\n```\nprint('a. b')\n```\nThat", "Look:\n```\nprint('a. b')\n```"),
    ("Done. Look:\n```\nprint(1). x", "Done."),
    ("中文.English", None),
    ("价格是3.5元。还", "价格是3.5元。"),
    ("**Yes.** And", "**Yes.**"),
    ("", None),
    ("no end at all", None),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_trims_to_the_last_good_end(text: str, expected: str | None) -> None:
    trimmed, closed = trim_to_sentence(text)
    assert closed == (expected is not None)
    assert trimmed == (text if expected is None else expected)


TEXT = st.text(alphabet='ab3 .。！?!\n"”)-1`“…A', max_size=60)


@given(TEXT)
@example("…1.“")
@example("…1.)“")
def test_what_was_trimmed_ends_well_and_stays(text: str) -> None:
    trimmed, closed = trim_to_sentence(text)
    assert text.startswith(trimmed)
    if closed:
        assert trimmed
        again = trim_to_sentence(trimmed + "\n")[0].rstrip()
        # A point behind a digit ends a sentence only where it is seen what comes next.
        number = re.search(r"\d\.[\"”)]*\Z", trimmed)
        assert again == trimmed.rstrip() or number or "`" in text


@given(TEXT)
@example("- 1\n")
def test_a_text_ends_well_where_its_last_end_is(text: str) -> None:
    stripped = text.rstrip()
    whole = bool(stripped) and last_end(stripped) == len(stripped)
    if "\n" in text[len(stripped) :]:  # which completes the item of a list: "- 1" may go on
        assert ends_well(text) or not whole
    else:
        assert ends_well(text) == whole
