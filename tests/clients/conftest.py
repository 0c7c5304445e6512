"""Clients that nobody here wrote, each against the command with the shipped model, on loopback.

They are installed by `make client-test`; where one is missing, its tests are skipped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Served, served

pytest.importorskip("onesec._native")

import onesec

# The shipped model's own turns, and a word on tools: how a model writes calls is told by its
# template.
TEMPLATE = (
    "{% if tools %}<|im_start|>system\nCall with <tool_call>.\n"
    "{% for tool in tools %}{{ tool.function | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def tooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a template that knows tools."""
    shipped = Path(onesec.__file__).parent / "assets" / "onesec-mini"
    folder = tmp_path_factory.mktemp("model") / "onesec-tools"
    shutil.copytree(shipped, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def server(tooled: Path) -> Iterator[Served]:
    with served(model=str(tooled)) as found:
        yield found
