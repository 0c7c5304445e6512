"""Request and its sampling values: what was asked, immutable and checked on construction.

It must not know tokens' meaning, models, or time's passing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .cues import Cues
from .deadline import Budget
from .errors import InvalidRequest, UnknownToken
from .fitted import FitReport
from .response_format import schema_of

PolicyName = Literal["quality", "balanced", "fastest"]
POLICY_NAMES: tuple[PolicyName, ...] = get_args(PolicyName)
MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 256
MAX_LOGIT_BIAS = 1024


def _check(param: str, value: float, low: float, high: float, name: str = "") -> None:
    """Raises InvalidRequest where a value of `param`, called `name`, is not in [low, high]."""
    name = name or param
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        words = f"{name} must be a number, not {type(value).__name__}."
        raise InvalidRequest(words, param=param)
    if not low <= value <= high:  # also what is no number
        words = f"{name} is {value}; it must lie in [{low}, {high}]."
        raise InvalidRequest(words, param=param)


def _check_int(param: str, value: int, low: int, high: int, name: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        words = f"{name or param} must be an integer, not {type(value).__name__}."
        raise InvalidRequest(words, param=param)
    _check(param, value, low, high, name)


def check_tokens(param: str, tokens: Collection[int], vocab_size: int) -> None:
    """Raises UnknownToken where one of the tokens that `param` has is not in [0, vocab_size)."""
    for token in (min(tokens), max(tokens)) if tokens else ():
        if not 0 <= token < vocab_size:
            raise UnknownToken(param, token, vocab_size)


def _several(value: Any) -> tuple[Any, ...]:
    """One value, several, or None as a tuple."""
    if value is None:
        return ()
    one = isinstance(value, str) or not isinstance(value, Iterable)
    return (value,) if one else tuple(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How a token is chosen. temperature 0 is greedy; every other filter is off by default.

    Order: logit bias, penalties, min_tokens (bans end tokens), temperature, top_k, top_p, min_p,
    draw.
    Penalties follow OpenAI (presence, frequency: tokens of the answer) and Hugging Face
    (repetition: tokens of prompt and answer). A lone stop string or stop token is taken as one, and
    None as none. Raises InvalidRequest on values out of range.

    >>> SamplingParams(temperature=0.7, top_p=0.9, seed=7).temperature
    0.7
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  # None: none; n: the chosen token's and those of the n best
    prompt_logprobs: bool = False  # report the log probability of each prompt token
    response_format: Mapping[str, Any] | None = None  # see response_format.schema_of
    pooled: bool = False  # no answer: the mean of the prompt's hidden states

    def shaping(self) -> dict[str, Any]:
        """The values that shape the answer and are not the defaults, by name: for traces.

        >>> SamplingParams(temperature=0.7, logprobs=2).shaping()
        {'temperature': 0.7}
        """
        return {
            name: value
            for name in _SHAPING
            if (value := getattr(self, name)) != getattr(_DEFAULT, name)
        }

    def check_tokens(self, vocab_size: int) -> None:
        """Raises UnknownToken where a token is named that a vocabulary of this size lacks."""
        check_tokens("logit_bias", self.logit_bias, vocab_size)
        check_tokens("stop_token_ids", self.stop_token_ids, vocab_size)

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0, 100.0)
        _check_int("top_k", self.top_k, 0, 2**31 - 1)
        _check("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0.0:
            raise InvalidRequest(
                "top_p is 0; it must be greater. Use temperature=0 for greedy.", param="top_p"
            )
        _check("min_p", self.min_p, 0.0, 1.0)
        _check("repetition_penalty", self.repetition_penalty, 1e-2, 100.0)
        _check("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _check("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        if self.seed is not None:
            _check_int("seed", self.seed, 0, 2**63 - 1)
        if self.max_tokens is not None:
            _check_int("max_tokens", self.max_tokens, 1, 2**31 - 1)
        _check_int("min_tokens", self.min_tokens, 0, 2**31 - 1)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest(
                f"min_tokens is {self.min_tokens}, more than max_tokens ({self.max_tokens}).",
                param="min_tokens",
            )
        if self.response_format is not None:
            schema_of(self.response_format)
        if self.logprobs is not None:
            _check_int("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        if not isinstance(self.logit_bias, Mapping):
            raise InvalidRequest(
                "logit_bias must map token ids to numbers, "
                f"it is a {type(self.logit_bias).__name__}.",
                param="logit_bias",
            )
        if len(self.logit_bias) > MAX_LOGIT_BIAS:
            raise InvalidRequest(
                f"logit_bias has {len(self.logit_bias)} entries; the limit is {MAX_LOGIT_BIAS}.",
                param="logit_bias",
            )
        for token, bias in self.logit_bias.items():
            _check_int("logit_bias", token, 0, 2**31 - 1, "a token id of logit_bias")
            _check("logit_bias", bias, -100.0, 100.0)
        for name in ("stop", "stop_token_ids"):
            object.__setattr__(self, name, _several(getattr(self, name)))
        for token in self.stop_token_ids:
            _check_int("stop_token_ids", token, 0, 2**31 - 1, "a stop token id")
        if len(self.stop) > MAX_STOP_STRINGS:
            raise InvalidRequest(
                f"stop has {len(self.stop)} strings; the limit is {MAX_STOP_STRINGS}.",
                param="stop",
            )
        for text in self.stop:
            if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP_CHARS:
                raise InvalidRequest(
                    f"a stop string must have 1 to {MAX_STOP_CHARS} characters: {text!r}.",
                    param="stop",
                )


_SHAPING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_tokens",
    "min_tokens",
)
_DEFAULT = SamplingParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question: its prompt as token ids, how to sample, and how long it may take.

    `gear` names a gear to use throughout (None: the planner chooses); `min_gear` is the caller's
    quality floor. `arrival_ns` is the monotonic instant of the first byte: the budget runs from it.
    `fitted` tells what the prompt has lost on its way, where it was made to fit.
    `best_effort`: never refused for its time; what is there at the deadline is the answer, and
    `met` says whether there was any.
    `background`: it goes behind all requests that are not, whatever its deadline.
    `continues`: the answer goes on with the prompt's text: a space that opens it belongs to it.
    `marked`: special tokens are text too, as for calls of tools, which stand between some.
    `policy` says what the time is for: "quality" (the best gear in which the usual answer fits),
    "balanced" (the best one in which also a long answer fits), "fastest" (the cheapest gear: done
    as soon as it can be). Without a budget the first two use the best gear. Raises InvalidRequest.
    """

    id: str
    prompt_tokens: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    budget: Budget = field(default_factory=Budget)
    arrival_ns: int = 0
    gear: str | None = None
    min_gear: str | None = None
    cues: Cues = field(default_factory=Cues)
    fitted: FitReport | None = None
    policy: PolicyName = "balanced"
    best_effort: bool = False
    background: bool = False
    continues: bool = False
    marked: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.policy not in POLICY_NAMES:
            raise InvalidRequest(
                f"There is no policy {self.policy!r}.",
                hint=f"Choose one of {', '.join(POLICY_NAMES)}.",
            )
