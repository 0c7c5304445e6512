"""The error tree. Every error says what happened, why, with the numbers, and the next step.

It must not know who raises it: standard library only.

    OneSecError
    ├── InvalidRequest            param: the caller's values are wrong (also a ValueError)
    │   ├── EmptyPrompt
    │   ├── ContextLengthExceeded prompt_tokens, context_length
    │   ├── UnknownGear           gear, known
    │   └── UnknownToken          token, vocab_size
    ├── DeadlineInfeasible        which, budget_ms, feasible_ms: the counter-offer
    ├── QueueFull                 waiting, limit
    ├── ModelError
    │   ├── ModelNotFound         nothing at that path or name
    │   ├── CorruptFile           path, detail: truncated, lying, overlapping, not finite
    │   ├── UnsupportedModel      well-formed, but not something that this version runs
    │   └── NotWritten            the disk refuses what was to be written
    ├── KnowledgeError            path, line, detail: a file of entries, or their store
    ├── OutOfMemory               need_bytes, have_bytes
    ├── KernelBuildFailed         the GPU's kernels could not be compiled: detail, output
    └── EngineClosed              the engine was closed while work was asked of it
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

_COMPILER_LINES = 20  # the last ones, that a message repeats


class OneSecError(Exception):
    """Root of all errors raised on purpose. `code` is stable; `hint` is the next step to try."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        # What made it is not kept, only what came of it: so it may be copied, and sent by a worker.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(
    kind: type[OneSecError], args: tuple[Any, ...], values: dict[str, Any]
) -> OneSecError:
    error = Exception.__new__(kind, *args)  # as the first of its bases is made
    error.__dict__.update(values)
    return error


class InvalidRequest(OneSecError, ValueError):
    """A value of the request is out of range or contradicts another one. `param`: the field's name,
    where one field is to blame."""

    code = "invalid_request"

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class EmptyPrompt(InvalidRequest):
    """The prompt has no token."""

    code = "empty_prompt"


