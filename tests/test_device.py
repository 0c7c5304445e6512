"""Asking for a GPU where torch is not installed says what to install."""

from __future__ import annotations

import sys

import pytest

from onesec import LLM
from onesec.core.errors import InvalidRequest


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("onesec.backend.gpu.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InvalidRequest, match=r"onesec\[gpu\]"):
        LLM("onesec-mini", device="cuda")
