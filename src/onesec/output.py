"""Output: a finished answer; Answer: one that grows from the engine's deltas; Stream: its text.

It must not know how requests are driven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from onesec.core.fitted import FitReport
from onesec.core.request import Request
from onesec.core.trace import MAX_EVENTS, Trace
from onesec.engine.sequence import Delta
from onesec.explain.confidence import Confidence
from onesec.explain.timeline import token_gears


@dataclass(frozen=True, slots=True)
class Output:
    """One answer and how it came about.

    `finish_reason` is OpenAI's ("stop", "length"); `ending` says how it ended: "natural", "landed"
    (brought to a close for the deadline, or for max_tokens where it has a response_format) or
    "cut". A landed `text` may end with brackets, quotes or a fence that close it and are in no
    token; the trace's `stop` event names them. `met` is None without a deadline.
    `logprobs` (one value a token) and `top_logprobs` are empty unless params.logprobs was set; nor
    are `pieces`, the text of each token (together they are `text`, without what closes it; a
    character of several tokens is in the last of them), and `confidence`, how likely each token is
    the right one, in [0, 1]: by the model's curves where `calibrated`, else its own probability.
    `prompt_logprobs` are empty unless params.prompt_logprobs was set; then they have one value for
    each prompt token that was read, None for the first, which nothing comes before.
    `fitted` tells what was taken from a prompt that was shortened to fit; else it is None.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    ending: str
    elapsed_ms: float
    met: bool | None
    prompt_tokens: int
    trace: Trace
    stop_reason: str | int | None = None
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    prompt_logprobs: tuple[float | None, ...] = ()
    pieces: tuple[str, ...] = ()
    confidence: tuple[float, ...] = ()
    calibrated: bool = False
    fitted: FitReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


class Pieces(Protocol):
    """Text as tokens arrive; a tokenizer's StreamDecoder is one."""

    def push(self, token: int) -> str: ...


class GrowingText:
    """An answer's text as its tokens come, and how much of it may be shown."""

    def __init__(self, decoder: Pieces) -> None:
        self.pieces: list[str] = []  # of the text, one a token, shown or not
        self._decoder = decoder
        self._text = ""
        self._shown = 0  # characters of _text that take() has given
        self._visible = 0  # characters that may be shown

    @property
    def text(self) -> str:
        """All that may be shown."""
        return self._text[: self._visible]

    def add(self, tokens: Sequence[int], text_chars: int | None, *, closing: str = "") -> None:
        """Take in what one step gave; `text_chars` of the whole may be shown (None: all), and
        behind these comes `closing`, which is in no token. What is only a part of a character is
        never text, at the end either."""
        pieces = [self._decoder.push(token) for token in tokens]
        self.pieces += pieces
        self._text += "".join(pieces)
        whole = text_chars is None
        self._visible = len(self._text) if whole else min(text_chars or 0, len(self._text))
        if closing:
            self._text = self._text[: self._visible] + closing
            self._visible = len(self._text)

    def take(self) -> str:
        """Text that may be shown and was not taken yet."""
        piece = self._text[self._shown : self._visible]
        self._shown = max(self._shown, self._visible)
        return piece


class Answer:
    """What has come of one request so far: feed it deltas, take the text that may be shown."""

    def __init__(
        self, request: Request, decoder: Pieces, confidence: Confidence | None = None
    ) -> None:
        self._request = request
        self._text = GrowingText(decoder)
        self._confidence = confidence or Confidence()
        self._tokens: list[int] = []
        self._logprobs: list[float] = []
        self._top: list[tuple[tuple[int, float], ...]] = []
        self._last: Delta | None = None

    @property
    def arrival_ns(self) -> int:
        """The instant from which its budget runs."""
        return self._request.arrival_ns

    @property
    def count(self) -> int:
        """Tokens so far."""
        return len(self._tokens)

    @property
    def finished(self) -> bool:
        """Whether the last delta has come."""
        return self._last is not None

    def add(self, delta: Delta) -> None:
        """Take in what one step gave."""
        self._text.add(delta.tokens, delta.text_chars, closing=delta.closing)
        self._tokens += delta.tokens
        self._logprobs += delta.logprobs
        self._top += [tuple(alternatives) for alternatives in delta.top]
        if delta.finished:
            self._last = delta

    def take(self) -> str:
        """Text that may be shown and was not taken yet."""
        return self._text.take()

    def output(self) -> Output:
        """The finished answer. Raises the error that ended the request, if one did."""
        last = self._last
        if last is None or last.trace is None or last.finish_reason is None:
            raise RuntimeError(f"request {self._request.id} is not finished")
        if last.error is not None:
            raise last.error
        params, trace = self._request.params, last.trace
        statistics: dict[str, Any] = {}
        if params.logprobs is not None:
            sure = self._confidence.of(self._logprobs, token_gears(trace))
            trace.confidence = [round(value, 3) for value in sure[:MAX_EVENTS]]
            statistics = {
                "pieces": tuple(
                    _until(len(self._text.text) - len(last.closing), self._text.pieces)
                ),
                "confidence": sure,
                "calibrated": self._confidence.calibrated,
            }
        return Output(
            text=self._text.text,
            tokens=tuple(self._tokens),
            finish_reason=last.finish_reason,
            ending=last.ending or "cut",
            elapsed_ms=trace.elapsed_ms,
            met=trace.met,
            prompt_tokens=len(self._request.prompt_tokens),
            trace=trace,
            stop_reason=last.stop_reason,
            logprobs=tuple(self._logprobs),
            top_logprobs=tuple(self._top),
            prompt_logprobs=(None, *last.prompt_logprobs) if params.prompt_logprobs else (),
            fitted=self._request.fitted,
            **statistics,
        )


def _until(chars: int, pieces: list[str]) -> Iterator[str]:
    """The pieces with so many characters in all; those behind them are empty."""
    for piece in pieces:
        yield piece[:chars]
        chars = max(0, chars - len(piece))


class Stream:
    """The answer as it comes: iterate for text pieces, then read `.output`.

    `close()`, leaving a `with` block, or an error on the way aborts the request; an answer that is
    only looked away from goes on beside others, and one whose Stream is gone ends with the next
    call of the LLM.

    >>> with llm.stream("Once") as answer:  # doctest: +SKIP
    ...     for piece in answer:
    ...         print(piece, end="", flush=True)
    """

    def __init__(
        self, take: Callable[[], tuple[str, Output | None]], abort: Callable[[], None]
    ) -> None:
        self._take = take  # new text, and the Output once there is one; waits for one of them
        self._abort = abort
        self._done: Output | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            while self._done is None:
                piece, self._done = self._take()
                if piece:
                    return piece
        except BaseException:
            self.close()
            raise
        raise StopIteration

    @property
    def output(self) -> Output:
        """The finished answer; what was not read yet is generated first.

        Raises InvalidRequest when the stream was closed before.
        """
        while self._done is None:
            next(self, "")
        return self._done

    def close(self) -> None:
        """Abort the request if it still runs. Harmless when called again."""
        self._abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
