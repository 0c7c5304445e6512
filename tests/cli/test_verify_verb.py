"""`onesec verify`: the shipped model works here; what is wrong with a model is told."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from onesec.cli.main import main
from onesec.cli.verify import _sound

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from export_models import prepared


def test_the_shipped_model_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "onesec-mini", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"]
    assert all(check["passed"] for check in told["checks"])
    gears = [each["gear"] for each in told["latency"]]
    assert gears == list(told["answers"])
    # Beside the gears that requests may have, what 8 bits can do at best.
    assert [each["gear"] for each in told["quality"]] == [*gears, "w8a16"]
    assert told["reference"] is None  # an artifact has no 16-bit width


def test_a_checkpoint_is_held_against_its_own_16_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepared("llama-tied", tmp_path / "model")
    assert main(["verify", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["passed"]
    failed = {check["name"]: check["detail"] for check in told["checks"] if not check["passed"]}
    assert "came back as" in failed["tokenizer"]  # its words are no English
    quality = {each["gear"]: each["kld_mean"] for each in told["quality"]}
    assert quality["w8a16"] < quality["8"] < quality["4"]
    assert told["reference"]["gear"] == "16"


def test_people_are_told_which_check_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepared("llama-tied", tmp_path / "model")
    assert main(["verify", str(folder)]) == 1
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "w8a16" in captured.out
    assert "a check failed" in captured.err


@pytest.mark.parametrize("found", [math.nan, math.inf])
def test_one_gear_that_computes_nonsense_is_enough(found: float) -> None:
    records = [{"gear": "4", "perplexity": 9.0}, {"gear": "8", "perplexity": found}]
    assert not _sound(records, None).passed
    assert _sound(records[:1], None).passed
