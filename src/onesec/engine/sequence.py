"""Sequence: a request in flight; Delta and RequestOutput: what of it leaves the engine.

It must not know the scheduler, the backend or how anything is decided: it is state that can be
printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from onesec.backend.base import BatchRow, Float32Array, Int32Array, Sampler
from onesec.budget.planner import Plan
from onesec.budget.policy import Policy
from onesec.core.gear import Gear
from onesec.core.request import Request
from onesec.core.trace import Trace

from .block_manager import BlockTable
from .dues import BACKGROUND_NS, Dues
from .stopping import Stop, StopCheck

State = Literal["waiting", "prefilling", "decoding", "finished"]
_SPEED_RATE = 0.2
TopLogprobs = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step gave one sequence.

    tokens         new tokens of the answer; the end token is not among them
    logprobs, entropies, top   one for each of `tokens` (top: only where asked for); of tokens that
                   were put in from outside 0, 0 and nothing
    text_chars     characters of the whole answer's text that may be shown so far; None: all of it
    closing        once finished: text behind them that belongs to the answer and has no tokens
    gear           that `tokens` were drawn in; "" for those that were put in from outside
    finish_reason  None while it goes on; then "stop", "length" or "error"
    stop_reason    what ended it: the stop string, the stop token's id, "deadline" or, where a
                   structure was closed for it, "max_tokens"; else None
    ending         "natural", "landed" or "cut" once finished
    trace, error   once finished
    prompt_logprobs   once finished, where asked for: of the prompt's tokens after the first
    hidden         once finished, where asked for and there was time: float32 [hidden size], mean
                   of the prompt's hidden states
    """

    sequence_id: str
    tokens: list[int]
    logprobs: list[float]
    entropies: list[float]
    top: list[TopLogprobs]
    text_chars: int | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    ending: str | None = None
    trace: Trace | None = None
    error: Exception | None = None
    prompt_logprobs: tuple[float, ...] = ()
    closing: str = ""
    hidden: Float32Array | None = None
    gear: str = ""

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A whole answer: the fields of its deltas put together, and the prompt's log probabilities."""

    sequence_id: str
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]
    top: tuple[TopLogprobs, ...]
    prompt_logprobs: tuple[float, ...]
    text_chars: int | None
    closing: str
    finish_reason: str | None
    stop_reason: str | int | None
    ending: str | None
    trace: Trace
    error: Exception | None


def order_of(request: Request, dues: Dues, number: int) -> tuple[int, int]:
    """What sorts requests, the most urgent first; `number` counts arrivals."""
    return dues.urgency + request.background * BACKGROUND_NS, number


@dataclass(frozen=True, slots=True)
class Force:
    """Tokens that go into an answer now, as if the model had drawn them."""

    tokens: tuple[int, ...]


