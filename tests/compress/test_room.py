"""What is kept for reports and headers holds them, however deep the model is; and what is said of a
size is what the files take."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.compress.report import write_judged_reports, write_reports
from onesec.compress.room import room_of
from onesec.compress.target import Target
from onesec.core.gear import Gear
from onesec.model.config import ModelConfig
from onesec.model.ladder import MAX_GEARS, gear_records, sublayers
from onesec.model.names import required_vectors
from onesec.model.partfolder import written_bytes
from onesec.model.planes import packed_names, packed_shape, plane_bytes
from onesec.model.safetensors import ENTRY_BYTES
from onesec.model.shapes import shape

FIGURES = ("kld_mean", "kld_p99", "same_top", "perplexity_ratio")


def _model(layers: int) -> ModelConfig:
    config = shape("tiny")
    return replace(config, num_layers=layers, layers=config.layers[:1] * layers)


def _record(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The longest that a report can be: as many gears as there may be, of uneven numbers."""
    figures = {f"{name}{end}": 0.012345678901234567 for name in FIGURES for end in ("", "_se")}
    figures |= {"tokens": 4096, "kld_max": 1.2345678901234567}
    times = dict.fromkeys(("bytes_per_token", "step_ms", "predicted_ms", "predicted_kld"), 1 / 3)
    losses = dict.fromkeys(names, 1.2345678901234568e-05)
    gears = [
        {"name": f"g{i}", **times, "widths": dict.fromkeys(names, 8), "fine": names[::4], **figures}
        for i in range(1, MAX_GEARS)
    ]
    target = {"gear": "g1", "met": True, "why": "", "asked_ms": None, "predicted_ms": 1 / 3}
    skipped = {pair[0]: 1.2345678901234567e-05 for pair in pairs}
    return {
        **dict.fromkeys(("model", "output", "text", "onesec"), "a" * 60),
        "machine": {"cpu": "a" * 200},
        "recipe": {},
        "target": target,
        "gears": gears,
        "parameters": 1,
        "plane_bytes": 1,
        "calibration": None,
        "narrow": names,
        "losses": {"all_8": 1 / 3, "at_4": losses, "fine": losses, "skipped": skipped},
        "costs": {"base_ms": 1 / 3, "second_plane_ms": {}, "fine_ms": {}, "skip_saves_ms": {}},
    }


@pytest.mark.parametrize("layers", [1, 2, 30, 120])
def test_reports_and_headers_have_room_and_not_much_more(layers: int, tmp_path: Path) -> None:
    config = _model(layers)
    pairs = sublayers(config)
    names = [name for pair in pairs for name in pair] + ["head"]
    record = _record(names, pairs)
    write_reports(tmp_path, record)
    gears = [
        Gear(f"g{i}", 8, dict.fromkeys(names[::2], 4), fine=frozenset(names[::4]))
        for i in range(1, MAX_GEARS)
    ]
    told = {name: value for name, value in record["gears"][0].items() if name.startswith(FIGURES)}
    told_of = gear_records(gears, {gear.name: told for gear in gears})
    listed = json.dumps({"gears": told_of, "narrow": names}, indent=1)
    (tmp_path / "gears.json").write_text(listed)
    entries = 3 * len(packed_names(config)) + len(required_vectors(config)) + 2
    used = sum(file.stat().st_size for file in tmp_path.iterdir()) + ENTRY_BYTES * entries
    sizes = [packed_shape(config, name) for name in packed_names(config)]
    weights = sum(plane_bytes(*size)[0] + 4 * size[0] for size in sizes)
    kept = room_of(config, 0).least_bytes - weights
    assert used <= kept <= 1.4 * used


@settings(deadline=None, max_examples=60)
@given(
    away=st.one_of(st.integers(-400, 400), st.integers(-20_000, 20_000)),
    target=st.sampled_from(
        [
            Target("4", True, "", None, 0.1),
            Target("g10", True, "", 12.0, 11.5),
            Target("4", False, "the quickest gear needs 3 ms of 2", 2.0, 3.0),
        ]
    ),
)
def test_what_is_said_of_a_size_is_what_the_files_take(
    tmp_path_factory: pytest.TempPathFactory, away: int, target: Target
) -> None:
    folder = tmp_path_factory.mktemp("out")
    (folder / "model.safetensors").write_bytes(bytes(10_000))
    pairs = sublayers(_model(2))
    record = _record([name for pair in pairs for name in pair] + ["head"], pairs)
    record["target"] = asdict(target)
    write_reports(folder, record)
    asked = written_bytes(folder) + away
    judged = write_judged_reports(folder, record, target, asked)
    taken = written_bytes(folder)
    assert judged.met is (target.met and taken <= asked)
    assert (f"{taken:,} bytes, and {asked:,} were asked for" in judged.why) is (taken > asked)
    assert target.why in judged.why
    read = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert read["target"] == asdict(judged)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert ("Not met" in page) is not judged.met
