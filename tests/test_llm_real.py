"""The doors on a trained checkpoint: real weights, real text, the native engine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onesec._native")

from onesec import LLM, DeadlineInfeasible
from onesec.cli.main import main

SHARED = Path(os.environ.get("ONESEC_SHARED", Path(__file__).parents[2] / "shared"))
CHAT = SHARED / "models" / "chat-3m-hf"
PROMPT = "User: hey, how are you?\nBot:"
REPLY = "I'm good, thanks for asking. How about you?"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not CHAT.is_dir(), reason="the shared folder is not there"),
]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    with LLM(CHAT, threads=1, reference=True) as llm:
        yield llm
    patch.undo()


@pytest.mark.parametrize("gear", ["8", "16"])
def test_it_says_what_it_is_known_to_say(chat: LLM, gear: str) -> None:
    output = chat.generate(PROMPT, gear=gear, max_tokens=40)
    assert output.text.strip() == REPLY
    assert (output.finish_reason, output.ending) == ("stop", "natural")
    assert set(output.trace.gears) == {gear}
    assert chat.tokenizer.decode(output.tokens) == output.text


def test_streamed_and_batched_answers_are_the_same(chat: LLM) -> None:
    prompts = [PROMPT, "User: what is your name?\nBot:", "Once upon a time"]
    alone = [chat.generate(prompt, gear="8", max_tokens=24).tokens for prompt in prompts]
    together = chat.generate(prompts, gear="8", max_tokens=24)
    assert [output.tokens for output in together] == alone
    stream = chat.stream(PROMPT, gear="8", max_tokens=24)
    assert "".join(stream) == stream.output.text
    assert stream.output.tokens == alone[0]


def test_an_impossible_deadline_is_refused(chat: LLM) -> None:
    with pytest.raises(DeadlineInfeasible) as caught:
        chat.generate(PROMPT, deadline="0.01ms")
    assert caught.value.feasible_ms > 0.01


def test_evaluate_compares_with_the_sixteen_bit_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time there was a little girl. She liked to play outside. " * 12)
    assert main(["evaluate", str(CHAT), "--text", str(text), "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    four, eight = found["gears"]
    assert (four["gear"], eight["gear"], found["reference"]["gear"]) == ("4", "8", "16")
    assert 0.0 < eight["kld_mean"] < four["kld_mean"]
    assert eight["same_top"] > 0.9
    assert eight["perplexity"] == pytest.approx(found["reference"]["perplexity"], rel=0.05)
