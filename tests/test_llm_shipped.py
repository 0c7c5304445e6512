"""The doors on the shipped model: from its folder to an answer, on real time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onesec._native")

import onesec
from onesec import LLM, SamplingParams

SHIPPED = Path(onesec.__file__).parent / "assets" / "onesec-mini"
MESSAGES = [{"role": "user", "content": "How much is the blue kettle?"}]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles are measured for the test, and kept nowhere else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def mini() -> Iterator[LLM]:
    with LLM("onesec-mini", threads=1) as llm:
        yield llm


def test_generation_config_is_the_default_and_goes_into_the_artifact(tmp_path: Path) -> None:
    folder, artifact = tmp_path / "model", tmp_path / "artifact"
    shutil.copytree(SHIPPED, folder)
    file = folder / "generation_config.json"
    values = json.loads(file.read_text())
    values |= {"do_sample": True, "temperature": 0.7, "top_k": 20, "max_new_tokens": 6}
    file.write_text(json.dumps(values))
    advice = SamplingParams(temperature=0.7, top_k=20, max_tokens=6)
    with LLM(folder, threads=1) as llm:
        assert llm.default_params == advice
        output = llm.chat(MESSAGES, ignore_eos=True)
        assert len(output.tokens) == 6
        assert output.trace.sampling == {"temperature": 0.7, "top_k": 20, "max_tokens": 6}
        llm.save(artifact)
    assert (artifact / file.name).read_bytes() == file.read_bytes()
    with LLM(artifact, threads=1) as llm:
        assert llm.default_params == advice
