"""Calls that are forced: valid whatever the notation, the schema and the time; deltas in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import jsonschema
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Live, live

pytest.importorskip("onesec._native")
pytest.importorskip("llguidance")

from onesec.core.errors import InvalidRequest
from onesec.loading import load_model
from onesec.serve.forcing import ForcedText, Forcing
from onesec.serve.tools import Style

WEATHER: Any = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "unit": {"$ref": "#/$defs/Unit"},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
        "$defs": {"Unit": {"enum": ["celsius", "fahrenheit"]}},
    },
}
ORDER: Any = {
    "name": "find_order",
    "parameters": {
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
        "additionalProperties": False,
    },
}
NOTHING: Any = {"name": "hang_up"}
ALL = [WEATHER, ORDER, NOTHING]
SCHEMAS = {f["name"]: f.get("parameters", {"maxProperties": 0}) for f in ALL}
BODY = (
    "{% for t in tools or [] %}{{ t.function | tojson }}\n{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
)
TEMPLATES: dict[str, str] = {
    "hermes": "{# <tool_call> #}" + BODY,
    "llama3": "{# <|python_tag|> #}" + BODY,
    "mistral": "{# [TOOL_CALLS] #}" + BODY,
    "mistral-args": "{# [TOOL_CALLS] [ARGS] #}" + BODY,
}
HI: Any = [{"role": "user", "content": "How warm is it in Berlin?"}]


def tools(*functions: Any) -> list[Any]:
    return [{"type": "function", "function": function} for function in functions]


def named(name: str) -> Any:
    return {"type": "function", "function": {"name": name}}


@pytest.fixture(scope="module", params=TEMPLATES)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Live]]:
    model = load_model("onesec-mini", threads=1)
    with live(template=TEMPLATES[request.param], model=model) as found:
        yield request.param, found


def call_of(choice: Any) -> tuple[str, Any]:
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    arguments = json.loads(call.function.arguments)
    jsonschema.validate(arguments, SCHEMAS[call.function.name])
    return call.function.name, arguments


@pytest.fixture(scope="module")
def client(server: tuple[str, Live]) -> Iterator[openai.OpenAI]:
    url = f"{server[1].url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as found:
        yield found


def ask(client: openai.OpenAI, **asked: Any) -> Any:
    return client.chat.completions.create(model="reciter", messages=HI, **asked)


@pytest.mark.parametrize("function", ALL, ids=lambda f: f["name"])
def test_a_named_function_is_called(client: openai.OpenAI, function: Any) -> None:
    choice = named(function["name"])
    answer = ask(client, tools=tools(*ALL), tool_choice=choice, max_tokens=200)
    assert call_of(answer.choices[0])[0] == function["name"]


def test_some_function_is_called(server: tuple[str, Live], client: openai.OpenAI) -> None:
    asked = {"tools": tools(*ALL), "tool_choice": "required", "max_tokens": 200}
    if server[0] == "mistral-args":  # its names stand outside of JSON
        with pytest.raises(openai.BadRequestError, match="Name the function"):
            ask(client, **asked)
        asked["tools"] = tools(ORDER)
    for seed in range(4):
        answer = ask(client, **asked, temperature=1.5, seed=seed, n=2)
        for choice in answer.choices:
            call_of(choice)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5, 8, 13, 21])
def test_a_call_is_whole_wherever_it_ends(client: openai.OpenAI, max_tokens: int) -> None:
    asked = {"tools": tools(WEATHER), "tool_choice": named("get_weather"), "max_tokens": max_tokens}
    name, arguments = call_of(ask(client, **asked).choices[0])
    with client.chat.completions.stream(model="reciter", messages=HI, **asked) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert call_of(streamed) == (name, arguments)


def test_a_call_is_whole_at_any_deadline(client: openai.OpenAI) -> None:
    asked: Any = {"tools": tools(WEATHER), "tool_choice": named("get_weather")}
    asked["temperature"], asked["seed"] = 2.0, 1
    deadline_ms, answered = 1.0, 0
    while answered < 6:
        try:
            found = ask(client, **asked, extra_body={"deadline_ms": deadline_ms})
        except openai.UnprocessableEntityError as refusal:
            deadline_ms = max(refusal.body["feasible_ms"], deadline_ms + 1.0)
            continue
        call_of(found.choices[0])
        deadline_ms, answered = 1.3 * deadline_ms, answered + 1


def test_deltas_come_in_openais_order(client: openai.OpenAI) -> None:
    asked: Any = {"tools": tools(WEATHER), "tool_choice": named("get_weather"), "max_tokens": 60}
    chunks = [c.choices[0] for c in ask(client, stream=True, **asked)]
    assert chunks[0].delta.role == "assistant"
    first, *rest = [c.delta.tool_calls[0] for c in chunks if c.delta.tool_calls]
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather")
    assert first.id
    assert first.function.arguments == ""
    assert len(rest) > 2  # they come as they are written
    assert all(d.index == 0 and d.id is None and d.function.name is None for d in rest)
    arguments = json.loads("".join(d.function.arguments for d in rest))
    jsonschema.validate(arguments, WEATHER["parameters"])
    assert not any(c.delta.content for c in chunks[1:])
    assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": tools(ORDER), "tool_choice": named("rm")}, "tool_choice"),
        ({"tools": tools(ORDER), "tool_choice": "always"}, "tool_choice"),
        ({"tools": tools(ORDER), "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tools"),
        ({"tools": tools(ORDER), "tool_choice": "required", "stop": "x"}, "stop"),
        (
            {
                "tools": tools(ORDER),
                "tool_choice": "required",
                "response_format": {"type": "json_object"},
            },
            "response_format",
        ),
        ({"tools": tools({"name": "f", "parameters": 3}), "tool_choice": named("f")}, None),
        (
            {
                "tools": tools({"name": "f", "parameters": {"type": "string"}}),
                "tool_choice": named("f"),
            },
            None,
        ),
    ],
)
def test_what_cannot_be_forced_is_told(
    client: openai.OpenAI, asked: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **asked)
    assert caught.value.param == param


def test_other_choices_are_what_they_were(client: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        # Of a template that it has not learned the model may have nothing to say.
        more = {"min_tokens": 4}
        found = ask(client, tools=tools(ORDER), tool_choice=choice, max_tokens=4, extra_body=more)
        assert found.choices[0].message.content


# -- the parts ---------------------------------------------------------------------------------

ARGUMENTS = '{"a": "}\\"{", "b": [{}, {"c": "]"}], "d": "\\\\"}'
TEXTS = [
    (None, f'{{"name": "f", "arguments": {ARGUMENTS}}}'),
    (None, f'[{{"name":"f","parameters":{ARGUMENTS}}}]'),
    ("f", ARGUMENTS),
    ("f", f" {ARGUMENTS} "),
]


@pytest.mark.parametrize(("name", "text"), TEXTS)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_arguments_are_told_as_they_grow_however_it_is_cut(
    name: str | None, text: str, cuts: list[int]
) -> None:
    reader = ForcedText(name)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    told: list[Any] = []
    for begin, end in pairwise(edges):
        assert reader.push(text[begin:end]) == ""
        told += reader.deltas()
    assert reader.end() == ""
    told += reader.deltas()
    first, *rest = [delta["tool_calls"][0] for delta in told]
    [call] = reader.calls
    assert (first["id"], first["function"]) == (call.id, {"name": "f", "arguments": ""})
    assert "".join(delta["function"]["arguments"] for delta in rest).strip() == ARGUMENTS
    assert call.name == "f"
    assert json.loads(call.arguments) == json.loads(ARGUMENTS)


@given(text=st.text(alphabet='[{"name": "f", "a": }]\\', max_size=60))
def test_what_is_no_call_is_text(text: str) -> None:
    reader = ForcedText(None)
    reader.push(text)
    shown = reader.end()
    assert reader.calls or shown == text


@pytest.mark.parametrize("style", ["hermes", "llama3", "mistral"])
def test_references_follow_their_schema(style: Style) -> None:
    tree: Any = {
        "properties": {"next": {"$ref": "#"}, "kind": {"$ref": "#/$defs/Kind"}},
        "$defs": {"Kind": {"enum": ["x", "y"]}},
    }
    other: Any = {"properties": {"kind": {"$ref": "#/$defs/Kind"}}, "$defs": {"Kind": {"const": 1}}}
    functions = [{"name": "f", "parameters": tree}, {"name": "g", "parameters": other}]
    schema = Forcing.of(style, [], functions).response_format["schema"]
    key = "parameters" if style == "llama3" else "arguments"

    def fits(name: str, arguments: Any) -> bool:
        call = {"name": name, key: arguments}
        value = [call] if style == "mistral" else call
        return bool(jsonschema.Draft202012Validator(schema).is_valid(value))

    assert fits("f", {"next": {"next": {"kind": "x"}}, "kind": "y"})
    assert not fits("f", {"next": {"kind": 1}})
    assert fits("g", {"kind": 1})
    assert not fits("g", {"kind": "x"})
    assert not fits("h", {})


def test_a_model_that_was_thinking_stops_first() -> None:
    words = {"<think>": 7, "</think>": 8, "<tool_call>\n": 9, "\n</think>\n\n": 8}
    tokenizer: Any = SimpleNamespace(
        added_tokens={"<think>": 7, "</think>": 8},
        chat_templates={},
        encode=lambda text, special: [words[text]],
    )
    forcing = Forcing.of("hermes", [], [ORDER])
    assert forcing.tokens([1, 7, 2], tokenizer) == (1, 7, 2, 8, 9)
    assert forcing.tokens([1, 7, 8, 2], tokenizer) == (1, 7, 8, 2, 9)


def test_names_that_cannot_be_left_open_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        Forcing.of("mistral", ["[TOOL_CALLS]x[ARGS]"], [ORDER, NOTHING])


def test_a_schema_that_nests_deep_is_refused() -> None:
    schema: Any = {}
    for _ in range(450):
        schema = {"type": "array", "items": schema}
    deep = {"name": "f", "parameters": {"properties": {"a": schema}}}
    with pytest.raises(InvalidRequest, match="nests deeper"):
        Forcing.of("hermes", [], [deep])
