"""The verbs against fakes: what they print, and with which code they end."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import recite

from onesec import llm as llm_module
from onesec.cli import chat
from onesec.cli.generate import DEFAULT_MAX_TOKENS
from onesec.cli.main import main
from onesec.core.errors import ModelNotFound
from onesec.core.request import SamplingParams

TEXT = "Once there was a fox. It lived in a wood. The end."
PROMPT = "Once there"
CONVERSATION = "user: Hi|assistant: Hello. How are you?"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Let every MODEL recite a text; gives the options that it was loaded with."""

    def prepare(text: str, *, template: bool = False) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def load(model: str, **options: Any) -> object:
            seen.update(options, model=model)
            return recite(text, template=template)[0]

        monkeypatch.setattr(llm_module, "load_model", load)
        return seen

    return prepare


def test_generate_prints_the_answer_alone(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = loads(TEXT)
    assert main(["generate", "m", PROMPT, "--threads", "2", "--kv-dtype", "i8"]) == 0
    captured = capsys.readouterr()
    assert captured.out == TEXT[len(PROMPT) :] + "\n"
    assert captured.err == ""
    assert (seen["model"], seen["threads"], seen["kv_dtype"]) == ("m", 2, "i8")
    assert seen["reference"] is False


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_streaming_changes_no_character(
    how: str, loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(TEXT)
    assert main(["generate", "m", PROMPT, how, "--stop", " wood", "--stop", "zzz"]) == 0
    assert capsys.readouterr().out == " was a fox. It lived in a\n"


def test_generate_json_has_the_whole_story(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(TEXT)
    assert main(["generate", "m", PROMPT, "--json", "--max-tokens", "4", "--gear", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == TEXT[len(PROMPT) : len(PROMPT) + 4]
    assert (found["finish_reason"], found["ending"]) == ("length", "cut")
    assert found["trace"]["gears"] == {"4": 4}


def test_generate_takes_a_policy_and_three_budgets(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(TEXT)
    budgets = ["--deadline", "60s", "--ttft", "30s", "--tpot", "2s"]
    assert main(["generate", "m", PROMPT, "--policy", "fastest", "--show", *budgets]) == 0
    told = capsys.readouterr().err
    for part in (" of 60000 ms", "gear 4:", " of 30000.0 ms", " of 2000.00 ms a token", "in time"):
        assert part in told
    assert main(["generate", "m", PROMPT, "--tpot", "0.1ms"]) != 0
    assert "per-token budget of 0.10 ms cannot be met" in capsys.readouterr().err
    assert main(["generate", "m", PROMPT, "--ttft", "soon"]) != 0
    assert "'soon' is not a duration" in capsys.readouterr().err
    assert main(["explain", "--last"]) == 0
    story = capsys.readouterr().out
    assert "The policy was fastest." in story
    assert "Each further token took" in story


def test_prompt_logprobs_are_in_the_json_one_for_each_prompt_token(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(TEXT)
    assert main(["generate", "m", PROMPT, "--json", "--max-tokens", "2", "--prompt-logprobs"]) == 0
    found = json.loads(capsys.readouterr().out)
    # The fake's logprob of a token is its number, which is its code point, below zero.
    assert found["prompt_logprobs"] == [None, *(-float(ord(char)) for char in PROMPT[1:])]
    assert main(["generate", "m", PROMPT, "--json", "--max-tokens", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt_logprobs"] == []
    assert main(["generate", "m", PROMPT, "--prompt-logprobs"]) == 2


def test_generate_shows_how_it_went(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(TEXT)
    assert main(["generate", "m", PROMPT, "--show", "--deadline", "1min"]) == 0
    line = capsys.readouterr().err
    assert "of 60000 ms" in line
    assert "natural" in line
    assert "in time" in line


def test_the_makers_advice_holds_until_an_option_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(model: str, **_: Any) -> object:
        loaded = recite("x" * 20)[0]
        loaded.default_params = advice
        return loaded

    def answer(*options: str) -> tuple[int, str]:
        assert main(["generate", "m", "x", "--raw", "--show", *options]) == 0
        captured = capsys.readouterr()
        return len(captured.out.strip()), captured.err

    monkeypatch.setattr(llm_module, "load_model", load)
    advice = SamplingParams(temperature=0.6, top_p=0.9, max_tokens=7)
    count, line = answer()
    assert (count, "temperature=0.6 top_p=0.9" in line) == (7, True)
    count, line = answer("--temperature", "0", "--top-p", "1", "--max-tokens", "9")
    assert (count, "=" in line) == (9, False)
    advice = SamplingParams()  # nobody sets an end: the command does
    assert main(["generate", "m", "x", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trace"]["sampling"] == {"max_tokens": DEFAULT_MAX_TOKENS}


def test_generate_reads_stdin(
    loads: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads(TEXT)
    stdin = io.TextIOWrapper(io.BytesIO(PROMPT.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["generate", "m", "-"]) == 0
    assert capsys.readouterr().out == TEXT[len(PROMPT) :] + "\n"


def test_generate_uses_the_template_unless_raw(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(CONVERSATION, template=True)
    assert main(["generate", "m", "Hi"]) == 0
    assert capsys.readouterr().out == "Hello. How are you?\n"
    assert main(["generate", "m", "user", "--raw"]) == 0
    assert capsys.readouterr().out == CONVERSATION[4:] + "\n"


@pytest.mark.parametrize(("template", "options"), [(True, ["--raw"]), (False, [])])
def test_a_system_message_is_not_dropped_unseen(
    template: bool,
    options: list[str],
    loads: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads(TEXT, template=template)
    assert main(["generate", "m", PROMPT, "--system", "Be kind.", *options]) == 2
    assert "--system needs" in capsys.readouterr().err


def test_an_impossible_deadline_is_exit_code_4(
    loads: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(TEXT)
    assert main(["generate", "m", PROMPT, "--deadline", "2ms"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "smallest that works" in captured.err


@pytest.mark.parametrize(
    "options",
    [
        ["--deadline", "soon"],
        ["--deadline", "-1s"],
        ["--temperature", "-1"],
        ["--gear", "5"],
        ["--threads", "0"],
    ],
)
def test_nonsense_is_exit_code_2(options: list[str], loads: Callable[..., dict[str, Any]]) -> None:
    loads(TEXT)
    assert main(["generate", "m", PROMPT, *options]) == 2


def test_bad_deadlines_are_refused_before_loading(
    loads: Callable[..., dict[str, Any]],
) -> None:
    seen = loads(TEXT)
    main(["generate", "m", PROMPT, "--deadline", "soon"])
    assert not seen


def test_a_missing_model_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(model: str, **_: Any) -> object:
        raise ModelNotFound(f"There is nothing at {model}.", hint="Check the path.")

    monkeypatch.setattr(llm_module, "load_model", load)
    assert main(["generate", "nowhere", "x"]) == 3
    assert capsys.readouterr().err == "error: There is nothing at nowhere. Check the path.\n"


def _chat(lines: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return main(["chat", "m", *options])


def test_chat_answers_remembers_and_resets(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = CONVERSATION + "|user: Hi|assistant: Good."
    loads(second, template=True)
    assert _chat("Hi\n/reset\nHi\n/quit\nnever\n", monkeypatch, "--max-tokens", "19") == 0
    captured = capsys.readouterr()
    assert captured.out == "Hello. How are you?\n" * 2
    assert "Forgotten" in captured.err
    assert _chat("Hi\nHi\n", monkeypatch, "--max-tokens", "19") == 0
    assert capsys.readouterr().out == "Hello. How are you?\nGood.\n"


def test_a_chat_says_what_of_a_long_message_is_left_out(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads(CONVERSATION, template=True)
    assert _chat("Long. " * 900 + "\n", monkeypatch) == 0
    said = capsys.readouterr().err
    assert "characters were left out" in said
    assert "error" not in said


def test_a_stray_byte_does_not_end_a_chat(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads(CONVERSATION, template=True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"H\xffi\nHi\n")))
    assert main(["chat", "m"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "Hello. How are you?\n"
    assert "stdin is not UTF-8 at byte 1 (0xFF)" in captured.err
    assert "iconv" in captured.err


@pytest.mark.parametrize("given", [("", b""), (" \n", b""), ("-", b""), ("-", b"\n")])
def test_an_empty_prompt_is_refused_before_a_model_is_loaded(
    given: tuple[str, bytes],
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = loads(CONVERSATION, template=True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given[1])))
    assert main(["generate", "m", given[0]]) == 2
    assert "The prompt is empty." in capsys.readouterr().err
    assert not seen


@pytest.mark.parametrize("verb", [["chat", "m"], ["generate", "m", "-", "--raw"], ["explain", "-"]])
def test_a_closed_stdin_is_an_empty_one(
    verb: list[str],
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads(CONVERSATION, template=True)
    monkeypatch.setattr(sys, "stdin", None)
    assert main(verb) == (0 if verb[0] == "chat" else 2)
    assert capsys.readouterr().out == ""


def test_chat_shifts_gears_and_survives_errors(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads(CONVERSATION, template=True)
    lines = "/gear 4\n" + "x" * 2000 + "\nHi\n/gear 5\n/gear\n/what\n"
    assert _chat(lines, monkeypatch) == 0
    captured = capsys.readouterr()
    assert "gear 4:" in captured.err
    assert "There is no gear '5'" in captured.err
    assert "gear auto" in captured.err
    assert "/reset" in captured.err
    assert captured.out.endswith("Hello. How are you?\n")


def test_the_exit_code_tells_a_script_that_a_question_was_not_answered(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing = iter([True, False])

    def refuse(piece: str) -> str:
        if next(failing, False):
            raise ModelNotFound("It is gone.")
        return piece

    loads(CONVERSATION, template=True)
    monkeypatch.setattr(chat, "shown", refuse)
    assert _chat("Hi\nHi\n", monkeypatch) == 1
    captured = capsys.readouterr()
    assert "error: It is gone." in captured.err
    assert captured.out == "Hello. How are you?\n"


def test_an_interrupt_ends_a_chat_that_reads_a_file(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(piece: str) -> str:
        raise KeyboardInterrupt

    loads(CONVERSATION, template=True)
    monkeypatch.setattr(chat, "shown", interrupt)
    assert _chat("Hi\nHi\nHi\n", monkeypatch) == 130
    assert "[stopped]" not in capsys.readouterr().err


def test_chat_without_a_template_is_exit_code_2(
    loads: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads(TEXT)
    assert _chat("Hi\n", monkeypatch) == 2
    assert "onesec generate" in capsys.readouterr().err


def test_generate_refuses_stdin_that_is_not_utf_8(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = "你好".encode("gb18030")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert main(["generate", "model", "-"]) == 2
    error = capsys.readouterr().err
    assert "not UTF-8 at byte 0 (0xC4)" in error
    assert "iconv" in error


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--top-p", "2"),
        ("--top-k", "-3"),
        ("--min-p", "2"),
        ("--repetition-penalty", "0"),
        ("--max-tokens", "999999999999"),
        ("--stop", ""),
        ("--deadline", "1e9s"),
        ("--deadline", "0"),
        ("--deadline", "-1"),
    ],
)
def test_values_out_of_range_are_refused_before_a_model_is_looked_for(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "no-such-model", "hi", option, value]) == 2
    assert "no-such-model" not in capsys.readouterr().err


def test_pack_looks_at_its_target_before_it_loads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    assert main(["pack", "no-such-model", "-o", str(tmp_path)]) == 2
    assert "not overwritten" in capsys.readouterr().err
