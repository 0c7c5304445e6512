"""Asking for a GPU that cannot be had says what to do, and leaves nothing behind."""

from __future__ import annotations

import sys

import pytest

from onesec import LLM
from onesec.backend import devices
from onesec.core.errors import InvalidRequest, OutOfMemory


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("onesec.backend.gpu.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InvalidRequest, match=r"onesec\[gpu\]"):
        LLM("onesec-mini", device="cuda")


def test_a_device_of_another_kind_is_told_before_torch_is_asked_for() -> None:
    with pytest.raises(InvalidRequest, match=r"no device 'tpu'.*cuda:N"):
        LLM("onesec-mini", device="tpu")


def test_graphs_that_do_not_fit_leave_nothing_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []

    class Full:
        @classmethod
        def load(cls, *arguments: object, **options: object) -> Full:
            return cls()

        def warm(self) -> None:
            raise OutOfMemory("graphs", need_bytes=2, have_bytes=1)

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(devices, "_gpu_backend", lambda device: Full)
    with pytest.raises(OutOfMemory):
        devices.loader("cuda", None)()
    assert len(closed) == 1
