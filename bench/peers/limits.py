"""What peers' limits of time mean: budget arithmetic, ends of a reply, figures as a table.

It must not know processes, sockets or OneSec: plain values in, plain values out.
"""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onesec.bench.report import FIVE_HEADS, number

LEAST_STEPS = 4  # that a step's time is taken from


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a client has when it stops listening.

    ending      natural (the model's own end), landed (brought to the end of a line), cut
    tokens      of the text; the end token is none of them
    elapsed_ms  from the request to the last byte that was taken
    """

    text: str
    tokens: int
    elapsed_ms: float
    ending: str
    ttft_ms: float | None = None


@dataclass(frozen=True, slots=True)
class FirstToken:
    """Milliseconds to the first token of a prompt of n tokens: base + slope x n."""

    base_ms: float
    slope_ms: float

    @classmethod
    def fitted(cls, measured: Mapping[int, Sequence[float]]) -> "FirstToken":
        """Least squares through the medians of each prompt length; needs two lengths.

        >>> FirstToken.fitted({10: [3.0, 2.0, 9.0], 20: [4.0]}).ms(40)
        6.0
        """
        lengths = list(measured)
        medians = [statistics.median(times) for times in measured.values()]
        line = statistics.linear_regression(lengths, medians)
        return cls(line.intercept, line.slope)

    def ms(self, prompt_tokens: int) -> float:
        """The prediction for a prompt."""
        return self.base_ms + self.slope_ms * prompt_tokens


def predict_limit_ms(budget_ms: float, first_ms: float) -> int:
    """`t_max_predict_ms` of a careful client. Its clock starts with the first token, so what comes
    before is taken off; 0 would mean no limit.

    >>> predict_limit_ms(80.0, 12.5), predict_limit_ms(20.0, 25.0)
    (67, 1)
    """
    return max(1, int(budget_ms - first_ms))


def max_time_ms(budget_ms: float, step_ms: float) -> float:
    """`max_time` of a careful client. It is looked at after a step, so the last one begins up to
    the limit: one step less. Not below a microsecond, for 0 means no limit.

    >>> max_time_ms(80.0, 6.0)
    74.0
    """
    return max(1e-3, budget_ms - step_ms)


def step_ms(whole: Reply, first: Reply) -> float | None:
    """Milliseconds of a step behind the prompt's, from a reply and the same one of a single token:
    the prompt and what every call costs stand in both. None of a reply too short to tell.

    >>> first = Reply(text="a", tokens=1, elapsed_ms=60.0, ending="cut")
    >>> step_ms(Reply(text="a b c d", tokens=4, elapsed_ms=100.0, ending="natural"), first)
    10.0
    """
    # A step more than the first token: as many as the tokens where the end token is drawn too.
    steps = whole.tokens if whole.ending == "natural" else whole.tokens - 1
    return (whole.elapsed_ms - first.elapsed_ms) / steps if steps >= LEAST_STEPS else None


def events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of llama.cpp's stream of server-sent events: one JSON object a `data:` line.

    Raises RuntimeError where the server reports an error.
    """
    for line in lines:
        if not line.startswith(b"data:"):
            if line.startswith(b"error:"):
                raise RuntimeError(line.decode())
            continue
        event: dict[str, Any] = json.loads(line[len(b"data:") :])
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        yield event


def stream_ending(final: Mapping[str, Any], max_tokens: int) -> str:
    """How a reply ended, by the last event of llama.cpp's stream. `limit` says three things: the
    tokens are used up, the context is full, or the time was over at a new line.

    >>> stream_ending({"stop_type": "limit", "tokens_predicted": 9, "truncated": False}, 64)
    'landed'
    """
    if final["stop_type"] in ("eos", "word"):
        return "natural"
    if final["stop_type"] != "limit":
        raise RuntimeError(f"no known end of a stream: {final['stop_type']}")
    used_up = final["tokens_predicted"] >= max_tokens or final["truncated"]
    return "cut" if used_up else "landed"


HEADS = ("budget", *FIVE_HEADS)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Five figures of every budget and system as a Markdown table."""
    lines = [HEADS, ("---",) * len(HEADS)]
    for row in rows:
        lines += [(f"{row['budget_ms']:g} ms", *_cells(*pair)) for pair in row["systems"].items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(name: str, five: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        str(five["count"]),
        str(five["accepted"]),
        _percent(five["hit_rate"]),
        f"{five['overshoot_p99_ms']:.1f} ms",
        _percent(five["complete_rate"]),
        f"{five['score']:.3f} ± {number(five['score_half_width'], '.3f')}",
        _percent(five["use"]),
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"
