"""Recipe: what a compression is asked for, checked on construction.

It must not know models or machines.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onesec.core.errors import InvalidRequest

_LIMITS = {
    "calibration_tokens": (0, 1 << 20),
    "search_tokens": (64, 1 << 20),
    "check_tokens": (64, 1 << 20),
    "rungs": (1, 12),
    "prompt_tokens": (1, 1 << 20),
    "answer_tokens": (1, 1 << 20),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Targets and effort. Without a target the ladder alone is made.

    deadline_ms     a whole answer of `answer_tokens` after a prompt of `prompt_tokens`
    tpot_ms         milliseconds for each further token; not together with deadline_ms
    size_bytes      the most that the artifact's files may take together
    max_kld         the most divergence from the reference, nats a token
    keep_top1       the least share of tokens whose likeliest stays the same, 0 to 1
    calibration_tokens  text to calibrate the 4-bit codes on (None: 4096; 0: no calibration)
    search_tokens   text to search on; check_tokens: other text to measure on (None: as many as a
                    machine with two cores reads in about two minutes)
    rungs           mixed gears to look for between the uniform ones

    Raises InvalidRequest.

    >>> Recipe(deadline_ms=500.0).answer_tokens
    128
    """

    deadline_ms: float | None = None
    prompt_tokens: int = 512
    answer_tokens: int = 128
    tpot_ms: float | None = None
    size_bytes: int | None = None
    max_kld: float | None = None
    keep_top1: float | None = None
    calibration_tokens: int | None = None
    search_tokens: int | None = None
    check_tokens: int | None = None
    rungs: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is None and name.startswith(("calibration", "search", "check")):
                continue
            if type(value) is not int or not low <= value <= high:
                raise InvalidRequest(f"{name} is {value!r}; it must lie in [{low}, {high}].")
        if self.size_bytes is not None and not (
            type(self.size_bytes) is int and self.size_bytes >= 1
        ):
            raise InvalidRequest(f"size_bytes is {self.size_bytes!r}; it must be 1 or more.")
        for name in ("deadline_ms", "tpot_ms", "max_kld"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise InvalidRequest(f"{name} is {value!r}; it must be a number above 0.")
        if self.keep_top1 is not None and not 0.0 < self.keep_top1 <= 1.0:
            raise InvalidRequest(f"keep_top1 is {self.keep_top1!r}; it must lie in (0, 1].")
        if self.deadline_ms is not None and self.tpot_ms is not None:
            raise InvalidRequest("A deadline and a time per token were given; choose one.")

    def to_dict(self) -> dict[str, Any]:
        """The values that were set, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}
