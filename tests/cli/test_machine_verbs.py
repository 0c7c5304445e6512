"""Verbs about the machine and the numbers: doctor, models, bench's meter, evaluate's records."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from doors import PREFILL_MS, STEP_MS, recite

from onesec import machine
from onesec.cli.evaluate import quality_record
from onesec.cli.main import main
from onesec.cli.measure import SEQUENCES, Meter, Samples, long_prompt, named_gears
from onesec.cli.output import emit_json, megabytes, plus_minus
from onesec.compress.evaluate import Divergence, Estimate, Quality
from onesec.core.errors import UnknownGear
from onesec.loading import find_model

MINI = find_model("onesec-mini")


def test_doctor_reports_every_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"cpu", "native engine", "threads", "memory", "huge pages", "gpu", "cache"} <= {
        finding["name"] for finding in findings
    }
    assert all(finding["advice"] for finding in findings if finding["status"] != "ok")
    assert code == int(any(finding["status"] == "bad" for finding in findings))


def test_doctor_without_the_native_engine_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onesec.backend.cpu", None)
    assert main(["doctor"]) == 1
    assert "reinstall" in capsys.readouterr().out


def test_doctor_says_why_tiles_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {"isas": ["scalar", "avx512vnni"], "amx": "refused: the kernel", "allowed_cpus": 2}
    monkeypatch.setattr("onesec.backend.cpu.cpu_features", lambda: features)
    main(["doctor", "--json"])
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    engine = findings["native engine"]
    assert engine["status"] == "warn"
    assert "refused: the kernel" in engine["value"]
    assert engine["value"].startswith("avx512vnni")


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cgroup_quota_in_both_versions(
    files: dict[str, str], cpus: float | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.cgroup_quota(tmp_path) == cpus


@pytest.mark.parametrize(
    ("text", "limit"),
    [("1000000\n", 1_000_000), ("max\n", None), ("9223372036854771712", None)],
)
def test_cgroup_memory_limit(text: str, limit: int | None, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(text)
    assert machine.cgroup_memory_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000", "memory.current": "900"}, 100),
        (
            {
                "memory.max": "1000",
                "memory.current": "900",
                "memory.stat": "anon 100\nfile 800\ninactive_file 500\nactive_file 250\n",
            },
            850,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "900",
                "memory/memory.stat": "active_file 1\ntotal_inactive_file 30\ntotal_active_file 20",
            },
            150,
        ),
        ({"memory.max": "1000", "memory.current": "90", "memory.stat": "inactive_file 95"}, 1000),
    ],
)
def test_files_in_memory_are_free_to_take(
    files: dict[str, str], left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "memory_bytes", lambda: (10_000, 5000))
    assert machine.free_memory_bytes(tmp_path) == left


def test_a_folder_is_told_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.onesec" / "inner").mkdir(parents=True)
    for place, asked in (
        ("small.onesec", "."),
        ("small.onesec/inner", ".."),
        (".", "small.onesec"),
    ):
        monkeypatch.chdir(tmp_path / place)
        assert machine.without_folders(asked) == "small.onesec"
    assert machine.without_folders("org/small.onesec") == "org/small.onesec"


def test_a_user_without_a_home_has_a_cache_folder_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert machine.cache_folder() == Path("/nonexistent/.cache/onesec")


@pytest.mark.parametrize("given", ["", "cache", "./cache", "a.md/cache", "~/cache"])
def test_a_relative_cache_home_is_ignored(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG Base Directory Specification asks."""
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert machine.cache_folder() == Path("/home/somebody/.cache/onesec")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert machine.cache_folder() == Path("/elsewhere/onesec")


def test_doctor_tells_a_cache_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    main(["doctor", "--json"])
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["cache"]["status"] == "warn"
    assert "not writable" in found["cache"]["value"]


