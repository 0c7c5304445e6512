"""Schema: the requests that the routes understand, as typed structs.

It must not know what is done with them. A field that is null counts as absent. Fields that are not
known are ignored and named to the caller; known ones that are out of range are refused. Ranges of
sampling values are those of SamplingParams.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from onesec.core.deadline import MAX_BUDGET_MS
from onesec.core.fitted import Fitting
from onesec.core.request import (
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_STOP_STRINGS,
    PolicyName,
    SamplingParams,
)
from onesec.core.response_format import only_form
from onesec.prompt.template import MAX_MESSAGES

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
# Objects and lists of a body. Each is made before any field is looked at, and made and let go they
# cost a hundred times what their bytes do: 2.6 million of them fit in 8 MiB. A request of 4,096
# messages with a few parts and calls each has less than half of this, its texts some brackets too.
MAX_OPENINGS = 200_000
MAX_FIELDS = 256  # of a body
Message = Annotated[dict[str, Any], msgspec.Meta(max_length=64)]
Messages = Annotated[list[Message], msgspec.Meta(max_length=MAX_MESSAGES)]
MAX_CHOICES = 8
MAX_PROMPTS = 64
MAX_STOP_IDS = 1024
MAX_INPUTS = 2048  # of embeddings, as OpenAI has it
Texts = str | list[str | Token | list[Token]]
_LONGEST = 200  # characters of a message that repeats what was given
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# Escapes of JSON: an escaped character of two, a whole pair, or (named) half of one.
_SURROGATES = re.compile(
    rb"\\(?:[^u]|u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(u[dD][89a-fA-F][\da-fA-F]{2}))"
)
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
    logit_bias: Annotated[dict[str, float], msgspec.Meta(max_length=MAX_LOGIT_BIAS)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=MAX_STOP_STRINGS)] | None = None
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

    messages: Messages
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
    messages: Messages | None = None
    add_special_tokens: bool = True
    model: str | None = None


class DetokenizeRequest(msgspec.Struct):
    """POST /detokenize."""

    tokens: list[Token]
    model: str | None = None


def parse(body: bytes, kind: type[Parsed]) -> tuple[Parsed, tuple[str, ...]]:
    """A request's body as a struct, and the names of fields that were ignored. Raises ApiError."""
    openings = body.count(b"{") + body.count(b"[")
    if openings > MAX_OPENINGS:
        raise ApiError(
            "invalid_request",
            f"The body has {openings} opening braces and brackets, those in texts among them; at "
            f"most {MAX_OPENINGS} are read.",
            hint="Send less at once.",
        )
    try:
        raw = msgspec.json.decode(body)
        if not isinstance(raw, dict):
            raise ApiError("invalid_request", "The body must be a JSON object.")
        if len(raw) > MAX_FIELDS:
            raise ApiError(
                "invalid_request", f"The body has {len(raw)} fields; at most {MAX_FIELDS} are read."
            )
        raw = {name: value for name, value in raw.items() if value is not None}
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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError("invalid_request", _unread(body, error)) from None
    ignored = raw.keys() - set(kind.__struct_fields__) - _HARMLESS
    return parsed, tuple(sorted(ignored))


def _unread(body: bytes, error: Exception) -> str:
    """Why a body is no JSON, where clients often are wrong."""
    if body.startswith(b"\x1f\x8b"):
        return "The body is compressed (gzip); send it as it is."
    if body.startswith(_MARKS):
        return "The body begins with a byte order mark; send JSON as UTF-8 without one."
    if isinstance(error, UnicodeDecodeError):
        return "The body is not UTF-8."
    if _half_of_a_pair(body):
        return (
            "The body has half of a surrogate pair (\\ud800 to \\udfff), which is no character; "
            "leave it out."
        )
    return "The body is not JSON."


def _half_of_a_pair(body: bytes) -> bool:
    """Whether a text escapes one of the two halves without the other one."""
    return any(match.group(1) for match in _SURROGATES.finditer(body))


def _texts(name: str, given: Texts, most: int) -> list[str | list[int]]:
    """What was given as a list of texts and lists of token ids. Raises ApiError."""
    if isinstance(given, str):
        return [given]
    kinds = set(map(type, given))  # there may be millions
    if kinds == {int}:
        return [given]  # type: ignore[list-item]
    if not given or int in kinds or len(given) > most:
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
