"""The `llm` command: its extra-openai-models.yaml is all that it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import Served

pytest.importorskip("llm")

pytestmark = pytest.mark.clients

CONFIG = """\
- model_id: ours
  model_name: onesec-tools
  api_base: "{url}/v1"
  api_key_name: ours
"""


def run(home: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm", *words],
        env={**os.environ, "LLM_USER_PATH": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(server: Served, tmp_path: Path) -> Path:
    (tmp_path / "extra-openai-models.yaml").write_text(CONFIG.format(url=server.url))
    run(tmp_path, "keys", "set", "ours", "--value", "none")
    return tmp_path


def test_it_lists_and_asks_the_model(home: Path) -> None:
    assert "ours" in run(home, "models")
    streamed = run(home, "-m", "ours", "When do you open?", "-o", "temperature", "0")
    whole = run(home, "-m", "ours", "When do you open?", "-o", "temperature", "0", "--no-stream")
    assert streamed.strip()
    assert streamed == whole
