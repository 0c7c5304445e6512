import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.budget.json_end import End, JsonScan

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def scanned(text: str) -> JsonScan:
    scan = JsonScan()
    scan.push(text)
    return scan


def closed(text: str, floor: int = 0) -> str | None:
    end = scanned(text).end(floor)
    return None if end is None else text[: end.keep] + end.closing


CASES = [
    ("{", "{}"),
    ("[1, 2", "[1]"),
    ("[1, 2 ", "[1, 2]"),
    ('{"a": 1, "b', '{"a": 1}'),
    ('{"a": 1, "b"', '{"a": 1}'),
    ('{"a": 1, "b":', '{"a": 1}'),
    ('{"a": 1,', '{"a": 1}'),
    ('{"a": tr', '{"a": true}'),
    ('{"a": "Hello. How are y', '{"a": "Hello."}'),
    ('{"a": "Hello wor', '{"a": "Hello"}'),
    ('["red, green,', '["red, green,"]'),
    ('{"a": "你好，世', '{"a": "你好，世"}'),
    ('{"a": "x\\', '{"a": "x"}'),
    ('{"a": "x\\u12', '{"a": "x"}'),
    ('{"a": "x\\ud83d', '{"a": "x"}'),
    ('{"a": "x\\ud83d\\ude00', '{"a": "x\\ud83d\\ude00"}'),
    ('{"a": "Yes.\\nNo', '{"a": "Yes."}'),
    ('{"a": {"b": [1, {"c": -', '{"a": {"b": [1, {}]}}'),
    ('  {"a": 1}  ', '  {"a": 1}'),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_closes_with_what_is_worth_keeping(text: str, expected: str) -> None:
    assert closed(text) == expected


APPENDED = [
    ("[1, 2", "[1, 2]"),
    ("[-", "[-0]"),
    ("[1.", "[1.0]"),
    ("[1e+", "[1e+0]"),
    ('{"a": 1, "b', '{"a": 1, "b":null}'),
    ('{"a": 1, "a', '{"a": 1, "a_":null}'),
    ('{"a": 1,', '{"a": 1,"":null}'),
    ('{"": 1,', '{"": 1,"_":null}'),
    ('{"a"', '{"a":null}'),
    ('{"a":', '{"a":null}'),
    ('["x\\', '["x\\\\"]'),
    ('["x\\u12', '["x\\u1200"]'),
    ('["x\\ud83d', '["x\\ud83d\\udc00"]'),
    ('["x\\ud8', '["x\\ud800\\udc00"]'),
    ('{"a": {"b": 1}, "b', '{"a": {"b": 1}, "b":null}'),
    ('["x\\ud83d\\', '["x\\ud83d\\udc00"]'),
    ('["x\\ud83d\\ud', '["x\\ud83d\\udc00"]'),
    ('["Hello wor', '["Hello wor"]'),
]


@pytest.mark.parametrize(("text", "expected"), APPENDED)
def test_only_appends_to_what_was_shown(text: str, expected: str) -> None:
    assert closed(text, len(text)) == expected
    json.loads(expected)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]), st.data())
def test_any_prefix_of_any_json_closes_to_valid_json(
    value: object, ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    length = data.draw(st.integers(1, len(text)))
    floor = data.draw(st.integers(0, length))
    prefix = text[:length]
    end = scanned(prefix).end(floor)
    assert end is not None
    assert floor <= end.keep <= length
    found = json.loads(prefix[: end.keep] + end.closing)
    json.dumps(found, ensure_ascii=False).encode()  # no half of a pair
    if length == len(text):
        whole = prefix[: end.keep] + end.closing
        assert json.loads(whole) == value


@settings(max_examples=200, deadline=None)
@given(VALUES, st.randoms())
def test_pieces_do_not_matter(value: object, rng: random.Random) -> None:
    text = json.dumps(value)
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(3))
    whole, pieces = scanned(text), JsonScan()
    for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
        pieces.push(text[a:b])
    assert (whole.ok, whole.done, whole.stable) == (pieces.ok, pieces.done, pieces.stable)
    assert whole.end() == pieces.end()


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_what_is_kept_is_part_of_the_value(value: object, data: st.DataObject) -> None:
    """Trimmed back, nothing is made up: members, elements and ends of strings are lost."""
    text = json.dumps(value)
    prefix = text[: data.draw(st.integers(1, len(text)))]
    if prefix[0] in "-0123456789":
        return  # a bare number cannot be trimmed to nothing

    def part(found: object, whole: object) -> bool:
        if isinstance(found, dict) and isinstance(whole, dict):
            return all(key in whole and part(value, whole[key]) for key, value in found.items())
        if isinstance(found, list) and isinstance(whole, list):
            return all(part(a, b) for a, b in zip(found, whole, strict=False))
        if isinstance(found, str) and isinstance(whole, str):
            return whole.startswith(found)
        return found == whole

    found = closed(prefix)
    assert found is not None
    assert part(json.loads(found), value)


@pytest.mark.parametrize(
    "text",
    ["{name}", "[link](x)", "[1] See", '{"a" 1}', "{'a'", "[1,]", "[01", "tru e", '["\n"]', "[1}",
     '["\\x"]', "{,", "nulll", "[1 2", "--1", "1..", '{"a":1}}'],
)  # fmt: skip
def test_what_is_no_json_is_seen(text: str) -> None:
    assert not scanned(text).ok
    assert scanned(text).end() is None


def test_done_and_settled() -> None:
    assert scanned('{"a": [1]}').done
    assert not scanned('{"a": [1]').done
    assert scanned('{"a": 1, "b": "x"').settled() == End(17, "}")
    assert scanned('{"a": 1, "b": "One. Tw').settled() is None
    assert scanned('{"a": 1, "b": "One.').settled() == End(19, '"}')
    assert scanned('{"a": 1, ').settled() is None
    assert scanned('{"a": 1').settled() is None  # more digits may come
    assert scanned('{"a": "One.\\').settled() is None
    assert scanned("[").settled() is None


def test_deep_nesting_closes() -> None:
    assert closed("[" * 20000) == "[" * 20000 + "]" * 20000
