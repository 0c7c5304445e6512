"""LLM: the synchronous door. Load a model, generate, stream, chat, within a deadline.

It must not know how tokens are computed or time is planned: it turns text into Requests, drives the
engine until they are done, and gives back Outputs.

    with LLM("onesec-mini") as llm:
        question = [{"role": "user", "content": "Where is my order?"}]
        answer = llm.chat(question, deadline="800ms")
        print(answer.text, answer.met, answer.trace.gears)

`chat` answers, through the model's chat template; `generate` continues a text as it is.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from operator import index
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, Self, overload
from weakref import finalize

from onesec.core.clock import Clock, MonotonicClock
from onesec.core.closing import Closing
from onesec.core.collector import QuietCollector
from onesec.core.cues import Cues
from onesec.core.deadline import Budget, Duration
from onesec.core.errors import (
    EmptyPrompt,
    EngineClosed,
    InvalidRequest,
    QueueFull,
    UnknownGear,
)
from onesec.core.fitted import Fitting
from onesec.core.gear import Gear
from onesec.core.request import PolicyName, Request, SamplingParams
from onesec.loading import PROFILE_USES, KvDtype, LoadedModel, ProfileUse, load_model
from onesec.model.tokenizer import Tokenizer
from onesec.output import Answer, Output, Stream
from onesec.prepare import Preparation, Prepared
from onesec.wording import Message

if TYPE_CHECKING:
    from onesec.explain.attribution import Attribution

Prompt = str | Sequence[int]


class LLM(Closing):
    """A loaded model and its engine.

    model      a folder, a .gguf file, a Hugging Face name, or "onesec-mini"
    device     "cpu", or "cuda" ("cuda:1", ...) where onesec[gpu] is installed
    threads    CPU threads (None: all that affinity and cgroup allow); at most four times as many,
               or 64
    context    tokens that the cache holds (None: the model's own context, at most 8192)
    kv_dtype   of the cache: "f16", "i8" (half the memory, about the cost in accuracy that 8-bit
               weights have) or "f32"
    reference  also load the 16-bit width as gear "16" (needs a checkpoint, not an artifact)
    speculate  guess tokens ahead where that pays; answers are the same, some come sooner
    learn      keep what is learned of answers' lengths in the user's cache for the next start;
               False begins with nothing and leaves nothing: measurements can be repeated
    profile    the latency model of this machine: "checked" holds the one that was kept against a
               few steps, "kept" takes it as it is and starts 50 ms sooner, for answers without a
               deadline; "fresh" measures anew
    quiet_gc   keep Python's garbage collector out of answers with a deadline: none of what is alive
               after loading is looked at again, and no collection begins while such an answer is
               written. It changes the whole process until `close`, and so is the process's choice;
               the `onesec` command makes it for itself
    progress   called with the share loaded, in [0, 1]

    Calls from several threads take turns, and waiting counts against their budgets. A forked
    process has none of the engine's threads and opens an LLM of its own.

    Raises ModelError (missing, corrupt or unsupported), OutOfMemory, InvalidRequest.
    """

    _quiet: QuietCollector | None

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        context: int | None = None,
        kv_dtype: KvDtype = "f16",
        reference: bool = False,
        speculate: bool = True,
        learn: bool = True,
        profile: ProfileUse = "checked",
        quiet_gc: bool = False,
        clock: Clock | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if profile not in PROFILE_USES:
            raise InvalidRequest(
                f"There is no profile {profile!r}.",
                hint=f"Choose one of {', '.join(PROFILE_USES)}.",
            )
        loaded = load_model(
            model,
            context=context,
            device=device,
            threads=threads,
            kv_dtype=kv_dtype,
            reference=reference,
            progress=progress,
        )
        self._open(loaded, clock or MonotonicClock(), speculate, learn, profile)
        self._quiet = QuietCollector() if quiet_gc else None

    @classmethod
    def over(
        cls,
        loaded: LoadedModel,
        *,
        clock: Clock | None = None,
        speculate: bool = True,
        learn: bool = False,
    ) -> Self:
        """An LLM over parts that are loaded already; it closes them when it is closed."""
        llm = cls.__new__(cls)
        llm._open(loaded, clock or MonotonicClock(), speculate, learn)
        llm._quiet = None
        return llm

    def _open(
        self,
        loaded: LoadedModel,
        clock: Clock,
        speculate: bool,
        learn: bool,
        profile: ProfileUse = "checked",
    ) -> None:
        self._loaded = loaded
        self._clock = clock
        try:
            self._lengths = loaded.lengths() if learn and loaded.lengths is not None else None
            latency = loaded.measure_latency(clock, profile)
            self._engine = loaded.engine(clock, latency, self._lengths, speculate=speculate)
        except BaseException:
            loaded.close()
            raise
        self._ids = itertools.count(1)
        self._answers: dict[str, Answer] = {}
        self._turn = RLock()
        self._process = os.getpid()
        self._dropped: deque[str] = deque()  # requests whose streams nobody holds any more

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._loaded.tokenizer

    @property
    def gears(self) -> tuple[Gear, ...]:
        """The gears, from the cheapest to the best."""
        return self._loaded.backend.gears

    def speculation(self, gear: str, *, context: int = 256) -> dict[str, Any] | None:
        """What guessing tokens ahead is worth on this machine, by what was measured so far: the
        cost of checks in plain steps, acceptance, how many guesses pay; None where it is off.
        Raises UnknownGear.
        """
        found = self._engine.speculation
        return None if found is None else found.describe(gear, context)

    @property
    def context_length(self) -> int:
        """Tokens that one prompt and its answer may have together."""
        return self._loaded.context_length

    @property
    def default_params(self) -> SamplingParams:
        """How the model samples where a caller says nothing: from its generation_config.json."""
        return self._loaded.default_params

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be used."""
        return self._loaded.template is not None

    @overload
    def generate(
        self,
        prompt: Prompt,
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        fit: Fitting = "none",
        **sampling: Any,
    ) -> Output: ...
    @overload
    def generate(
        self,
        prompt: Sequence[Prompt],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        fit: Fitting = "none",
        **sampling: Any,
    ) -> list[Output]: ...
    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        fit: Fitting = "none",
        **sampling: Any,
    ) -> Output | list[Output]:
        """Continue a prompt (text or token ids), or several at once, each within `deadline`.

        The budget runs from this call: "800ms", seconds, a Budget, or what is left of a Deadline.
        `policy` says what the time is for: see Request. `sampling` are fields of SamplingParams;
        those left out are the model's own (`default_params`), or those of `params` where it is
        given. Raises DeadlineInfeasible with the smallest budget that would do; with `best_effort`
        nothing is refused for its time, and what is there at the deadline is the answer.

        `fit` is the caller's leave to shorten a text that cannot be answered in its time as it is:
        "drop_oldest" takes away its beginning, "extract" keeps the sentences that speak of what is
        asked at its end; `Output.fitted` tells what is gone. "none" refuses.

        >>> llm.generate("Once upon a time", deadline="500ms", max_tokens=64).text  # doctest: +SKIP
        """
        arrival_ns = self._clock.now_ns()
        budget, values = Budget.of(deadline, arrival_ns), self._params(params, sampling)
        one = isinstance(_checked(prompt), str) or (len(prompt) > 0 and _is_number(prompt[0]))
        prompts: Sequence[Any] = [prompt] if one else prompt
        streams: list[Stream] = []
        unread: deque[Stream] = deque()
        with self._alone():
            try:
                for each in prompts:
                    asked = self._request(
                        arrival_ns, budget, values, gear, min_gear, policy, best_effort
                    )
                    request = self._continued(each, asked, fit)
                    streams.append(self._submit_after(unread, request))
                    unread.append(streams[-1])
                outputs = [stream.output for stream in streams]
            finally:
                for stream in streams:
                    stream.close()
        return outputs[0] if one else outputs

    def stream(
        self,
        prompt: Prompt,
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        fit: Fitting = "none",
        **sampling: Any,
    ) -> Stream:
        """As `generate`, with the text as it comes."""
        arrival_ns = self._clock.now_ns()
        budget, values = Budget.of(deadline, arrival_ns), self._params(params, sampling)
        asked = self._request(arrival_ns, budget, values, gear, min_gear, policy, best_effort)
        with self._alone():
            return self._submit(self._continued(prompt, asked, fit), stream=True)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        stream: Literal[False] = False,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        app: str = "",
        fit: Fitting = "none",
        **sampling: Any,
    ) -> Output: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        stream: Literal[True],
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        app: str = "",
        fit: Fitting = "none",
        **sampling: Any,
    ) -> Stream: ...
    def chat(
        self,
        messages: Sequence[Message],
        deadline: Duration = None,
        params: SamplingParams | None = None,
        *,
        stream: bool = False,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        best_effort: bool = False,
        app: str = "",
        fit: Fitting = "none",
        **sampling: Any,
    ) -> Output | Stream:
        """Answer a conversation through the model's chat template.

        `messages` are OpenAI's: {"role": "system" | "user" | "assistant", "content": text}. Answer
        lengths are learned for each `app` by itself. `fit` as in `generate`: "drop_oldest" drops
        turns before it shortens texts. Raises InvalidRequest when the model has no template.

        >>> llm.chat([{"role": "user", "content": "Hi"}], deadline=1.5).text  # doctest: +SKIP
        """
        arrival_ns = self._clock.now_ns()
        budget, values = Budget.of(deadline, arrival_ns), self._params(params, sampling)
        asked = self._request(arrival_ns, budget, values, gear, min_gear, policy, best_effort)
        with self._alone():
            prepared = self._preparation(asked, fit, app).messages(messages)
            answer = self._submit(_with(asked, prepared), stream=stream)
            if stream:
                return answer
            with answer:
                return answer.output

    def attribute(
        self,
        prompt: str | Sequence[Message],
        answer: str | Output,
        *,
        deadline: Duration | Budget | None = None,
        gear: str | None = None,
    ) -> Attribution:
        """Which sentences of the longest text among the messages (or of the prompt) carried the
        answer: by how much its log-likelihood falls without each ("leave-one-out log-likelihood").

        `deadline` is this call's own; what there was no time for is said to be not examined. In the
        best gear, or `gear`. The prefix cache is emptied. Raises EmptyPrompt, InvalidRequest,
        UnknownGear, and DeadlineInfeasible where there is no time to score the answer once.

        >>> llm.attribute("Tea is 3 dollars. It is green. The price?", "3").leading()[0].text
        ... # doctest: +SKIP
        'Tea is 3 dollars.'
        """
        start_ns, budget_ms = self._clock.now_ns(), Budget.of(deadline).total_ms
        # Only here: a start that answers one prompt need not wait for the applications' rules.
        from onesec.explain.attribution import attribute, longest_text
        from onesec.explain.scoring import Scorer

        chosen = next((known for known in self.gears if known.name == gear), None)
        if gear is not None and chosen is None:
            raise UnknownGear(gear, tuple(known.name for known in self.gears))
        chosen = chosen or self.gears[-1]
        text, prompt_with = longest_text(prompt)
        if not text.strip():
            raise EmptyPrompt("The prompt holds no text.", hint="Give the one that was answered.")

        def tokens_with(other: str) -> Sequence[int]:
            whole = prompt_with(other)
            if isinstance(whole, str):
                return self.tokenizer.encode(whole, add_bos=True)
            return self._loaded.render(whole)

        told = answer.tokens if isinstance(answer, Output) else self.tokenizer.encode(answer)
        with self._alone(), self._engine.lend() as blocks:
            return attribute(
                text,
                tokens_with,
                Scorer(self._loaded.backend, chosen, blocks, answer=told),
                clock=self._clock,
                start_ns=start_ns,
                budget_ms=budget_ms,
                predict_ms=lambda count: self._engine.latency.prefill_ms(chosen.name, count),
            )

    def fit_messages(
        self, messages: Sequence[Message], *, max_tokens: int
    ) -> tuple[list[Message], int]:
        """The messages that fit `max_tokens`, without the oldest turns; and how many turns went.
        Raises ContextLengthExceeded where the last turn alone is too long."""
        return self._loaded.fit_messages(messages, max_tokens=max_tokens)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text as a user writes it. Raises InvalidRequest where it is far too long."""
        return len(self.tokenizer.encode(text))

    def predict_ms(
        self, prompt_tokens: int, answer_tokens: int, *, gear: str | None = None
    ) -> float:
        """Milliseconds (p95) that a prompt and an answer of so many tokens take on the idle engine,
        in `gear` or the cheapest one. Raises UnknownGear."""
        latency, name = self._engine.latency, gear or self.gears[0].name
        prefill_ms = latency.prefill_ms(name, prompt_tokens)
        return prefill_ms + latency.decode_ms(name, prompt_tokens, answer_tokens - 1)

    def save(self, path: str | Path) -> None:
        """Write the model as an artifact, which loads at once: weights packed, tokenizer beside.
        Raises InvalidRequest, ModelError, EngineClosed."""
        with self._alone():
            if self._loaded.closed:
                raise EngineClosed("The model is closed.", hint="Open it again.")
            self._loaded.save(path)

    def close(self) -> None:
        """Release the engine's memory and threads, once nobody is in it. Harmless when called
        again."""
        with self._turn:
            self._answers.clear()
            if self._quiet is not None:
                self._quiet.close()
            if self._lengths is not None:
                self._lengths.keep(self._engine.length)
            self._engine.close()
            self._loaded.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The engine for this thread; others wait. Raises EngineClosed in a forked process."""
        if os.getpid() != self._process:
            raise EngineClosed(
                "This process was forked, and the engine's threads were left behind.",
                hint="Open an LLM in each process.",
            )
        with self._turn:
            while self._dropped:
                self._abort(self._dropped.popleft())
            yield

    def _params(self, params: SamplingParams | None, sampling: Mapping[str, Any]) -> SamplingParams:
        """`params`, or else the model's own, with the fields of `sampling` in their place."""
        if params is not None and not isinstance(params, SamplingParams):
            raise InvalidRequest(
                f"params is a {type(params).__name__}; it must be SamplingParams.",
                hint="Single values are given by name: generate(prompt, temperature=0.7).",
            )
        unknown = sampling.keys() - {field.name for field in fields(SamplingParams)}
        if unknown:
            raise InvalidRequest(
                f"Unknown option: {', '.join(sorted(unknown))}.",
                hint="The options are the fields of SamplingParams.",
            )
        return replace(self.default_params if params is None else params, **sampling)

    def _request(
        self,
        arrival_ns: int,
        budget: Budget,
        params: SamplingParams,
        gear: str | None,
        min_gear: str | None,
        policy: PolicyName,
        best_effort: bool,
    ) -> Request:
        """A request that has no prompt yet."""
        return Request(
            id=f"r{next(self._ids)}",
            prompt_tokens=(),
            params=params,
            budget=budget,
            arrival_ns=arrival_ns,
            gear=gear,
            min_gear=min_gear,
            policy=policy,
            best_effort=best_effort,
        )

    def _continued(self, prompt: Prompt, asked: Request, fit: Fitting) -> Request:
        """The request with a plain prompt. One of token ids is never shortened."""
        preparation = self._preparation(asked, fit, "")
        if isinstance(prompt, str):
            return _with(asked, preparation.text(prompt))
        try:
            return _with(asked, Prepared.of_tokens([index(each) for each in _checked(prompt)]))
        except TypeError:
            raise InvalidRequest(
                "A prompt of token ids holds what is no whole number.",
                hint="Give text, or ids as the tokenizer numbers them.",
            ) from None

    def _preparation(self, asked: Request, fit: Fitting, app: str) -> Preparation:
        def room(tokens: Sequence[int], cues: Cues, spare_ms: float) -> int:
            known = replace(asked, prompt_tokens=tuple(tokens), cues=cues)
            return self._engine.prompt_room(known, spare_ms=spare_ms)

        deadline = asked.budget.deadline(asked.arrival_ns)
        return Preparation(
            self._loaded.wording,
            self._clock,
            context_length=self.context_length,
            fitting=fit,
            deadline=deadline,
            room=room,
            app=app,
        )

    def _submit(self, request: Request, *, stream: bool) -> Stream:
        self._engine.add_request(request, stream=stream)
        self._answers[request.id] = Answer(
            request, self.tokenizer.stream(begun=request.continues), self._loaded.confidence
        )
        if self._quiet is not None and request.budget.limited:
            self._quiet.hold(request.id)
        found = Stream(partial(self._take, request.id), partial(self._abort, request.id))
        # A stream may be dropped in the middle of a turn: the next call aborts its request.
        finalize(found, _drop, request.id, self._dropped, self._quiet).atexit = False
        return found

    def _submit_after(self, others: deque[Stream], request: Request) -> Stream:
        """Submit one of several prompts; where the queue is full of them, the first ones are
        finished before, and taken out of `others`."""
        while others:
            try:
                return self._submit(request, stream=False)
            except QueueFull:
                _ = others.popleft().output
        return self._submit(request, stream=False)

    def _take(self, request_id: str) -> tuple[str, Output | None]:
        """New text of a request, and its Output once it is finished; runs the engine if need be."""
        with self._alone():
            answer = self._answers.get(request_id)
            if answer is None:
                raise InvalidRequest("The stream was closed.", hint="Ask again.")
            while not (piece := answer.take()) and not answer.finished:
                for delta in self._engine.step():
                    # A turn that was interrupted may have left what a closed stream gained.
                    if (known := self._answers.get(delta.sequence_id)) is not None:
                        known.add(delta)
                    if delta.finished and self._quiet is not None:
                        self._quiet.release(delta.sequence_id)
            if not answer.finished:
                return piece, None
            del self._answers[request_id]
            if self._lengths is not None and not self._answers:
                self._lengths.idle(lambda: self._engine.length, self._clock.now_ns())
        return piece, answer.output()

    def _abort(self, request_id: str) -> None:
        with self._turn:
            answer = self._answers.pop(request_id, None)
            if self._quiet is not None:
                self._quiet.release(request_id)
            if answer is not None and not answer.finished:
                self._engine.abort(request_id)


def _drop(request_id: str, dropped: deque[str], quiet: QuietCollector | None) -> None:
    """A stream is gone: nobody waits for its answer any more."""
    dropped.append(request_id)
    if quiet is not None:
        quiet.release(request_id)


def _with(asked: Request, prepared: Prepared) -> Request:
    """The request with its prompt."""
    return replace(
        asked,
        prompt_tokens=prepared.tokens,
        cues=prepared.cues,
        fitted=prepared.report,
        continues=prepared.continues,
    )


def _is_number(first: Any) -> bool:
    """Whether what begins a prompt is a token id, and no prompt of several; arrays have numbers'
    methods too, whatever they hold."""
    return hasattr(first, "__index__") and not getattr(first, "shape", ())


def _checked(prompt: Any) -> Any:
    """The prompt, if it is text or a sequence; InvalidRequest for anything else."""
    known = isinstance(prompt, Sequence) or hasattr(prompt, "__array__")
    if isinstance(prompt, bytes) or not known:
        raise InvalidRequest(
            f"A prompt is a {type(prompt).__name__}; it must be text or token ids.",
            hint="Decode bytes first; give several prompts as a list.",
        )
    return prompt
