"""Schema: the requests that the routes understand, as typed structs.

It must not know what is done with them. Fields that are not known are ignored and named to the
caller; known ones that are out of range are refused. Ranges of sampling values are those of
SamplingParams.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, TypeVar

import msgspec

from onesec.core.fitted import Fitting
from onesec.core.request import MAX_LOGPROBS, PolicyName, SamplingParams

from .errors import ApiError

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Token = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
MAX_CHOICES = 8
MAX_PROMPTS = 64
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
    """`continuous_usage_stats`: every chunk tells the counts so far."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


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
    stop_token_ids: list[Token] | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    deadline_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    gear: str | None = None
    min_gear: str | None = None
    policy: PolicyName = "balanced"
    best_effort: bool = False
    fit: Fitting = "none"
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
        if self.stop is not None:
            values["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if self.stop_token_ids is not None:
            values["stop_token_ids"] = tuple(self.stop_token_ids)
        if self.logit_bias is not None:
            values["logit_bias"] = {_token(k): v for k, v in self.logit_bias.items()}
        if (self.response_format or {}).get("type", "text") != "text":
            values["response_format"] = self.response_format
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
)


class ChatRequest(Sampled, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class CompletionRequest(Sampled, kw_only=True):
    """POST /v1/completions. `prompt`: a text, texts, token ids, or lists of token ids."""

    prompt: str | list[str | Token | list[Token]]
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    suffix: str | None = None

    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or token ids. Raises ApiError for mixtures and too many."""
        given = self.prompt
        if isinstance(given, str):
            return [given]
        if given and all(isinstance(item, int) for item in given):
            return [given]  # type: ignore[list-item]
        if not given or any(isinstance(item, int) for item in given) or len(given) > MAX_PROMPTS:
            raise ApiError(
                "invalid_request",
                f"prompt must be a text, token ids, or 1 to {MAX_PROMPTS} of these.",
                param="prompt",
            )
        return given  # type: ignore[return-value]


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
        # Its words name the field, the expected type and the range; never a value.
        place = str(error).rpartition("at `$.")[2].rstrip("`") if "`$." in str(error) else None
        raise ApiError("invalid_request", f"{error}.", param=place) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError("invalid_request", "The body is not JSON.") from None
    ignored = raw.keys() - set(kind.__struct_fields__) - _HARMLESS
    return parsed, tuple(sorted(ignored))


def _token(key: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 10:
        return int(key)
    raise ApiError("invalid_request", "A key of logit_bias is no token id.", param="logit_bias")