class ContextLengthExceeded(InvalidRequest):
    """The prompt (and at least one new token) does not fit the model's context."""

    code = "context_length_exceeded"

    def __init__(
        self, *, prompt_tokens: int, context_length: int, message: str = "", hint: str = ""
    ) -> None:
        short = f"Shorten the prompt by at least {prompt_tokens - context_length + 1} tokens."
        super().__init__(
            message
            or f"The prompt has {prompt_tokens} tokens; this model holds {context_length}, "
            "one of them for the answer.",
            hint=hint or short,
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length

    @classmethod
    def at_least(
        cls, prompt_tokens: int, context_length: int, *, why: str
    ) -> ContextLengthExceeded:
        """Of a prompt that was not read, `why` tells its size and how many tokens that is."""
        return cls(
            prompt_tokens=prompt_tokens,
            context_length=context_length,
            message=f"The prompt has {prompt_tokens} tokens or more ({why}); this model holds "
            f"{context_length}, one of them for the answer.",
            hint=f"Shorten the prompt by at least {prompt_tokens - context_length + 1} tokens.",
        )


class UnknownGear(InvalidRequest):
    """The model has no gear of that name."""

    code = "unknown_gear"

    def __init__(
        self, gear: str, known: tuple[str, ...], *, hint: str = "", param: str | None = None
    ) -> None:
        super().__init__(
            f"There is no gear {gear!r}; this model has {', '.join(known)}.",
            hint=hint or "Choose one of these.",
            param=param,
        )
        self.gear = gear
        self.known = known


class UnknownToken(InvalidRequest):
    """`param` of a request names a token that the model's vocabulary does not have."""

    def __init__(self, param: str, token: int, vocab_size: int) -> None:
        super().__init__(
            f"{param} has token {token}; this model's tokens lie in [0, {vocab_size}).",
            hint="Use the token ids of this model's own tokenizer.",
            param=param,
        )
        self.token = token
        self.vocab_size = vocab_size


Which = Literal["total", "ttft", "tpot"]  # budgets


class DeadlineInfeasible(OneSecError):
    """Even the cheapest gear cannot answer in time. `which` budget does not do: "total", "ttft"
    (the first token) or "tpot" (each token after it); `feasible_ms` is the smallest that would."""

    code = "deadline_infeasible"

    def __init__(
        self,
        *,
        budget_ms: float,
        feasible_ms: float,
        why: str = "",
        which: Which = "total",
    ) -> None:
        reason = f" ({why})" if why else ""
        name, help_too = _BUDGETS[which]
        # A token takes milliseconds or less, so its time is told in hundredths.
        digits = 2 if which == "tpot" else 0
        asked = f"{budget_ms:.{digits or 1}f}".removesuffix(".0")
        super().__init__(
            f"{name} of {asked} ms cannot be met{reason}; "
            f"the smallest that works now is {_rounded_up(feasible_ms, digits)} ms.",
            hint=f"Ask again with a budget of {_rounded_up(feasible_ms, digits)} ms or more, "
            f"or {help_too}.",
        )
        self.which = which
        self.budget_ms = budget_ms
        self.feasible_ms = feasible_ms
        self.why = why


_BUDGETS = {
    "total": ("A budget", "shorten the prompt"),
    "ttft": ("A first-token budget", "shorten the prompt"),
    "tpot": ("A per-token budget", "allow a cheaper gear"),
}


def _rounded_up(ms: float, digits: int) -> str:
    """So that a budget of what is written does."""
    if not math.isfinite(ms):
        return str(ms)
    return f"{math.ceil(ms * 10**digits) / 10**digits:.{digits}f}"


class QueueFull(OneSecError):
    """Too many requests are waiting."""

    code = "queue_full"

    def __init__(self, *, waiting: int, limit: int) -> None:
        super().__init__(
            f"{waiting} requests are waiting; the limit is {limit}.", hint="Try again shortly."
        )
        self.waiting = waiting
        self.limit = limit


class ModelError(OneSecError):
    """The model cannot be used as it lies on disk."""

    code = "model_error"


class ModelNotFound(ModelError):
    """Nothing that could be a model is at that path or under that name."""

    code = "model_not_found"


class CorruptFile(ModelError):
    """A file contradicts itself or its format. The message names the file, the place and the
    numbers."""

    code = "corrupt_file"

    def __init__(self, path: str | Path, detail: str, *, hint: str = "") -> None:
        super().__init__(
            f"{path}: {detail}.",
            hint=hint or "The file is damaged or incomplete: fetch it again.",
        )
        self.path = str(path)
        self.detail = detail


class UnsupportedModel(ModelError):
    """The files are well-formed, but ask for something that this version does not run."""

    code = "unsupported_model"


class NotWritten(ModelError):
    """The disk refuses what was to be written."""

    code = "not_written"

    def __init__(self, path: str | Path, why: str | None) -> None:
        super().__init__(f"{path} cannot be written ({why}).", hint="Check space and permissions.")


class KnowledgeError(OneSecError):
    """A file of entries, or the store that keeps them, cannot be used. Nothing was written."""

    code = "knowledge_error"

    def __init__(
        self, path: str | Path, detail: str, *, line: int | None = None, hint: str = ""
    ) -> None:
        where = f"{path}" if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {detail}.", hint=hint)
        self.path = str(path)
        self.line = line
        self.detail = detail


class OutOfMemory(OneSecError, MemoryError):
    """More memory is needed than this process may have."""

    code = "out_of_memory"

    def __init__(self, what: str, *, need_bytes: int, have_bytes: int, hint: str = "") -> None:
        super().__init__(
            f"{what} needs {need_bytes / 1e6:.0f} MB; {have_bytes / 1e6:.0f} MB are free.",
            hint=hint or "Use a smaller model, a shorter context or fewer sequences.",
        )
        self.need_bytes = need_bytes
        self.have_bytes = have_bytes


class KernelBuildFailed(OneSecError):
    """The GPU's kernels could not be compiled on this machine; `output` is what nvcc said."""

    code = "kernel_build_failed"

    def __init__(self, detail: str, *, output: str = "") -> None:
        last = "\n".join(output.strip().splitlines()[-_COMPILER_LINES:])
        super().__init__(
            f"The GPU kernels could not be built: {detail}.",
            hint="Install the CUDA toolkit whose nvcc fits the driver, or set CUDA_HOME to it."
            + (f"\n{last}" if last else ""),
        )
        self.detail = detail
        self.output = output


class EngineClosed(OneSecError):
    """The engine was closed."""

    code = "engine_closed"
