"""Loading: from a MODEL word to what runs it: backend, tokenizer, chat template.

It must not know requests or deadlines; `llm.py` and the command line build on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onesec.core.errors import InvalidRequest

if TYPE_CHECKING:
    from onesec.backend.base import Backend
    from onesec.backend.cpu import CpuBackend
    from onesec.model.tokenizer import Tokenizer
    from onesec.prompt.template import ChatTemplate

KvDtype = Literal["f16", "i8", "f32"]
DEFAULT_CONTEXT_TOKENS = 8192  # unless the model's own context is shorter
