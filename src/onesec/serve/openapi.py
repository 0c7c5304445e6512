"""OpenAPI: what the routes take and give, as one document, made from the structs that read it.

It must not know what routes do. Requests are the structs of schema, app_schema and responses;
only what is answered is written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from .app_schema import AnswerRequest, SummarizeRequest, SupportRequest, TranslateRequest
from .responses import ResponsesRequest
from .schema import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeRequest,
)

_REFS = "#/components/schemas/{name}"
_JSON = "application/json"
_TEXT: Any = {"type": "string"}
_COUNT: Any = {"type": "integer", "minimum": 0}
_ANY: Any = {}


def _object(**members: Any) -> dict[str, Any]:
    """An object that has all of these members, and may have more."""
    return {"type": "object", "properties": members, "required": list(members)}


def _list(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _nullable(schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class _Shape:
    """answer: the schema of the whole answer; body: the struct of the request, asked: one that is
    answered; events: it streams where asked to."""

    answer: Any
    body: type[msgspec.Struct] | None = None
    asked: Any = None
    events: bool = False
    kind: str = _JSON


_NUMBER: Any = {"type": "number"}
_STORY = _object(
    budget_ms=_nullable(_NUMBER), elapsed_ms=_NUMBER, met=_nullable({"type": "boolean"})
)
_USAGE = _object(prompt_tokens=_COUNT, total_tokens=_COUNT)
_CARD = _object(id=_TEXT, object={"const": "model"}, created=_COUNT, owned_by=_TEXT)
_STATUS = _object(status=_TEXT)
_TIME = {"deadline_ms": 20_000}
_APP = _object(text=_TEXT, onesec=_STORY)


def _choices(kind: str, **members: Any) -> dict[str, Any]:
    reason = {"enum": ["stop", "length", "tool_calls"]}
    choice = _object(index=_COUNT, finish_reason=reason, logprobs=_ANY, **members)
    return _object(
        id=_TEXT,
        object={"const": kind},
        created=_COUNT,
        model=_TEXT,
        choices=_list(choice),
        usage=_USAGE,
        onesec={"type": "object"},
    )


_SHAPES: Mapping[tuple[str, str], _Shape] = {
    ("GET", "/v1/models"): _Shape(_object(object={"const": "list"}, data=_list(_CARD))),
    ("GET", "/v1/models/{model}"): _Shape(_CARD),
    ("POST", "/v1/chat/completions"): _Shape(
        _choices("chat.completion", message=_object(role={"const": "assistant"}, content=_ANY)),
        ChatRequest,
        {"messages": [{"role": "user", "content": "When do you open?"}], **_TIME},
        events=True,
    ),
    ("POST", "/v1/completions"): _Shape(
        _choices("text_completion", text=_TEXT),
        CompletionRequest,
        {"prompt": "We open at", "max_tokens": 8},
        events=True,
    ),
    ("POST", "/v1/responses"): _Shape(
        _object(
            id=_TEXT,
            object={"const": "response"},
            status={"enum": ["completed", "incomplete"]},
            output=_list({"type": "object"}),
            usage=_object(input_tokens=_COUNT, output_tokens=_COUNT, total_tokens=_COUNT),
            onesec=_STORY,
        ),
        ResponsesRequest,
        {"input": "When do you open?", **_TIME},
        events=True,
    ),
    ("POST", "/v1/embeddings"): _Shape(
        _object(
            object={"const": "list"},
            data=_list(
                _object(
                    object={"const": "embedding"},
                    index=_COUNT,
                    embedding={"anyOf": [_list(_NUMBER), _TEXT]},
                )
            ),
            model=_TEXT,
            usage=_USAGE,
            onesec=_STORY,
        ),
        EmbeddingRequest,
        {"input": ["When do you open?", "We open at nine."]},
    ),
    ("POST", "/v1/apps/support"): _Shape(
        _APP,
        SupportRequest,
        {"question": "When do you open?", "knowledge": [{"text": "We open at nine."}], **_TIME},
        events=True,
    ),
    ("POST", "/v1/apps/translate"): _Shape(
        _APP, TranslateRequest, {"text": "早上好。", **_TIME}, events=True
    ),
    ("POST", "/v1/apps/answer"): _Shape(
        _APP,
        AnswerRequest,
        {"question": "When does it open?", "text": "The shop opens at nine.", **_TIME},
        events=True,
    ),
    ("POST", "/v1/apps/summarize"): _Shape(
        _APP,
        SummarizeRequest,
        {"text": "The shop opens at nine. It closes at six.", **_TIME},
        events=True,
    ),
    ("GET", "/livez"): _Shape(_STATUS),
    ("GET", "/readyz"): _Shape(_STATUS),
    ("GET", "/health"): _Shape(_STATUS),
    ("GET", "/metrics"): _Shape(_TEXT, kind="text/plain"),
    ("GET", "/openapi.json"): _Shape(_object(openapi=_TEXT, paths={"type": "object"})),
    ("GET", "/props"): _Shape(
        _object(version=_TEXT, model=_TEXT, context_length=_COUNT, gears=_list(_TEXT))
    ),
    ("GET", "/v1/onesec/load"): _Shape(
        _object(
            state=_TEXT,
            running=_COUNT,
            waiting=_COUNT,
            open=_COUNT,
            max_open=_COUNT,
            kv_used_share=_NUMBER,
            minute={"type": "object"},
            recent=_list({"type": "object"}),
        )
    ),
    ("POST", "/tokenize"): _Shape(
        _object(tokens=_list(_COUNT), count=_COUNT, max_model_len=_COUNT),
        TokenizeRequest,
        {"prompt": "When do you open?"},
    ),
    ("POST", "/detokenize"): _Shape(
        _object(prompt=_TEXT), DetokenizeRequest, {"tokens": [72, 105]}
    ),
    ("GET", "/tokenizer_info"): _Shape(_object(vocab_size=_COUNT, model_max_length=_COUNT)),
}
_ERROR = _object(
    error=_object(message=_TEXT, type=_TEXT, param=_nullable(_TEXT), code=_TEXT),
)
_ERROR["properties"]["onesec"] = _object(
    budget_ms=_nullable(_NUMBER), feasible_ms=_NUMBER, which={"enum": ["total", "ttft", "tpot"]}
)
_HEADERS = {
    "x-deadline-ms": "The budget where the body names none: milliseconds from the first byte "
    "received to the last one sent.",
    "x-request-id": "Given back, if it is 1 to 64 of A-Za-z0-9._-",
}


def document(routes: Iterable[tuple[str, str, Any]], version: str) -> dict[str, Any]:
    """The document of these routes: (method, path, what answers, whose docstring says what it is
    for). Raises KeyError for one that is not described here."""
    bodies = [shape.body for shape in _SHAPES.values() if shape.body is not None]
    _, components = msgspec.json.schema_components(bodies, ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for method, path, endpoint in routes:
        plain = re.sub(r":\w+}", "}", path)
        shape = _SHAPES[method, plain]
        said = (getattr(endpoint, "func", endpoint).__doc__ or "").partition(": ")[2]
        paths.setdefault(plain, {})[method.lower()] = _operation(plain, shape, said)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OneSec",
            "version": version,
            "description": "Answers that keep their deadline. Fields that are not known are "
            "ignored and named in the header x-onesec-ignored; one that is null counts as absent.",
        },
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, shape: _Shape, said: str) -> dict[str, Any]:
    content: dict[str, Any] = {shape.kind: {"schema": shape.answer}}
    if shape.events:
        content["text/event-stream"] = {}
    refused = {_JSON: {"schema": {"$ref": _REFS.format(name="Error")}}}
    found: dict[str, Any] = {
        "summary": " ".join(said.split()) or path,
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": {"description": "What went wrong, and what would do.", "content": refused},
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"{(\w+)}", path)
    ]
    if shape.body is not None:
        body = {"$ref": _REFS.format(name=shape.body.__name__)}
        found["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": body, "example": shape.asked}},
        }
        parameters += [
            {"name": name, "in": "header", "description": words, "schema": _TEXT}
            for name, words in _HEADERS.items()
        ]
    if parameters:
        found["parameters"] = parameters
    return found


def text(found: Mapping[str, Any]) -> str:
    """A document as it stands in a file."""
    return json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
