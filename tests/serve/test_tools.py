"""Calls of tools: found in text however it is cut, and given back as OpenAI's objects."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import doors
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import live

from onesec.serve.forcing import ForcedText
from onesec.serve.tools import Style, ToolText, style_of

CALLS: list[tuple[Style, str]] = [
    ("hermes", '<tool_call>\n{"name": "f", "arguments": {"x": "<1>"}}\n</tool_call>'),
    ("mistral", '[TOOL_CALLS][{"name": "f", "arguments": {"x": "<1>"}}]'),
    ("mistral", '[TOOL_CALLS]f[ARGS]{"x": "<1>"}'),
    ("llama3", '{"name": "f", "parameters": {"x": "<1>"}}'),
    ("llama3", '<|python_tag|>{"name": "f", "parameters": {"x": "<1>"}}'),
]


def read(style: Style, text: str, cuts: list[int]) -> tuple[str, list[tuple[str, Any]]]:
    tools = ToolText(style, {"f", "g"})
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    shown = "".join(tools.push(text[a:b]) for a, b in pairwise(edges))
    shown += tools.end()
    return shown, [(call.name, json.loads(call.arguments)) for call in tools.calls]


@pytest.mark.parametrize(("style", "text"), CALLS)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_a_call_is_found_however_it_is_cut(style: Style, text: str, cuts: list[int]) -> None:
    assert read(style, text, cuts) == ("", [("f", {"x": "<1>"})])
    if style != "llama3":
        assert read(style, "Well, " + text, cuts) == ("Well, ", [("f", {"x": "<1>"})])


@pytest.mark.parametrize(("style", "text"), CALLS)
@given(cuts=st.lists(st.integers(0, 200), max_size=12), end=st.integers(1, 60))
def test_half_a_call_is_text(style: Style, text: str, cuts: list[int], end: int) -> None:
    half = text[:-end]
    shown, calls = read(style, half, cuts)
    assert (shown, calls) == (half, [])


@pytest.mark.parametrize("style", ["hermes", "mistral", "llama3"])
@given(text=st.text(alphabet='<tool_call>/[TOOL_CALLS]{"name": "f"}\\;|', max_size=60))
def test_nothing_is_lost_or_raised(style: Style, text: str) -> None:
    shown, calls = read(style, text, [3, 7, 20])
    assert calls or shown == text


def test_several_calls_and_strangers() -> None:
    one = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    two = '<tool_call>{"name": "g", "arguments": "{\\"a\\": 1}"}</tool_call>'
    assert read("hermes", f"{one}\n{two}", [])[1] == [("f", {}), ("g", {"a": 1})]
    stranger = '<tool_call>{"name": "rm", "arguments": {}}</tool_call>'
    assert read("hermes", one + stranger, []) == (one + stranger, [])
    bare = '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}'
    assert [name for name, _ in read("llama3", bare, [])[1]] == ["f", "g"]
    told = '{"name": "f", "parameters": {}}'
    assert read("llama3", f"Well, {told}", [6]) == (f"Well, {told}", [])
    assert read("hermes", f"{one} and so on", []) == (f"{one} and so on", [])
    assert read("llama3", '{"colour": "red"}', []) == ('{"colour": "red"}', [])
    for value in (r'"\ud83d"', "NaN", "-Infinity", "1" + "0" * 5000):  # of which none is JSON
        wrong = f'<tool_call>{{"name": "f", "arguments": {{"x": {value}}}}}</tool_call>'
        assert read("hermes", wrong, []) == (wrong, [])
    deep = "[TOOL_CALLS]" + "[" * 100_000
    assert read("mistral", deep, []) == (deep, [])


def test_the_notation_is_told_by_the_template() -> None:
    assert style_of(["{{ x }}", "{% if tools %}<tool_call>{% endif %}"]) == "hermes"
    assert style_of(["[TOOL_CALLS]"]) == "mistral"
    assert style_of(["{{ '<|python_tag|>' }}"]) == "llama3"
    assert style_of(["no tools"]) is None


TEMPLATE = (
    "{% for t in tools or [] %}{{ t.function.name }}{# <tool_call> #}{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}|{% endfor %}assistant: "
)
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HI: Any = [{"role": "user", "content": "Hi"}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": %d}}\n</tool_call>'
ANSWER = f"Well. {CALL % 1}"


def test_the_client_gets_calls_whole_and_streamed() -> None:
    with (
        live("fuser: Hi|assistant: " + ANSWER, template=TEMPLATE) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
    ):
        asked: Any = {"model": "reciter", "messages": HI, "tools": [TOOL]}
        [choice] = client.chat.completions.create(**asked).choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Well. "
        [call] = choice.message.tool_calls
        assert (call.function.name, call.function.arguments) == ("f", '{"x": 1}')
        with client.chat.completions.stream(**asked) as stream:
            final = stream.get_final_completion().choices[0]
        assert final.finish_reason == "tool_calls"
        assert final.message.content == "Well. "
        [streamed] = final.message.tool_calls
        assert (streamed.function.name, streamed.function.arguments) == ("f", '{"x": 1}')
        one = client.chat.completions.create(**asked, parallel_tool_calls=False).choices[0]
        assert len(one.message.tool_calls) == 1


def test_calls_beside_each_other_are_told_in_order_or_only_the_first() -> None:
    text = f"fuser: Hi|assistant: {CALL % 1}{CALL % 2}"
    with (
        live(text, template=TEMPLATE) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
    ):
        asked: Any = {"model": "reciter", "messages": HI, "tools": [TOOL]}
        calls = client.chat.completions.create(**asked).choices[0].message.tool_calls
        assert [json.loads(call.function.arguments)["x"] for call in calls] == [1, 2]
        chunks = list(client.chat.completions.create(**asked, stream=True))
        told = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls]
        assert [call.index for call in told] == [0, 1]
        [call] = (
            client.chat.completions.create(**asked, parallel_tool_calls=False)
            .choices[0]
            .message.tool_calls
        )
        assert json.loads(call.function.arguments) == {"x": 1}


def test_a_model_without_tools_says_so() -> None:
    with live() as server, server.client() as client:
        response = client.post("/v1/chat/completions", json={"messages": HI, "tools": [TOOL]})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "tools"
        plain = {"messages": HI, "tools": [TOOL], "tool_choice": "none"}
        assert client.post("/v1/chat/completions", json=plain).status_code == 200


@pytest.mark.parametrize("value", ["5", "null", "true", "2.5", '"f"', "{}"])
def test_what_is_no_list_of_calls_is_text(value: str) -> None:
    text = f"[TOOL_CALLS] {value}"
    assert read("mistral", text, []) == (text, [])


def test_a_forced_call_may_say_that_its_form_is_text() -> None:
    asked = {
        "messages": HI, "tools": [TOOL], "tool_choice": "required",
        "response_format": {"type": "text"},
    }  # fmt: skip
    with live("fuser: Hi|assistant: ", template=TEMPLATE) as server, server.client() as client:
        refused = client.post("/v1/chat/completions", json=asked).json()
        asked["response_format"] = {"type": "json_object"}
        formed = client.post("/v1/chat/completions", json=asked).json()
    assert refused.get("error", {}).get("param") != "response_format"
    assert formed["error"]["param"] == "response_format"


def test_a_mark_that_is_a_token_counts_where_the_text_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doors, "Characters", doors.Marking)
    call = '[{"name": "f", "arguments": {}}]'
    text = f"fuser: Hi|assistant: {chr(doors.Marking.marking)}{call}\n\nmore"
    asked = {"messages": HI, "tools": [TOOL], "stop": "\n\nmore"}
    template = TEMPLATE.replace("<tool_call>", "[TOOL_CALLS]")
    with live(text, template=template) as server, server.client() as client:
        [choice] = client.post("/v1/chat/completions", json=asked).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [found] = choice["message"]["tool_calls"]
    assert found["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(("style", "text"), CALLS)
def test_ids_are_those_that_templates_take(style: Style, text: str) -> None:
    """Mistral's refuse what is not nine letters and digits, also in what a client sends back."""
    tools = ToolText(style, {"f"})
    tools.push(text)
    tools.end()
    forced = ForcedText(None)
    forced.push('{"name": "f", "arguments": {}}')
    ids = {tools.calls[0].id, forced.deltas()[0]["tool_calls"][0]["id"]}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", each) for each in ids)
