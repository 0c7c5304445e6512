"""lm-eval over HTTP gives the scores that the model gives in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from serving import Served

pytest.importorskip("lm_eval")

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from onesec import LLM

pytestmark = pytest.mark.clients

QUESTIONS = [
    {"question": "The sky is", "choices": ["blue", "a fish", "seven"], "answer": 0},
    {"question": "Good morning in Chinese is", "choices": ["早上好", "再见"], "answer": 0},
    {
        "question": "We open at",
        "choices": ["nine in the morning", "the door of cheese"],
        "answer": 0,
    },
    {"question": "Two and two are", "choices": ["five", "four"], "answer": 1},
]
TASK = """\
task: ours
dataset_path: json
dataset_kwargs:
  data_files: {{test: "{file}"}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: choices
target_delimiter: " "
metric_list:
  - metric: acc
"""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    lines = "\n".join(json.dumps(question) for question in QUESTIONS)
    (tmp_path / "questions.json").write_text(lines)
    (tmp_path / "ours.yaml").write_text(TASK.format(file=tmp_path / "questions.json"))
    return TaskManager(include_path=str(tmp_path), include_defaults=False)


def in_process(llm: LLM, question: str, choice: str) -> float:
    """log p(choice | question), in tokens as the tool has them: the question's own, the rest."""
    whole = llm.tokenizer.encode(f"{question} {choice}")
    known = len(llm.tokenizer.encode(question))
    told = llm.generate(list(whole), max_tokens=1, prompt_logprobs=True).prompt_logprobs
    return sum(value for value in told[known:] if value is not None)


def test_the_scores_are_those_of_the_model(server: Served, tooled: Path, task: TaskManager) -> None:
    found: Any = simple_evaluate(
        model="local-completions",
        model_args={
            "model": "onesec-tools",
            "base_url": f"{server.url}/v1/completions",
            "tokenizer_backend": "remote",
            "num_concurrent": 1,
            "max_retries": 1,
        },
        tasks=["ours"],
        task_manager=task,
        batch_size=4,
        log_samples=True,
        bootstrap_iters=0,
    )
    samples = found["samples"]["ours"]
    assert len(samples) == len(QUESTIONS)
    with LLM(tooled, threads=1) as llm:
        for sample in samples:
            doc = sample["doc"]
            for choice, response in zip(doc["choices"], sample["filtered_resps"], strict=True):
                expected = in_process(llm, doc["question"], choice)
                assert float(response[0]) == pytest.approx(expected, abs=1e-3)
