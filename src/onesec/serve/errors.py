"""Errors as HTTP answers: one table from an error's code to status, OpenAI's type, and retrying.

It must not know routes. Clients are told words that were written for them; never what an unexpected
exception says of itself.
"""

from __future__ import annotations

import logging
import math
import traceback
from typing import Any, NamedTuple, Self

import msgspec

from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible, InvalidRequest, OneSecError, QueueFull, Which

from .wire import Fault

_log = logging.getLogger("onesec.serve")


class _Kind(NamedTuple):
    status: int
    type: str
    retry: bool = False  # whether the same request may succeed later


_INVALID = "invalid_request_error"
_KINDS = {
    "invalid_request": _Kind(400, _INVALID),
    "empty_prompt": _Kind(400, _INVALID),
    "context_length_exceeded": _Kind(400, _INVALID),
    "unknown_gear": _Kind(400, _INVALID),
    "invalid_api_key": _Kind(401, "authentication_error"),
    "host_not_allowed": _Kind(403, "permission_error"),
    "not_found": _Kind(404, _INVALID),
    "model_not_found": _Kind(404, _INVALID),
    "method_not_allowed": _Kind(405, _INVALID),
    "timeout": _Kind(408, _INVALID),
    "too_large": _Kind(413, _INVALID),
    "unsupported_media_type": _Kind(415, _INVALID),
    "deadline_infeasible": _Kind(422, "deadline_error"),
    "deadline_missed": _Kind(504, "deadline_error"),
    "queue_full": _Kind(429, "rate_limit_error", retry=True),
    "draining": _Kind(503, "server_error", retry=True),
    "loading": _Kind(503, "server_error", retry=True),
    "engine_closed": _Kind(503, "server_error", retry=True),
}
_INTERNAL = _Kind(500, "server_error")
_RETRY_MS = 200.0
_COMING_BACK_MS = 1000.0  # for a replica that starts or goes


class ApiError(Exception):
    """An error as a client meets it. `counter_offer` is the extension object's."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        budget_ms: float | None = None,
        feasible_ms: float | None = None,
        which: Which = "total",
        allow: str = "",
    ) -> None:
        super().__init__(message)
        self.allow = allow  # methods that the path has, where another one was tried
        self.code = code
        self.message = f"{message} {hint}".rstrip()
        self.param = param
        self.patience_ms: float | None = None  # what the caller has left, where that is known
        self.timed = True  # with a deadline, or nobody has read by now whether there is one
        self.budget_ms = budget_ms
        self.feasible_ms = feasible_ms
        self.which = which  # budget does not do

    def under(self, budget: Budget) -> Self:
        """The same, where it refuses what was asked with this budget."""
        self.patience_ms, self.timed = budget.total_ms, budget.limited
        return self

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _KINDS.get(self.code, _INTERNAL).status

    def headers(self) -> dict[str, str]:
        """What tells a client whether, and when, to try again."""
        ms = _COMING_BACK_MS if self.status == 503 else _RETRY_MS
        retry = _KINDS.get(self.code, _INTERNAL).retry
        if retry and self.patience_ms is not None and self.patience_ms <= ms:
            retry = False  # a budget that is gone before the second try
        headers = {"x-should-retry": "true" if retry else "false"}
        if self.allow:
            headers["allow"] = self.allow
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"  # RFC 9110 asks for it
        if retry:
            headers["retry-after-ms"] = str(round(ms))
            headers["retry-after"] = str(math.ceil(ms / 1e3))  # whole seconds: RFC 9110
        return headers

    def body(self) -> dict[str, Any]:
        """OpenAI's error object, and ours where there is a counter-offer."""
        kind = _KINDS.get(self.code, _INTERNAL)
        error: dict[str, Any] = {
            "message": self.message,
            "type": kind.type,
            "param": self.param,
            "code": self.code,
        }
        body: dict[str, Any] = {"error": error}
        if self.feasible_ms is not None:
            offer = {"which": self.which, "feasible_ms": self.feasible_ms}
            body["onesec"] = {"budget_ms": self.budget_ms, **offer}
            error |= offer  # SDKs keep only what is in `error`
        return body

    def encoded(self) -> bytes:
        """The body as JSON."""
        return msgspec.json.encode(self.body())


def from_fault(fault: Fault) -> ApiError:
    """What the engine process said, for a client."""
    numbers = fault.numbers
    return ApiError(
        fault.code,
        fault.message,
        hint=fault.hint,
        budget_ms=numbers.get("budget_ms"),
        feasible_ms=numbers.get("feasible_ms"),
        which=fault.which,
    )


def from_error(error: OneSecError) -> ApiError:
    """An error of the door's own preprocessing, for a client. Of one that no client can mend the
    log has where it came from, but not what it says."""
    if isinstance(error, DeadlineInfeasible):
        return infeasible(error.budget_ms, error.feasible_ms, error.why, which=error.which)
    if error.code not in _KINDS:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = ", ".join(f"{frame.filename}:{frame.lineno}" for frame in last) or "nowhere"
        _log.error("unforeseen here: %s, from %s", type(error).__name__, place)
        return internal()
    param = error.param if isinstance(error, InvalidRequest) else None
    return ApiError(error.code, error.message, hint=error.hint, param=param)


def infeasible(
    budget_ms: float, feasible_ms: float, why: str = "", *, which: Which = "total"
) -> ApiError:
    """No time for it; `feasible_ms` would do."""
    error = DeadlineInfeasible(budget_ms=budget_ms, feasible_ms=feasible_ms, why=why, which=which)
    return ApiError(
        error.code,
        error.message,
        hint=error.hint,
        budget_ms=budget_ms,
        feasible_ms=feasible_ms,
        which=which,
    )


def queue_full(waiting: int, limit: int) -> ApiError:
    """Too many are open already."""
    error = QueueFull(waiting=waiting, limit=limit)
    return ApiError(error.code, error.message, hint=error.hint)


def crowded(waiting: int) -> ApiError:
    """It waited too large a part of its budget to be read, behind newer ones."""
    return ApiError(
        QueueFull.code,
        f"This request would not be read in time: newer ones are read first, and {waiting} more "
        "wait to be read.",
        hint="Try again shortly.",
    )


def worded(error: Exception, request_id: str) -> ApiError:
    """An error as its client is told of it. Of one that was not foreseen the log has where it was,
    but not what it says: that may be words of a prompt."""
    if isinstance(error, ApiError):
        return error
    place = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed: %s\n%s", request_id, type(error).__name__, place)
    return internal()


def internal() -> ApiError:
    """Something that should not happen."""
    return ApiError("internal_error", "The server failed at this request.")
