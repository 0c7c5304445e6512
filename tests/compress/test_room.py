"""What is kept for reports and headers holds them, however deep the model is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onesec.compress.report import write_reports
from onesec.compress.room import room_of
from onesec.core.gear import Gear
from onesec.model.config import ModelConfig
from onesec.model.ladder import MAX_GEARS, gear_records, sublayers
from onesec.model.names import required_vectors
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


@pytest.mark.parametrize("layers", [2, 30, 120])
def test_reports_and_headers_have_room(layers: int, tmp_path: Path) -> None:
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
    kept = gear_records(gears, {gear.name: told for gear in gears})
    listed = json.dumps({"gears": kept, "narrow": names}, indent=1)
    (tmp_path / "gears.json").write_text(listed)
    entries = 3 * len(packed_names(config)) + len(required_vectors(config)) + 2
    used = sum(file.stat().st_size for file in tmp_path.iterdir()) + ENTRY_BYTES * entries
    sizes = [packed_shape(config, name) for name in packed_names(config)]
    weights = sum(plane_bytes(*size)[0] + 4 * size[0] for size in sizes)
    assert used <= room_of(config, 0).least_bytes - weights
