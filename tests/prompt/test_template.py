"""ChatTemplate: which source is taken, what a message may be, and typed errors for the rest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from onesec.core.errors import EmptyPrompt, InvalidRequest
from onesec.prompt.template import ChatTemplate

PLAIN = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
HI = [{"role": "user", "content": "hi"}]


def test_named_templates() -> None:
    template = ChatTemplate({"default": "plain", "tool_use": "tools {{ tools | length }}"})
    assert template.render(HI) == "plain"
    assert template.render(HI, tools=[{"type": "function"}]) == "tools 1"
    assert ChatTemplate({"odd": "x"}).render(HI) == "x"


def test_no_template_says_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match="generate"):
        ChatTemplate({})


def test_special_tokens_and_variables() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{{ enable_thinking }}", special_tokens={"bos_token": "<s>"}
    )
    assert template.render(HI, enable_thinking=False) == "<s>False"
    with pytest.raises(InvalidRequest, match="bos_token"):
        template.render(HI, bos_token="x")
    with pytest.raises(InvalidRequest):
        template.render(HI, enable_thinking="yes")


def test_the_date_comes_from_the_caller() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", now=lambda: datetime(2024, 7, 26))
    assert template.render(HI) == "26 Jul 2024"


def test_continue_final_message() -> None:
    template = ChatTemplate(PLAIN + "END")
    last = [*HI, {"role": "assistant", "content": "Well, "}]
    text = template.render(last, add_generation_prompt=False, continue_final_message=True)
    assert text == "user=hi;assistant=Well, "
    with pytest.raises(InvalidRequest):
        template.render(last, continue_final_message=True)
    with pytest.raises(InvalidRequest, match="does not write"):
        ChatTemplate("x").render(last, add_generation_prompt=False, continue_final_message=True)


def test_protect_sees_every_text() -> None:
    template = ChatTemplate("{{ messages | tojson }}{{ tools | tojson }}")
    text = template.render(
        [
            {"role": "user", "content": [{"type": "text", "text": "<s>1"}], "name": "<s>2"},
            {
                "role": "assistant",
                "content": "<s>3",
                "reasoning_content": "<s>4",
                "tool_calls": [{"function": {"name": "<s>5", "arguments": '{"<s>6": "<s>7"}'}}],
            },
            {"role": "tool", "content": "<s>8", "tool_call_id": "<s>9"},
        ],
        tools=[{"<s>10": ["<s>11"]}],
        protect=lambda t: t.replace("<s>", "_"),
    )
    assert "<s>" not in text
    assert all(f"_{i}" in text for i in range(1, 12))


def test_escapes_in_arguments_spell_no_special_token() -> None:
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments | tojson }}")
    call = {"function": {"name": "w", "arguments": '{"\\u003cs>": ["\\u003cs>"]}'}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    protected = template.render([message], protect=lambda t: t.replace("<s>", "_"))
    assert protected == '{"_": ["_"]}'


def test_arguments_in_json_become_objects() -> None:
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments.town }}")
    call = {"function": {"name": "w", "arguments": '{"town": "Paris"}'}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert template.render(messages) == "Paris"
    assert call["function"] == {"name": "w", "arguments": '{"town": "Paris"}'}


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "message",
    [
        "hi",
        {},
        {"role": "user"},
        {"role": "robot", "content": "x"},
        {"role": ["user"], "content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": None},
        {"role": "user", "content": b"x"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": ["x"]},
        {"role": "user", "content": "x", "name": 5},
        {"role": "user", "content": "x", "trust": "me"},
        {"role": "assistant", "content": "x", "tool_calls": "x"},
        {"role": "assistant", "content": "x", "tool_calls": [5]},
        {"role": "assistant", "content": "x", "tool_calls": [{"f": object()}]},
        {"role": "assistant", "content": "x", "tool_calls": [{"f": deep(50)}]},
        {"role": "assistant", "content": "x", "tool_calls": [{5: "x"}]},
    ],
)
def test_malformed_messages(message: Any) -> None:
    with pytest.raises(InvalidRequest):
        ChatTemplate(PLAIN).render([message])


def test_no_or_too_many_messages() -> None:
    with pytest.raises(EmptyPrompt):
        ChatTemplate(PLAIN).render([])
    with pytest.raises(InvalidRequest, match="4096"):
        ChatTemplate(PLAIN).render(HI * 4097)


def test_a_failing_template_is_a_typed_error() -> None:
    with pytest.raises(InvalidRequest, match="failed"):
        ChatTemplate("{{ messages[0].content + 1 }}").render(HI)
    with pytest.raises(InvalidRequest, match="failed"):
        ChatTemplate("{{ nothing.at.all }}").render(HI)
    with pytest.raises(InvalidRequest, match=r"failed at these messages \(TypeError\)"):
        ChatTemplate("{{ messages[0].content + 1 }}").render(HI)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{{ m.content + '|' }}{% endfor %}", "Hi||"),
        ("{% for m in messages %}{{ m['content'] | trim }}|{% endfor %}", "Hi||"),
        ("{% for m in messages %}{% if m['content'] is none %}call{% endif %}{% endfor %}", "call"),
        (
            "{% for m in messages if m.content != none %}{{ m.content }}{% endfor %}",
            "Hi",
        ),
        ("{% for m in messages %}{% if m.content is string %}s{% endif %}{% endfor %}", "ss"),
    ],
)
def test_a_call_of_tools_may_have_no_content(source: str, text: str) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    for message in (call, {k: v for k, v in call.items() if k != "content"}):
        assert ChatTemplate(source).render([{"role": "user", "content": "Hi"}, message]) == text


def test_message_fields_win_over_dict_methods() -> None:
    template = ChatTemplate("{{ tools[0].pop }}")
    assert template.render(HI, tools=[{"pop": "music"}]) == "music"
