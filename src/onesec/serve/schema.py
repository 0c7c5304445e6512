"""Schema: the requests that the routes understand, as typed structs.

It must not know what is done with them. Fields that are not known are ignored and named to the
caller; known ones that are out of range are refused. Ranges of sampling values are those of
SamplingParams.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from onesec.core.deadline import MAX_BUDGET_MS
from onesec.core.fitted import Fitting
from onesec.core.request import MAX_LOGPROBS, PolicyName, SamplingParams
from onesec.core.response_format import only_form

from .errors import ApiError

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Token = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_BUDGET = {"exclusiveMinimum": 0, "maximum": MAX_BUDGET_MS}  # checked where headers are, too


def _meaning(words: str, **schema: Any) -> msgspec.Meta:
    return msgspec.Meta(description=words, extra_json_schema=schema)


DeadlineMs = Annotated[
    float, _meaning("Milliseconds from the first byte received to the last one sent.", **_BUDGET)
]
TtftMs = Annotated[float, _meaning("Milliseconds to the first token.", **_BUDGET)]
TpotMs = Annotated[
    float, _meaning("Milliseconds that each token after it may take on average.", **_BUDGET)
]
_Gear = Annotated[str, msgspec.Meta(max_length=64)]  # each prompt takes its name along
OnlyGear = Annotated[_Gear, _meaning("Keep to this gear.")]
MinGear = Annotated[_Gear, _meaning("Never below this gear.")]
Policy = Annotated[PolicyName, _meaning("What the time is for.")]
BestEffort = Annotated[
    bool, _meaning("Nothing is refused for its time; what is there at the deadline is the answer.")
]
Fit = Annotated[
    Fitting, _meaning("Leave to shorten a prompt that has no time as it is; `onesec.fitted` tells.")
]
MAX_CHOICES = 8
MAX_PROMPTS = 64
MAX_STOP_IDS = 1024
MAX_INPUTS = 2048  # of embeddings, as OpenAI has it
Texts = str | list[str | Token | list[Token]]
_LONGEST = 200  # characters of a message that repeats what was given
Parsed = TypeVar("Parsed", bound=msgspec.Struct)
# Known to OpenAI's clients, without a meaning here: neither refused nor told of.
_HARMLESS = frozenset(
    (
        "user",
        "store",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "safety_identifier",
        "prediction",
        "verbosity",
    )
)


class StreamOptions(msgspec.Struct):
    """`continuous_usage_stats`: every chunk tells the counts so far. `include_onesec`: every chunk
    tells of its tokens, the first one of the plan, the last one of what happened."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_onesec: bool | None = None


class Sampled(msgspec.Struct, kw_only=True):
    """What every generating route takes. None: the model's own, or the server's.

    `priority` is vLLM's (less is sooner; 0 is usual), `service_tier` OpenAI's: what is above 0, or
    "flex", goes behind all that is not.
    """

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: Annotated[list[Token], msgspec.Meta(max_length=MAX_STOP_IDS)] | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    deadline_ms: DeadlineMs | None = None
    ttft_ms: TtftMs | None = None
    tpot_ms: TpotMs | None = None
    gear: OnlyGear | None = None
    min_gear: MinGear | None = None
    policy: Policy = "balanced"
    best_effort: BestEffort = False
    fit: Fit = "none"
    priority: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    service_tier: str | None = None
    response_format: dict[str, Any] | None = None

    @property
    def yields(self) -> bool:
        """Whether it goes behind all that are not."""
        return (self.priority or 0) > 0 or self.service_tier == "flex"

    def params(self, defaults: SamplingParams, **more: Any) -> SamplingParams:
        """The sampling values: those that were given, else `defaults`. Raises InvalidRequest."""
        values = {name: value for name in _PASSED if (value := getattr(self, name)) is not None}
        if self.seed is not None and -(2**63) <= self.seed < 0:
            values["seed"] = self.seed % 2**63  # OpenAI's are signed
        if self.logit_bias is not None:
            values["logit_bias"] = {_token(k): v for k, v in self.logit_bias.items()}
        if (self.response_format or {}).get("type", "text") != "text":
            values["response_format"] = only_form(self.response_format or {})
        return replace(defaults, **{**values, **more})


_PASSED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "ignore_eos",
    "min_tokens",
    "stop",
    "stop_token_ids",
)


class ChatRequest(Sampled, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class CompletionRequest(Sampled, kw_only=True):
    """POST /v1/completions. `prompt`: a text, texts, token ids, or lists of token ids."""

    prompt: Texts
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    suffix: str | None = None

    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or token ids. Raises ApiError for mixtures and too many."""
        return _texts("prompt", self.prompt, MAX_PROMPTS)


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """POST /v1/embeddings. `input`: a text, texts, token ids, or lists of token ids; `gear`: None
    is the best one, since vectors of different gears differ."""

    input: Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    deadline_ms: DeadlineMs | None = None
    gear: OnlyGear | None = None

    def inputs(self) -> list[str | list[int]]:
        """The inputs, each a text or token ids. Raises ApiError for mixtures and too many."""
        return _texts("input", self.input, MAX_INPUTS)


class TokenizeRequest(msgspec.Struct):
    """POST /tokenize."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True
    model: str | None = None


class DetokenizeRequest(msgspec.Struct):
    """POST /detokenize."""

    tokens: list[Token]
    model: str | None = None


def parse(body: bytes, kind: type[Parsed]) -> tuple[Parsed, tuple[str, ...]]:
    """A request's body as a struct, and the names of fields that were ignored. Raises ApiError."""
    try:
        raw = msgspec.json.decode(body)
        if not isinstance(raw, dict):
            raise ApiError("invalid_request", "The body must be a JSON object.")
        parsed = msgspec.convert(raw, kind)
    except RecursionError:
        raise ApiError("invalid_request", "The JSON nests too deep.") from None
    except msgspec.ValidationError as error:
        # Its words name the field, the expected type and the range; where a field has a few values
        # only, also the one that was given, however long that is.
        words = str(error)
        place = words.rpartition("at `$.")[2].rstrip("`") if "`$." in words else None
        if len(words) > _LONGEST:
            words = f"{words[:_LONGEST]}…"
        raise ApiError("invalid_request", f"{words}.", param=place) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError("invalid_request", "The body is not JSON.") from None
    ignored = raw.keys() - set(kind.__struct_fields__) - _HARMLESS
    return parsed, tuple(sorted(ignored))


def _texts(name: str, given: Texts, most: int) -> list[str | list[int]]:
    """What was given as a list of texts and lists of token ids. Raises ApiError."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(item, int) for item in given):
        return [given]  # type: ignore[list-item]
    if not given or any(isinstance(item, int) for item in given) or len(given) > most:
        raise ApiError(
            "invalid_request",
            f"{name} must be a text, token ids, or 1 to {most} of these.",
            param=name,
        )
    return given  # type: ignore[return-value]


def _token(key: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 10:
        return int(key)
    raise ApiError("invalid_request", "A key of logit_bias is no token id.", param="logit_bias")
