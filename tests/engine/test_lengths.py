"""LengthStore: kept between starts, merged between processes, private, and never in the way."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from multiprocessing import get_context
from pathlib import Path

import pytest

from onesec.budget.length import LengthModel
from onesec.core.cues import Cues
from onesec.engine import lengths as module
from onesec.engine.lengths import LengthStore

A, B = Cues(app="a"), Cues(app="b")


def learned(tokens: int, cues: Cues, answers: int = 60) -> LengthModel:
    model = LengthModel()
    for _ in range(answers):
        model.observe(tokens, ended=True, cues=cues)
    return model


def test_what_is_kept_is_there_at_the_next_start(tmp_path: Path) -> None:
    store = LengthStore(tmp_path / "made", "model")
    assert store.load().cells == 0
    store.keep(learned(30, A))
    again = LengthStore(tmp_path / "made", "model").load()
    assert 24 < again.quantile(0.5, cues=A) <= 35  # the bin of 30
    assert LengthStore(tmp_path / "made", "another").load().cells == 0
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [each.suffix for each in sorted(store.path.parent.iterdir())] == [".json", ".lock"]


def test_two_that_keep_are_merged(tmp_path: Path) -> None:
    first, second = LengthStore(tmp_path, "m"), LengthStore(tmp_path, "m")
    one, two = first.load(), second.load()  # both begin with nothing
    for _ in range(60):
        one.observe(30, ended=True, cues=A)
        two.observe(300, ended=True, cues=B)
    first.keep(one)
    second.keep(two)
    first.keep(one)  # nothing new: counted once
    both = LengthStore(tmp_path, "m").load()
    assert 24 < both.quantile(0.5, cues=A) <= 35
    assert 240 < both.quantile(0.5, cues=B) <= 350
    alone = LengthModel()
    alone.merge(learned(30, A).take_news())
    key = ["length", "a"]
    counts = [
        next(cell["ended"] for cell in model.to_dict()["cells"] if cell["key"] == key)
        for model in (both, alone)
    ]
    assert counts[0] == counts[1]


def _keeps(folder: str, app: str) -> None:
    for _ in range(5):
        LengthStore(Path(folder), "m").keep(learned(30, Cues(app=app), 2))


def test_processes_do_not_lose_each_others_answers(tmp_path: Path) -> None:
    context = get_context("spawn")
    processes = [context.Process(target=_keeps, args=(str(tmp_path), app)) for app in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    cells = {tuple(c["key"]): c for c in LengthStore(tmp_path, "m").load().to_dict()["cells"]}
    for app in "abc":
        assert sum(n for _, n in cells["length", app]["ended"]) == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"version": 1, "cells": 3}'],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    store = LengthStore(tmp_path, "m")
    store.path.write_bytes(damage)
    assert store.load().cells == 0
    store.keep(learned(30, A))
    assert store.load().quantile(0.5, cues=A) <= 35


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    store = LengthStore(tmp_path, "m")
    store.keep(learned(30, A))
    with open(store.path, "ab") as file:
        file.truncate(1 << 30)
    assert store.load().cells == 0


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = LengthStore(tmp_path / "file", "m")
    store.keep(learned(30, A))
    assert store.load().cells == 0


def test_a_lock_that_is_never_given_back_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_WAIT_S", 0.0)
    store = LengthStore(tmp_path, "m")
    handle = os.open(store.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    store.keep(learned(30, A))
    assert not store.path.exists()
    os.close(handle)
    store.keep(learned(30, A))
    assert store.path.exists()


def test_an_idle_engine_keeps_now_and_then(tmp_path: Path) -> None:
    store = LengthStore(tmp_path, "m")
    model = learned(30, A)
    minute = 60_000_000_000
    asked = []

    def lengths() -> LengthModel:
        asked.append(1)
        return model

    for now in range(5):
        store.idle(lengths, now * minute)
    assert not asked
    store.idle(lengths, 5 * minute)
    store.idle(lengths, 6 * minute)
    assert len(asked) == 1
    model.observe(30, ended=True, cues=A)
    store.keep(model)  # waits for the thread; then the rest
    kept = {tuple(c["key"]): c for c in json.loads(store.path.read_text())["cells"]}
    assert sum(n for _, n in kept["length", "a"]["ended"]) == pytest.approx(61.0, rel=0.15)


def test_an_idle_engine_that_learned_nothing_writes_nothing(tmp_path: Path) -> None:
    store = LengthStore(tmp_path, "m")
    for minute in range(0, 12, 6):
        store.idle(LengthModel, minute * 60_000_000_000)
    store.keep(LengthModel())
    assert not store.path.exists()
