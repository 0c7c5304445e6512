"""Errors: what a worker raises reaches whoever waits for it."""

from __future__ import annotations

import copy
import pickle

import pytest

from onesec.core.errors import (
    ContextLengthExceeded,
    CorruptFile,
    DeadlineInfeasible,
    EngineClosed,
    InvalidRequest,
    KernelBuildFailed,
    KnowledgeError,
    OneSecError,
    OutOfMemory,
    QueueFull,
    UnknownGear,
    UnknownToken,
)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("Wrong.", hint="Mend it."),
        ContextLengthExceeded(prompt_tokens=9, context_length=4),
        UnknownGear("5", ("4", "8")),
        UnknownToken("logit_bias", 9, 8),
        DeadlineInfeasible(budget_ms=1.0, feasible_ms=2.0, which="ttft"),
        QueueFull(waiting=3, limit=2),
        CorruptFile("a.gguf", "it ends early"),
        KnowledgeError("a.csv", "no columns", line=2),
        OutOfMemory("It", need_bytes=2, have_bytes=1),
        KernelBuildFailed("no nvcc", output="..."),
        EngineClosed("Closed."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_behind_a_pipe(error: OneSecError) -> None:
    error.add_note("from a worker")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