def test_the_meter_measures_what_the_clock_says() -> None:
    loaded, clock, backend = recite("")
    slow = Meter(backend, backend.gears[1], clock)
    assert slow.decode_tokens_per_s() == pytest.approx(1e3 / STEP_MS["8"])
    meter = Meter(backend, backend.gears[0], clock)
    assert meter.decode_tokens_per_s(sequences=SEQUENCES) == pytest.approx(
        SEQUENCES * 1e3 / STEP_MS["4"]
    )
    assert long_prompt(backend) == loaded.context_length - 1
    assert meter.ttft_s() == pytest.approx(long_prompt(backend) * PREFILL_MS / 1e3)


def test_samples_report_their_median() -> None:
    found = Samples([3.0, 1.0, 2.0]).to_dict()
    assert (found["median"], found["min"], found["max"]) == (2.0, 1.0, 3.0)


def test_gears_are_found_by_name() -> None:
    _, _, backend = recite("")
    assert [gear.name for gear in named_gears(backend.gears, ["8", "4"])] == ["8", "4"]
    with pytest.raises(UnknownGear, match="'3'"):
        named_gears(backend.gears, ["3"])


def test_a_record_has_each_value_with_its_error() -> None:
    divergence = Divergence(
        Estimate(0.1, 0.01), Estimate(0.5, 0.05), 0.9, Estimate(0.8, 0.02), Estimate(1.1, 0.03)
    )
    quality = Quality("4", 100, 200.0, Estimate(2.0, 0.1), Estimate(7.4, 0.7), divergence)
    record = quality_record(quality, 50)
    for name in ("perplexity", "bits_per_char", "kld_mean", "kld_p99", "same_top"):
        assert record[f"{name}_se"] > 0.0
    assert record["bits_per_char"] == pytest.approx(200.0 / math.log(2.0) / 50)
    assert (record["kld_mean"], record["same_top"], record["kld_max"]) == (0.1, 0.8, 0.9)
    alone = Quality("4", 100, 200.0, Estimate(2.0, 0.1), Estimate(7.4, 0.7))
    assert "kld_mean" not in quality_record(alone, 50)


def test_models_of_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    broken = tmp_path / "models--someone--broken" / "snapshots" / "abc"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert main(["models", "--json"]) == 0
    names = [model["name"] for model in json.loads(capsys.readouterr().out)["models"]]
    assert "someone/broken" not in names


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["m", "--shape", "tiny"],
        ["--shape", "huge"],
        ["--shape", "tiny", "--only", "everything"],
    ],
)
def test_bench_refuses_contradictions(options: list[str]) -> None:
    assert main(["bench", *options]) == 2


def test_numbers_read_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert megabytes(12_340_000) == "12.3 MB"
    assert megabytes(1_240_000_000) == "1.24 GB"
    assert plus_minus(0.01234, 0.00041) == "0.0123±0.0004"
    emit_json({"a": math.nan, "b": [math.inf, 1.5]})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5]}


def test_doctor_counts_what_is_left_of_a_cgroups_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onesec.cli.doctor.free_memory_bytes", lambda: 200_000_000)
    main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    [memory] = [finding for finding in findings if finding["name"] == "memory"]
    assert memory["status"] == "warn"


@pytest.mark.parametrize(
    ("gears", "cells"),
    [
        (None, ""),
        ([{"name": "8", "width": 8}], ""),
        ([{"name": "8", "width": 8, "widths": None, "kld_mean": None}], ""),
        ([{"name": "8", "width": 8, "kld_mean": 0.5, "same_top": None}], "0.5000"),
        ([{"name": "8", "width": 8, "kld_mean": 0.5, "kld_mean_se": 0.25}], "0.5000±0.2500"),
    ],
    ids=str,
)
def test_show_leaves_out_what_was_not_measured(
    gears: object, cells: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m.onesec"
    shutil.copytree(MINI, folder)
    (folder / "gears.json").write_text(json.dumps({"gears": gears}))
    assert main(["show", str(folder)]) == 0
    assert cells in capsys.readouterr().out


def test_show_names_a_figure_that_is_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m.onesec"
    shutil.copytree(MINI, folder)
    gear = {"name": "8", "width": 8, "kld_mean": "little"}
    (folder / "gears.json").write_text(json.dumps({"gears": [gear]}))
    assert main(["show", str(folder)]) == 3
    assert "kld_mean is 'little', not a number" in capsys.readouterr().err
