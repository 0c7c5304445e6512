"""Record: a trace read back from JSON, as what nobody vouches for.

It must not know how a trace was made or what is said about it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from onesec.core.errors import InvalidRequest
from onesec.core.trace import Trace

MAX_BYTES = 16 << 20
MAX_TOKENS = 1 << 20  # of an answer: each is a place on the axis of time
_LARGEST = 1e15  # of any number that a trace counts or measures


def number(detail: Mapping[str, Any], name: str) -> float | None:
    """A finite number of an event's detail; None where there is none.

    >>> number({"ms": 3, "gear": "8"}, "ms"), number({"ms": 3, "gear": "8"}, "gear")
    (3.0, None)
    """
    value = detail.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def read_trace(raw: bytes, *, source: str) -> Trace:
    """The trace in JSON bytes: a trace itself, or an answer (`--json`) that holds one.

    `source` names where it came from in errors. Raises InvalidRequest.

    >>> read_trace(b'{"request_id": "r1"}', source="example").request_id
    'r1'
    """
    hint = "Give what `onesec generate … --json` printed, or its `trace`."
    if len(raw) > MAX_BYTES:
        raise InvalidRequest(
            f"{source} has {len(raw)} bytes; a trace has at most {MAX_BYTES}.", hint=hint
        )
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{source} is not JSON: {str(error)[:120]}.", hint=hint) from None
    if isinstance(value, dict) and isinstance(value.get("trace"), dict):
        value = value["trace"]
    try:
        trace = msgspec.convert(value, Trace)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{source} holds no trace: {str(error)[:200]}.", hint=hint) from None
    known = [getattr(trace, field.name) for field in fields(trace)]
    known += [*trace.confidence, *(event.at_ms for event in trace.events)]
    numbers = (value for value in known if isinstance(value, int | float))
    if trace.answer_tokens > MAX_TOKENS or not all(abs(value) < _LARGEST for value in numbers):
        raise InvalidRequest(f"{source} holds no trace: a number is too large, or none.", hint=hint)
    return trace
