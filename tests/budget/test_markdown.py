import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.budget.landing import End, Landing, ends_well, last_end

DOCUMENT = """# Kettles: which one? And why.

Our **red kettle** costs 45 dollars. It is *very quiet. Really.* See `a.b. c` for more.

## Steps.

1. Fill it with water.
2. Press the button
   - the left one, if it is dark
   - the right one
3. Wait:

| Name | Price. Now |
|------|-----------:|
| Red. | 45 |
| Blue | 39 |

> A note. It is **hot! Care.

```python
x = 1. + 2.
print(x)
```

Good. ~~Old. Text.~~ Done
"""


def good(text: str) -> bool:
    """Whether a text ends well, now that its line is over, or a line or paragraph follows (behind a
    digit a point is trusted only where the next word is seen)."""
    bare = text.rstrip()
    follows = (last_end(bare + more) >= len(bare) for more in ("\n\nNext", "\nNext"))
    return ends_well(text + "\n") or any(follows)


def trimmed(text: str) -> str | None:
    end = last_end(text)
    return text[:end] if end else None


CASES = [
    ("# Title. Next", None),
    ("# Title?\nIntro. Mo", "# Title?\nIntro."),
    ("Title!\n=====\nIntro", None),
    ("**Bold. Text", None),
    ("One. **Bold. Text", "One."),
    ("One. **Bold. Text.** Tw", "One. **Bold. Text.**"),
    ("One. `a. b` tw", "One."),
    ("One. `a. b", "One."),
    ("One. *Two. Three", "One."),
    ("2 * 3. Then 4 * 5. Yes", "2 * 3. Then 4 * 5."),
    ("snake_case. Then other_name. Yes", "snake_case. Then other_name."),
    ("- one\n- two", "- one"),
    ("- one\n", "- one"),
    ("- **one\n- two", None),
    ("- **\n", None),
    ("- one:\n  - sub\n  - su", "- one:\n  - sub"),
    ("* one\n* two", "* one"),
    ("一、苹果\n二、香", "一、苹果"),
    ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3", "| a | b |\n|---|---|\n| 1 | 2 |"),
    ("| a | b |\n|---|---|\n| 1. | 2", None),
    ("| a | b |\n|---|", None),
    ("| a | b |", None),
    ("a | b\n--- | ---\n1. | 2\n3", "a | b\n--- | ---\n1. | 2"),
    ("Yes.\n\n| a. | b |", "Yes."),
    ("Look:\n```\na. b\n```\nThat", "Look:\n```\na. b\n```"),
    ("Look. See:\n```\na. b", "Look."),
    ("Look. See:\n~~~~\n```\na.\n~~~", "Look."),
    ("Look. See:\n````\n```\na.\n````", "Look. See:\n````\n```\na.\n````"),
    ("It is $$a. b", None),
    ("**One. *two* *three* four** no", None),
    ("```a``` is code. Next", "```a``` is code."),
    (r"\*Not bold. Next", r"\*Not bold."),
    ("好。**重点", "好。"),
    ("好。**重点。**然后。再", "好。**重点。**然后。"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_ends_of_forms(text: str, expected: str | None) -> None:
    assert trimmed(text) == expected


def ended(text: str, floor: int = 0) -> str | None:
    landing = Landing()
    landing.push(text)
    end = landing.end(floor)
    return None if end is None else text[: end.keep] + end.closing


def test_open_code_is_closed_at_a_line_end() -> None:
    code = "See:\n```py\nx = 1\ny = 2\n"
    assert ended(code) == code + "```"
    assert ended(code, len(code)) == code + "```"
    assert ended(code + "z =") == code + "```"
    assert ended(code + "z =", len(code) + 1) is None  # in mid-line, and shown
    assert ended("See:\n```py\n") is None
    assert ended("Yes. See:\n```py\nx") == "Yes."
    item = "- See:\n  ```py\n  x = 1\n"
    assert ended(item) == item + "  ```"
    landing = Landing()
    landing.push("See:\n```py\nlong line of code\nx")
    assert landing.stride == len("long line of code")  # the next one may be as long


def test_white_space_that_was_shown_behind_an_end_does_not_undo_it() -> None:
    assert ended("One. ", 5) == "One. "
    assert ended("One.\n\n", 6) == "One.\n\n"


def test_open_emphasis_is_closed_at_a_sentence_end() -> None:
    assert ended("**Yes.", 6) == "**Yes.**"
    assert ended("Go. **Very *hot!", 16) == "Go. **Very *hot!***"
    assert ended("Go. **Very *hot", 15) is None
    assert ended("Go. **Very *hot") == "Go."
    assert ended("**Yes.*", 7) == "**Yes.**"
    assert ended("Go. **Say `all done. b") == "Go."  # code that is broken off is not closed


def test_json_in_a_fence() -> None:
    text = 'Here:\n```json\n{"a": [1, 2'
    assert ended(text) == 'Here:\n```json\n{"a": [1]}\n```'
    assert ended(text, len(text)) == 'Here:\n```json\n{"a": [1, 2]}\n```'
    assert ended(text, len("Here:\n```json\n")) == 'Here:\n```json\n{"a": [1]}\n```'
    broken = "Here:\n```json\n{a: 1,\n"
    assert ended(broken) == broken + "```"


def test_a_second_fence_is_read_by_itself() -> None:
    landing = Landing()
    landing.push('A:\n```json\n{"a": 1')
    assert landing.end() is not None
    landing.push('}\n```\nB:\n```json\n{"b": [2, 3')
    found = landing.end(len(landing.text))
    assert found == End(len(landing.text), "]}\n```")


def test_json_as_the_whole_answer_ends_nowhere_else() -> None:
    assert last_end('{"a": "Yes. No') == 0
    assert ends_well('{"a": 1}\n')
    assert last_end("[1]: See. Then") == 9
    landing = Landing()
    landing.push('{"a": 1, "b": 2')
    assert landing.held() == 7
    landing.push("}")
    assert landing.settled() == End(16)
    text = Landing()
    text.push('{"a": "Hel')
    assert text.held() == len(text.text)  # it can be ended anywhere


def test_the_tail_of_a_long_paragraph_is_enough() -> None:
    long = "Some words here. " * 200
    assert last_end(long + "And") == len(long) - 1
    assert last_end("First. **" + "words in bold, " * 100) == 6
    assert last_end(long + "**" + "Bold. " * 200) == len(long) - 1
    landing = Landing()
    pieces = DOCUMENT * 3
    for i in range(0, len(pieces), 7):
        landing.push(pieces[i : i + 7])
        assert landing.last_end() == last_end(landing.text)
    landing = Landing()
    for piece, end in (("One.\n\nSee shop.", 15), ("com now", 4)):
        landing.push(piece)
        assert landing.last_end() == end


@settings(max_examples=400, deadline=None)
@given(st.integers(1, len(DOCUMENT)), st.data())
def test_every_prefix_of_a_document_lands_well(length: int, data: st.DataObject) -> None:
    prefix = DOCUMENT[:length]
    landing = Landing()
    landing.push(prefix)
    assert landing.last_end() == last_end(prefix)
    floor = data.draw(st.integers(0, length))
    end = landing.end(floor)
    if end is None:
        assert floor or not landing.last_end()
        return
    assert end.keep <= length
    assert not prefix[end.keep : floor].strip()
    assert good(prefix[: end.keep] + end.closing)


def test_a_document_is_landed_within_a_sentence_or_line() -> None:
    """What trimming costs: never more than the block that was being written."""
    longest = max(len(line) for line in DOCUMENT.split("\n"))
    first = last_end(DOCUMENT[:90])
    assert first
    for length in range(90, len(DOCUMENT)):
        text = ended(DOCUMENT[:length])
        assert text is not None
        assert length - len(text) < 2 * longest


@pytest.mark.parametrize(
    "text", ["**Bold *it is so.", "*It **is so.", "*It *is so.", "*1 *.", "~~It *is so."]
)
def test_marks_that_stand_together_close_what_is_open(text: str) -> None:
    end = Landing()
    end.push(text)
    found = end.end()
    assert found is not None
    assert ends_well(text + found.closing)


FORMS = st.text(alphabet='a.* `_|\n-#1[{"}]:,~>$', max_size=60)


@settings(max_examples=500, deadline=None)
@given(FORMS, st.data())
def test_any_text_that_is_landed_ends_well(text: str, data: st.DataObject) -> None:
    landing = Landing()
    cut = data.draw(st.integers(0, len(text)))
    landing.push(text[:cut])
    landing.end()
    landing.push(text[cut:])
    floor = data.draw(st.integers(0, len(text)))
    end = landing.end(floor)
    assert landing.end(0) is not None or not last_end(text)
    if end is not None:
        assert not text[end.keep : floor].strip()
        assert good(text[: end.keep] + end.closing)
    settled = landing.settled()
    if settled is not None:
        assert not text[settled.keep :].strip()


def test_a_delimiter_below_an_empty_line_begins_no_table() -> None:
    rows = "|---|---|\n| a | b |\n"
    assert last_end(f"| x | y |\n{rows}") == len(f"| x | y |\n{rows}") - 1
    assert last_end(f"Look:\n\n{rows}") == 0
