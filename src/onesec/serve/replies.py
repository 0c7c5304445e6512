"""Replies: finished answers and pieces of growing ones as OpenAI's objects.

It must not know sockets or how answers come about. `finish_reason` keeps OpenAI's list; the whole
truth is in the extension object `onesec`.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Sequence
from typing import Any

from onesec.explain.confidence import Confidence
from onesec.model.tokenizer import Tokenizer

from .answers import Answers, Choice, met_by
from .wire import Gained

Top = Sequence[tuple[int, float]]


class Form:
    """One HTTP request's objects: their id, time, model and kind."""

    def __init__(
        self,
        answers: Answers,
        tokenizer: Tokenizer,
        model: str,
        *,
        chat: bool,
        confidence: Confidence | None = None,
    ) -> None:
        self.answers = answers
        self.confidence = confidence or Confidence()
        self.chat = chat
        self._tokenizer = tokenizer
        self.model = model
        self._created = int(time.time())
        kind = "chatcmpl" if chat else "cmpl"
        self._id = f"{kind}-{answers.wanted.call.id}"
        self._offsets = [_Offsets() for _ in answers.choices]  # streamed with log probabilities

    def whole(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The body of an answer that was not streamed."""
        answers = self.answers
        extension = [self.extension(choice) for choice in answers.choices]
        return {
            "id": self._id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self._created,
            "model": self.model,
            "choices": choices,
            "usage": self.usage(),
            "onesec": extension[0] if len(extension) == 1 else {"choices": extension},
        }

    def message(self, choice: Choice) -> dict[str, Any]:
        """A chat's answer."""
        text: str | None = choice.take()
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if choice.tools is not None and choice.tools.calls:
            message["content"] = text or None
            message["tool_calls"] = [call.to_dict() for call in choice.tools.calls]
        return message

    def call_deltas(self, choice: Choice) -> list[dict[str, Any]]:
        """What is new of an answer's calls."""
        return [] if choice.tools is None else choice.tools.deltas()

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """One event of a stream."""
        return {
            "id": self._id,
            "object": "chat.completion.chunk" if self.chat else "text_completion",
            "created": self._created,
            "model": self.model,
            "choices": choices,
            **more,
        }

    def usage(self) -> dict[str, Any]:
        """Tokens so far. A prompt that is answered several times counts once."""
        choices, count = self.answers.choices, self.answers.wanted.count
        prompt = sum(len(choice.prompt_tokens) for choice in choices[::count])
        answer = sum(len(choice.tokens) for choice in choices)
        traces = [c.last.trace for c in choices[::count] if c.last is not None]
        cached = sum(trace.cached_tokens for trace in traces if trace is not None)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def extension(self, choice: Choice, *, events: bool = False) -> dict[str, Any]:
        """What OneSec says of an answer, once it is over; its events only where asked for."""
        last, budget = choice.last, self.answers.wanted.budget
        assert last is not None
        assert last.trace is not None
        trace, elapsed_ms = last.trace, self.answers.elapsed_ms()
        return {
            "budget_ms": budget.total_ms,
            "ttft_budget_ms": budget.ttft_ms,
            "tpot_budget_ms": budget.tpot_ms,
            "policy": trace.policy,
            "elapsed_ms": round(elapsed_ms, 3),
            "ttft_ms": _rounded(trace.ttft_ms),
            "tpot_ms": _rounded(trace.tpot_ms),
            "met": met_by(choice, budget, elapsed_ms),
            "ending": last.ending,
            "stop_reason": last.stop_reason,
            "gears": trace.gears,
            "predicted_ms": _rounded(trace.predicted_ms),
            "measured_ms": round(trace.elapsed_ms, 3),
            "fitted": choice.fitted,
            "max_tokens": self.answers.wanted.params.max_tokens,
            "drafted_tokens": trace.drafted_tokens,
            "accepted_tokens": trace.accepted_tokens,
            "resources": {
                "cpu_ms": round(trace.cpu_ms, 3),
                "bytes_read": trace.bytes_read,
                "peak_kv_bytes": trace.peak_kv_bytes,
            },
            **({"events": trace.events} if events else {}),
        }

    # -- log probabilities -----------------------------------------------------------------------

    def stream_logprobs(self, choice: Choice, gained: Gained) -> dict[str, Any] | None:
        """Of what one turn gave; None where nobody asked."""
        if self.answers.wanted.params.logprobs is None or not gained.tokens:
            return None
        if self.chat:
            return self.chat_logprobs(gained.tokens, gained.logprobs, gained.top)
        return self.text_logprobs(
            gained.tokens, gained.logprobs, gained.top, offsets=self._offsets[choice.index]
        )

    def chat_logprobs(
        self, tokens: Sequence[int], logprobs: Sequence[float], top: Sequence[Top]
    ) -> dict[str, Any]:
        """OpenAI's object for chat: each token with its bytes and alternatives."""
        tops = top or [()] * len(tokens)
        return {
            "content": [
                {
                    **self._spelled(token, logprob),
                    "top_logprobs": [self._spelled(*other) for other in others],
                }
                for token, logprob, others in zip(tokens, logprobs, tops, strict=True)
            ],
            "refusal": None,
        }

    def text_logprobs(
        self,
        tokens: Sequence[int],
        logprobs: Sequence[float | None],
        top: Sequence[Top],
        *,
        offsets: _Offsets | None = None,
    ) -> dict[str, Any]:
        """OpenAI's object for completions: lists, one value a token; `offsets`: where the text
        stands before the first one."""
        offsets = offsets or _Offsets()
        tops = [
            None if logprob is None else self._by_name(others)
            for logprob, others in zip(logprobs, top or [()] * len(tokens), strict=True)
        ]
        return {
            "tokens": [self._name(token) for token in tokens],
            "token_logprobs": list(logprobs),
            "top_logprobs": tops,
            "text_offset": [offsets.pass_over(self._tokenizer.token_bytes(t)) for t in tokens],
        }

    def _by_name(self, others: Top) -> dict[str, float]:
        """Of tokens of one name, which parts of characters share, the likeliest."""
        found: dict[str, float] = {}
        for token, value in others:
            found.setdefault(self._name(token), value)
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a prompt's tokens, special ones included, but for the one that opens it."""
        opened = bool(tokens) and tokens[0] == self._tokenizer.bos_id
        return self._tokenizer.decode(tokens[1:] if opened else tokens, skip_special=False)

    def _spelled(self, token: int, logprob: float) -> dict[str, Any]:
        raw = self._tokenizer.token_bytes(token)
        return {"token": self._name(token), "logprob": logprob, "bytes": list(raw)}

    def _name(self, token: int) -> str:
        return self._tokenizer.token_bytes(token).decode("utf-8", "replace")


class _Offsets:
    """Characters of a text before each of its tokens, which may be parts of characters."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._count = 0

    def pass_over(self, piece: bytes) -> int:
        """The characters before a token, which is passed."""
        before = self._count
        self._count += len(self._utf8.decode(piece))
        return before


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
