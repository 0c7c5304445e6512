"""The doors on the shipped model: from its folder to an answer, on real time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onesec._native")

import onesec
from onesec import LLM, DeadlineInfeasible, SamplingParams

SHIPPED = Path(onesec.__file__).parent / "assets" / "onesec-mini"
MESSAGES = [{"role": "user", "content": "How much is the blue kettle?"}]


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Profiles are measured once for these tests, and kept nowhere else."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


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


def _refusal(llm: LLM, messages: list[dict[str, str]], deadline: float | str) -> float | None:
    """The budget in ms that is offered instead; None where the request is accepted."""
    try:
        output = llm.chat(messages, deadline=deadline)
    except DeadlineInfeasible as refusal:
        return refusal.feasible_ms
    # On a machine that stalls just then it may come late or be empty, but then it says so.
    in_time = output.elapsed_ms <= (output.trace.budget_ms or 0.0)
    assert output.met is (in_time and (bool(output.tokens) or output.ending == "natural"))
    return None


def test_a_budget_too_small_for_the_prompt_is_refused_and_the_offer_works() -> None:
    facts = " ".join(f"The lamp of size {i} costs {i + 10} dollars." for i in range(60))
    long = [{"role": "system", "content": facts}, *MESSAGES]
    with LLM("onesec-mini", threads=1) as llm:
        with pytest.raises(DeadlineInfeasible, match=r"^A budget of 0\.5 ms cannot be met"):
            llm.chat(long, deadline="0.5ms")
        offer, short = _refusal(llm, long, "0.5ms"), _refusal(llm, MESSAGES, "0.5ms")
        assert offer is not None
        assert short is not None
        assert 0.5 < short < offer  # a shorter prompt fits into less
        # What was spent before the plan may differ from call to call, so an offer may be renewed.
        for _ in range(5):
            if (offer := _refusal(llm, long, offer / 1e3)) is None:
                break
        assert offer is None
