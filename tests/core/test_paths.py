"""Paths: what nothing can be called is one typed error at every door that takes a path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onesec.compress import compress
from onesec.core.errors import InvalidRequest
from onesec.core.paths import path_of
from onesec.knowledge import Knowledge
from onesec.loading import load_model
from onesec.model.tokenizer import Tokenizer

NO_PATHS = ["a\0b", Path("a\0b"), "\ud800", None, 5, b"a"]


@pytest.mark.parametrize("given", NO_PATHS)
def test_what_is_no_path_is_refused_everywhere(given: Any) -> None:
    for door in (
        path_of,
        Knowledge,
        Knowledge().load,
        lambda path: Knowledge().load(path, table="faq"),
        Tokenizer.from_folder,
        lambda path: compress("onesec-mini", path),
    ):
        with pytest.raises(InvalidRequest, match="cannot be a") as refused:
            door(given)
        str(refused.value).encode()  # it can be printed


def test_a_model_is_saved_under_no_such_path() -> None:
    with load_model("onesec-mini", context=64) as loaded:
        for given in NO_PATHS:
            with pytest.raises(InvalidRequest, match="cannot be a"):
                loaded.save(given)


def test_the_place_of_a_nul_is_told() -> None:
    with pytest.raises(InvalidRequest, match="NUL at byte 2"):
        path_of("ü\0b")


@pytest.mark.parametrize("given", ["a/b", Path("a/b"), "", "ü", "\udc80"])
def test_a_path_stays_as_it_is(given: Any) -> None:
    assert path_of(given) == Path(given)
