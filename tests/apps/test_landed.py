import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.apps.landed import balanced, ends_well, examine, fresh_tail
from onesec.budget.landing import Landing

GOOD = [
    "Yes.",
    "好的。",
    "他说：“好的。”",
    "Really?!",
    "नमस्ते।",
    "هل؟",
    "Τι είναι;",
    "Il a dit « Oui. »",
    "**Yes.**",
    "- one\n- two",
    "1. Take it",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "See:\n```\nx = 1\n```",
    '{"a": [1, "x"]}',
    "[1, 2]",
    "Done (at last).",
]
BAD = [
    "",
    "and then the",
    "It is 3",
    "Steps:",
    "红的，",
    "See:\n```\nx = 1",
    '{"a": [1',
    "# Title",
    "a, b;",
    "- one\n- two:",
]


@pytest.mark.parametrize("text", GOOD)
def test_good_ends(text: str) -> None:
    assert ends_well(text) == 1.0


@pytest.mark.parametrize("text", BAD)
def test_bad_ends(text: str) -> None:
    assert ends_well(text) == 0.0


def test_repeated_tails() -> None:
    assert fresh_tail("It is red. It is red.") == 1.0
    assert fresh_tail("Well: " + "It is red. " * 3) == 0.0
    assert fresh_tail("很好" + "很好。" * 4) == 0.0
    assert fresh_tail("no no no") == 0.0
    assert fresh_tail("wait...") == 1.0
    assert fresh_tail("") == 1.0


def test_brackets_quotes_and_fences() -> None:
    for text in (
        "(a [b] {c})",
        "（一）",
        "“He said 「x」”",
        "Fine :)",
        "1) one\n2) two",
        "`(`",
        "x",
    ):
        assert balanced(text) == 1.0, text
    for text in ("(a", "ab)", "(a]", "“open", "```\nx", "[1, (2])"):
        assert balanced(text) == 0.0, text
    assert balanced(json.dumps({"text": "a ( b"})) == 1.0
    assert balanced("````\n```\nx\n````") == 1.0


def test_all_at_once() -> None:
    ending = examine(
        "The kettle costs 45 dollars. It is red.", ["45", "red|crimson", "steel", "quiet"]
    )
    assert (ending.ends, ending.fresh, ending.balanced, ending.facts) == (1.0, 1.0, 1.0, 0.5)
    assert ending.score == 0.5
    assert examine("The kettle costs 45 dol", ["45"]).score == 0.0
    assert examine("Yes.").facts == 1.0


@given(st.text(alphabet="ab.。 \n(){}[]“”`:!", max_size=40))
def test_all_are_shares_and_linear_texts_pass(text: str) -> None:
    ending = examine(text, ["a", "b"])
    for value in (ending.ends, ending.fresh, ending.balanced, ending.facts, ending.score):
        assert 0.0 <= value <= 1.0


WRITTEN = """Our **red kettle** costs 45 dollars (with tax). It is *very quiet*. 它很安静。

- It boils a litre in two minutes
- It weighs 900 grams

| Name | Price |
|------|-------|
| Red | 45 |
| Blue | 39 |

```python
price = (45 + 39)
print(price)
```

See the [manual](https://example.com/manual.html). Done.
"""


def test_what_the_landing_leaves_is_found_good() -> None:
    """Two independent judges agree on every prefix of a document."""
    for length in range(60, len(WRITTEN)):
        landing = Landing()
        landing.push(WRITTEN[:length])
        end = landing.end()
        assert end is not None
        text = WRITTEN[: end.keep] + end.closing
        assert ends_well(text) == 1.0, text[-40:]
        assert balanced(text) == 1.0, text[-40:]