class Sequence:
    """A request in flight: its tokens, cache blocks, plan, deadline, gear and results so far.

    `ids[:length]` are prompt and answer; `computed` of them are in the cache; `number` counts
    arrivals at the engine.
    """

    def __init__(
        self,
        request: Request,
        *,
        sampler: Sampler,
        stop: StopCheck,
        tokens: list[int],
        policy: Policy,
        gears: tuple[Gear, ...],
        arrival_ns: int,
        dues: Dues,
        number: int,
        names: list[bytes],
        max_blocks: int,
        streamed: bool,
    ) -> None:
        self.request = request
        self.sampler = sampler
        self.policy = policy
        self.gears = gears  # allowed ones, cheapest first
        self.gear_names = tuple(gear.name for gear in gears)
        self.plan: Plan
        self.gear = self.prefill_gear = gears[-1]
        self.arrival_ns = arrival_ns
        self.dues = dues
        self.foreseen = (0.0, 0.0)  # ms since arrival: when it was planned first, its first token
        self.crossed = False  # others were there when it came
        self.end_ns = dues.end_ns
        self.number = number
        self.last_ns = arrival_ns  # when its last token came
        self.streamed = streamed
        self.state: State = "waiting"
        prompt = np.array(request.prompt_tokens, dtype=np.int32)
        self.prompt_length = len(prompt)
        self.ids: Int32Array = np.empty(len(prompt) + 64, dtype=np.int32)
        self.ids[: len(prompt)] = prompt
        self.length = len(prompt)
        self.computed = 0
        self.names = names
        self.table = BlockTable()
        self.table_ids: Int32Array = np.zeros(max_blocks, dtype=np.int32)
        self.tokens = tokens  # the answer; `stop` appends to it
        self.stop = stop
        self.peak_blocks = 0
        self.row = BatchRow(
            tokens=self.ids[:0],
            start=0,
            block_table=self.table_ids[:0],
            stop_ids=self.stop.stop_ids,
            top_logprobs=request.params.logprobs or 0,
            statistics=request.params.logprobs is not None,
        )
        self.logprobs: list[float] = []
        self.entropies: list[float] = []
        self.top: list[TopLogprobs] = []
        self.prompt_logprobs: list[float] = []
        self.hidden: Float32Array | None = None  # the mean over the prompt, once all of it was read
        self._hidden_sum = np.zeros(0)
        self.text_chars: int | None = None
        self.closing = ""
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.ending: str | None = None
        self.error: Exception | None = None
        self.landing = False
        self.shifted_at = 0  # tokens drawn at the last shift
        self.check_tokens = 0  # the controller looks again at this many tokens,
        self.check_ns = 0  # or at this instant
        self.until_ns: int | None = None  # no step may start later
        self.slack_ms = float("inf")
        self.owed: Force | None = None  # decided on, and put in at the next turn
        self.speed = 1.0  # tokens a millisecond with drafts, over what plain steps give
        self.segment = Segment()
        budget = request.budget
        self.trace = Trace(
            request_id=request.id,
            budget_ms=budget.total_ms,
            budget_ttft_ms=budget.ttft_ms,
            budget_tpot_ms=budget.tpot_ms,
            policy=request.policy,
            sampling=request.params.shaping(),
            prompt_tokens=len(prompt),
        )

    def __repr__(self) -> str:
        return (
            f"Sequence({self.request.id!r}, {self.state}, prompt={self.prompt_length}, "
            f"answer={len(self.tokens)}, computed={self.computed}, gear={self.gear.name!r})"
        )

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.id

    @property
    def finished(self) -> bool:
        """Whether the answer is over."""
        return self.state == "finished"

    @property
    def order(self) -> tuple[int, int]:
        """Sorts sequences, the most urgent first."""
        return order_of(self.request, self.dues, self.number)

    @property
    def awaited(self) -> bool:
        """Whether its next token is waited for; else it works in the background."""
        return self.dues.timed and not self.request.background

    @property
    def prefill_left(self) -> int:
        """Tokens to run before it can decode; the last one drawn is not among them."""
        end = self.length - 1 if self.tokens else self.prompt_length
        return end - self.computed

    def gear_of(self, name: str) -> Gear:
        """The allowed gear of that name."""
        return self.gears[self.gear_names.index(name)]

    def adopt(self, plan: Plan, now_ns: int) -> None:
        """Follow a plan; nothing may have been computed for the one before."""
        self.plan = plan
        self.gear, self.prefill_gear = self.gear_of(plan.gear), self.gear_of(plan.prefill_gear)
        if self.trace.predicted_ms is None:
            self.trace.predicted_ms = plan.predicted_ms
            self.foreseen = (self.at_ms(now_ns), plan.first_ms)
            if self.request.fitted is not None:
                self.trace.add(self.at_ms(now_ns), "fit", **asdict(self.request.fitted))
        self.trace.add(
            self.at_ms(now_ns),
            "plan",
            gear=plan.gear,
            prefill_gear=plan.prefill_gear,
            last_resort=plan.last_resort,
            gears=list(self.gear_names),
            max_tokens=plan.max_tokens,
            predicted_ms=round(plan.predicted_ms, 3),
            likely_ms=round(plan.likely_ms, 3),
            best_effort=self.request.best_effort,
            feasible_ms=plan.feasible_ms,
            feasible_of=plan.feasible_of,
            better_ms=_thousandths(plan.better_ms),
            better_tpot_ms=_thousandths(plan.better_tpot_ms),
            crowding=round(plan.crowding, 3),
            end_ms=None if self.end_ns is None else _thousandths(self.at_ms(self.end_ns)),
            kept_ms=_thousandths(self.dues.kept_ns / 1e6),
        )

    def at_ms(self, now_ns: int) -> float:
        """Milliseconds since arrival."""
        return (now_ns - self.arrival_ns) / 1e6

    def likely_end_ns(self, now_ns: int) -> int:
        """When it will have ended: as its plan has it in the median; where that is over, at p95;
        where that is over too, when its time is, or now."""
        for ms in (self.plan.likely_ms, self.plan.predicted_ms):
            end_ns = self.arrival_ns + int(ms * 1e6)
            if end_ns > now_ns:
                break
        else:
            end_ns = now_ns if self.end_ns is None else self.end_ns
        return end_ns if self.end_ns is None else min(end_ns, self.end_ns)

    def trace_prefill(self, at_ms: float) -> None:
        """Tell the trace of the prompt chunks run since the last line."""
        part = self.segment
        if part.prefill_tokens:
            self.trace.add(
                at_ms, "prefill", gear=self.prefill_gear.name, tokens=part.prefill_tokens,
                cached=self.trace.cached_tokens, ms=round(part.prefill_ms, 3),
                expected_ms=round(part.prefill_expected_ms, 3),
            )  # fmt: skip
            part.prefill_tokens, part.prefill_ms, part.prefill_expected_ms = 0, 0.0, 0.0

    def trace_decode(self, at_ms: float) -> None:
        """Tell the trace of the decode steps run since the last line."""
        part = self.segment
        if part.calls:
            self.trace.add(
                at_ms, "decode", gear=self.gear.name, tokens=part.tokens, calls=part.calls,
                ms=round(part.ms, 3), expected_ms=round(part.expected_ms, 3),
                slowest_ms=round(part.slowest_ms, 3), slowest_token=part.slowest_token,
            )  # fmt: skip
            self.segment = Segment()

    def trace_no_time(self, at_ms: float, left_ms: float, need_ms: float) -> None:
        """Tell the trace that nothing more fits: the next token (or the prompt) needs `need_ms`."""
        self.trace_decode(at_ms)
        self.trace.add(
            at_ms, "no_time", token=len(self.tokens), left_ms=round(left_ms, 3),
            need_ms=round(need_ms, 3),
        )  # fmt: skip

    def close(self, stop: Stop, now_ns: int, block_bytes: int) -> None:
        """Take the ending over and complete the trace."""
        self.finish_reason, self.stop_reason = stop.finish_reason, stop.stop_reason
        self.ending, self.text_chars = stop.ending, stop.text_chars
        self.closing = stop.closing
        trace, at_ms = self.trace, self.at_ms(now_ns)
        self.trace_prefill(at_ms)
        self.trace_decode(at_ms)
        trace.elapsed_ms, trace.ending = at_ms, stop.ending
        trace.answer_tokens = len(self.tokens)
        trace.peak_kv_bytes = self.peak_blocks * block_bytes
        trace.tpot_ms = self._tpot_ms()
        budget = self.request.budget
        if budget.limited:
            in_time = budget.total_ms is None or at_ms <= budget.total_ms
            ttft_ms = trace.ttft_ms
            first = budget.ttft_ms is None or (ttft_ms is not None and ttft_ms <= budget.ttft_ms)
            rhythm = budget.tpot_ms is None or (trace.tpot_ms or 0.0) <= budget.tpot_ms
            some = bool(self.tokens) or stop.ending == "natural"
            trace.met = in_time and first and rhythm and some and self.error is None
        trace.add(
            at_ms, "stop", finish_reason=stop.finish_reason, stop_reason=stop.stop_reason,
            ending=stop.ending, closing=stop.closing,
        )  # fmt: skip

    def _tpot_ms(self) -> float | None:
        """Mean milliseconds of the tokens after the first (see Budget); None without such."""
        if self.dues.begun_ns is None or len(self.tokens) < 2:
            return None
        return (self.last_ns - self.dues.begun_ns) / (len(self.tokens) - 1) / 1e6

    def append(self, token: int) -> None:
        """Put a drawn token behind the ids."""
        if self.length == len(self.ids):
            grown = np.empty(2 * self.length, dtype=np.int32)
            grown[: self.length] = self.ids
            self.ids = grown
        self.ids[self.length] = token
        self.length += 1

    def add_hidden(self, values: Seq[float], start: int) -> None:
        """Take in the sum of a prompt chunk's hidden states; the first chunk begins anew."""
        known = self._hidden_sum if start else 0.0
        self._hidden_sum = known + np.array(values, dtype=np.float64)
        if self.computed >= self.prompt_length:
            self.hidden = (self._hidden_sum / self.prompt_length).astype(np.float32)

    def take_speed(self, speed: float) -> None:
        """Follow how much faster a call was than plain steps: 1 where nothing was drafted."""
        self.speed += _SPEED_RATE * (speed - self.speed)

    def output(self) -> RequestOutput:
        """The whole answer so far."""
        return RequestOutput(
            sequence_id=self.id,
            prompt_tokens=self.request.prompt_tokens,
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            entropies=tuple(self.entropies),
            top=tuple(self.top),
            prompt_logprobs=tuple(self.prompt_logprobs),
            text_chars=self.text_chars,
            closing=self.closing,
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
            ending=self.ending,
            trace=self.trace,
            error=self.error,
        )


def _thousandths(ms: float | None) -> float | None:
    """Milliseconds as the trace keeps them; what no budget would do is not told."""
    return round(ms, 3) if ms is not None and math.isfinite(ms) else None


@dataclass(slots=True)
class Segment:
    """Work since the last trace line: one line tells of many tokens. `expected` is the latency
    model's median when each call began; `slowest_token` counts the answer's tokens from 1."""

    prefill_tokens: int = 0
    prefill_ms: float = 0.0
    prefill_expected_ms: float = 0.0
    tokens: int = 0
    calls: int = 0
    ms: float = 0.0
    expected_ms: float = 0.0
    slowest_ms: float = 0.0
    slowest_token: int = 0

    def add_steps(self, step_ms: list[float], expected_ms: float, tokens: int, drawn: int) -> None:
        """Take in a call that drew `tokens` after `drawn` earlier ones."""
        self.calls += 1
        self.tokens += tokens
        self.ms += sum(step_ms)
        self.expected_ms += expected_ms
        for i, ms in enumerate(step_ms):
            if ms > self.slowest_ms:
                self.slowest_ms, self.slowest_token = ms, drawn + i + 1
