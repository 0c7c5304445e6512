"""Spans: what a stream's chunk tells of its tokens: text, gear, when it came, and how sure it is.

It must not know sockets or how answers come about.
"""

from __future__ import annotations

from typing import Any

from onesec.explain.confidence import Confidence

from .answers import Choice


def planned(choice: Choice, begin_ms: float = 0.0) -> dict[str, Any]:
    """When an answer will be done, in milliseconds since the first byte: usually, and at p95.
    `begin_ms`: since when its own time runs."""
    plan = choice.plan
    if plan is None:
        return {}
    return {
        "likely_ms": round(begin_ms + plan.likely_ms, 3),
        "predicted_ms": round(begin_ms + plan.predicted_ms, 3),
    }


class Spans:
    """Cuts an answer's text, as it is shown, into what each token gave of it."""

    def __init__(self, choice: Choice, confidence: Confidence) -> None:
        self._choice = choice
        self._confidence = confidence
        self._token = 0  # the first one that is not told whole,
        self._chars = 0  # and how much of its text was

    def cut(self, piece: str) -> list[dict[str, Any]]:
        """The spans of the text that follows what was cut before; together they are `piece`. Text
        that is in no token (what closes an answer) is the text of a last span without an index;
        calls of tools are not text, so an answer that may hold them has no other one. `confidence`
        is there where log probabilities were asked for."""
        if self._choice.tools is not None:
            return [{"text": piece}] if piece else []
        pieces, spans = self._choice.text.pieces, []
        while self._token < len(pieces):
            own = pieces[self._token][self._chars :]
            text, piece = piece[: len(own)], piece[len(own) :]
            if own and not text:
                break
            spans.append(self._span(text))
            self._chars += len(text)
            if len(text) < len(own):
                break
            self._token, self._chars = self._token + 1, 0
        return [*spans, {"text": piece}] if piece else spans

    def _span(self, text: str) -> dict[str, Any]:
        choice, index = self._choice, self._token
        gear = choice.gears[index]
        span = {"index": index, "text": text, "gear": gear, "at_ms": round(choice.at_ms[index], 3)}
        if choice.logprobs and gear:  # of a token that was put in nothing is known
            [sure] = self._confidence.of([choice.logprobs[index]], [gear])
            span["confidence"] = round(sure, 3)
        return span
