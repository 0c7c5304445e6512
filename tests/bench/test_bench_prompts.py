"""Prompts of one's own: what a file may hold, and what is said of one that holds something else."""

import json
import os
import re
import runpy
from pathlib import Path

import pytest

from onesec.bench.questions import PROMPT_TOKENS, of_prompts
from onesec.core.errors import InvalidRequest
from onesec.loading import LoadedModel, load_model

SHARED = Path(os.environ.get("ONESEC_SHARED", Path(__file__).parents[3] / "shared"))
STORIES = SHARED / "models" / "tinystories-656k-hf"


@pytest.fixture(scope="module")
def mini():
    with load_model("onesec-mini", context=512, threads=1) as loaded:
        yield loaded


def written(folder: Path, *lines: object) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return path


def test_prompts_become_messages_of_a_chat_model(mini: LoadedModel, tmp_path: Path) -> None:
    asked = {"role": "user", "content": "When do you open?"}
    path = written(
        tmp_path, {"prompt": "When do you open?"}, {"messages": [asked], "max_tokens": 7}
    )
    first, second = of_prompts(mini, path)
    assert first.prompt_tokens == second.prompt_tokens == tuple(mini.render([asked]))
    assert (first.params.max_tokens, second.params.max_tokens) == (PROMPT_TOKENS, 7)
    assert (first.id, second.id, first.group) == ("mine-1", "mine-2", "mine")
    assert (first.worth("Nine.", True), first.worth("Ni", False)) == (1.0, 0.0)


def test_a_line_ends_at_a_line_feed_alone(mini: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "One\u2028two\u0085three"}\r\n{"prompt": "?"}\n', newline="")
    assert [question.id for question in of_prompts(mini, path)] == ["mine-1", "mine-2"]


@pytest.mark.shared
@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared folder is not there")
def test_prompts_are_continued_by_a_model_that_does_not_chat(tmp_path: Path) -> None:
    with load_model(STORIES, context=512, threads=1) as loaded:
        [question] = of_prompts(loaded, written(tmp_path, {"prompt": "Once upon a time"}))
        start = loaded.tokenizer.encode("Once upon a time", add_bos=True)
    assert question.prompt_tokens == tuple(start)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"question": "?"}, "prompt"),
        ({"prompt": ["?"]}, "prompt"),
        (["?"], "prompt"),
        ({"prompt": "?", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "?", "max_tokens": 1000}, "max_tokens"),
        ({"messages": "hello"}, "messages"),
        ({"messages": 5}, "int"),
        ({"prompt": "word " * 700}, "512"),
    ],
)
def test_a_bad_line_is_told_by_its_number(
    mini: LoadedModel, tmp_path: Path, line: object, why: str
) -> None:
    path = written(tmp_path, {"prompt": "Good."}, line)
    with pytest.raises(InvalidRequest, match="line 2") as caught:
        of_prompts(mini, path)
    assert why in str(caught.value)
    assert "max_tokens" in (caught.value.hint or "")


def test_a_file_that_cannot_be_read_is_told(mini: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("cannot be read")):
        of_prompts(mini, tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text("no JSON\n")
    with pytest.raises(InvalidRequest, match="line 1"):
        of_prompts(mini, tmp_path / "bad.jsonl")


def test_stories_begin_in_their_first_sentence(tmp_path: Path, capsys) -> None:
    path = tmp_path / "stories.txt"
    path.write_text(
        "Once upon a time there was a small dog who ran.<|endoftext|>\n"
        "Run. The dog ran far away to the big red house.<|endoftext|>\n"
        "Too short."
    )
    script = Path(__file__).parents[2] / "bench" / "story_prompts.py"
    runpy.run_path(str(script))["main"](path)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prompt"] for line in lines] == ["Once upon a time there was a small dog who"]
