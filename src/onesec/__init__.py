"""OneSec 秒级推理: LLM inference that keeps its deadline. This is the public face.

Names are fetched when first touched, so that `import onesec` costs milliseconds and no numpy:

    from onesec import LLM
    with LLM("onesec-mini") as llm:
        question = [{"role": "user", "content": "Where is my order?"}]
        print(llm.chat(question, deadline="800ms").text)

`chat` answers; `generate` continues a text.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .core.deadline import Budget, Deadline
    from .core.errors import (
        ContextLengthExceeded,
        CorruptFile,
        DeadlineInfeasible,
        EmptyPrompt,
        EngineClosed,
        InvalidRequest,
        KnowledgeError,
        ModelError,
        ModelNotFound,
        OneSecError,
        OutOfMemory,
        QueueFull,
        UnknownGear,
        UnknownToken,
        UnsupportedModel,
    )
    from .core.gear import Gear
    from .core.request import SamplingParams
    from .core.trace import Trace
    from .llm import LLM
    from .output import Output, Stream

_HOME = {
    "LLM": "llm",
    "Output": "output",
    "Stream": "output",
    "Budget": "core.deadline",
    "Deadline": "core.deadline",
    "Gear": "core.gear",
    "SamplingParams": "core.request",
    "Trace": "core.trace",
    "ContextLengthExceeded": "core.errors",
    "CorruptFile": "core.errors",
    "DeadlineInfeasible": "core.errors",
    "EmptyPrompt": "core.errors",
    "EngineClosed": "core.errors",
    "InvalidRequest": "core.errors",
    "KnowledgeError": "core.errors",
    "ModelError": "core.errors",
    "ModelNotFound": "core.errors",
    "OneSecError": "core.errors",
    "OutOfMemory": "core.errors",
    "QueueFull": "core.errors",
    "UnknownGear": "core.errors",
    "UnknownToken": "core.errors",
    "UnsupportedModel": "core.errors",
}

__all__ = [
    "LLM",
    "Budget",
    "ContextLengthExceeded",
    "CorruptFile",
    "Deadline",
    "DeadlineInfeasible",
    "EmptyPrompt",
    "EngineClosed",
    "Gear",
    "InvalidRequest",
    "KnowledgeError",
    "ModelError",
    "ModelNotFound",
    "OneSecError",
    "OutOfMemory",
    "Output",
    "QueueFull",
    "SamplingParams",
    "Stream",
    "Trace",
    "UnknownGear",
    "UnknownToken",
    "UnsupportedModel",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
