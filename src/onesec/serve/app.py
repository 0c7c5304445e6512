"""App: the routes, and an answer for every error. It must not know how answers come about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from onesec import __version__
from onesec.core.errors import OneSecError

from . import generation
from . import openapi as api
from .applications import APPS, application
from .door import Door
from .embeddings import embeddings
from .errors import ApiError, from_error
from .files import page, serve_file
from .generation import json_response
from .interpreting import LIVE, live
from .limits import CALL, App, Bounds, Call, Limits, Receive, Scope, Send
from .metrics import CONTENT_TYPE
from .responses import responses
from .schema import DetokenizeRequest, TokenizeRequest, parse
from .sockets import Sockets

_SILENT_S = 10.0  # more than any turn of the engine takes
Endpoint = Callable[[Door, Request], Awaitable[Response]]


async def models(door: Door, request: Request) -> Response:
    """GET /v1/models: the model that is served."""
    return json_response({"object": "list", "data": [_card(door)]})


async def model(door: Door, request: Request) -> Response:
    """GET /v1/models/{model}: the same, if it has that name."""
    if request.path_params["model"] not in door.names:
        raise ApiError("model_not_found", f"This server has the model {door.model}.")
    return json_response(_card(door))


def _card(door: Door) -> dict[str, Any]:
    card: dict[str, Any] = {
        "id": door.model,
        "object": "model",
        "created": door.created,
        "owned_by": "onesec",
    }
    if door.runner.ready is not None:
        card["max_model_len"] = door.runner.ready.context_length
    return card


async def livez(door: Door, request: Request) -> Response:
    """GET /livez: the process and its engine process are there; also while loading and draining."""
    alive = door.runner.state != "gone" and door.runner.silent_s() < _SILENT_S
    return json_response({"status": "ok" if alive else "gone"}, status=200 if alive else 503)


async def readyz(door: Door, request: Request) -> Response:
    """GET /readyz, /health: requests are taken now."""
    try:
        door.check_open()
        if (silent_s := door.runner.silent_s()) >= _SILENT_S:
            words = f"The engine process has not answered for {silent_s:.0f} s."
            raise ApiError("engine_closed", words, hint="Ask another server.")
    except ApiError as error:
        if error.code == "loading":
            share = door.runner.loaded_share
            body = {**error.body(), "status": "loading", "loaded": round(share, 3)}
            return json_response(body, error.headers(), error.status)
        raise
    return json_response({"status": "ok"})


async def metrics(door: Door, request: Request) -> Response:
    """GET /metrics: counts and times for Prometheus."""
    return Response(door.metrics.text(), media_type=CONTENT_TYPE)


async def openapi(door: Door, request: Request) -> Response:
    """GET /openapi.json: this document."""
    return json_response(api.document(ROUTES, __version__))


async def props(door: Door, request: Request) -> Response:
    """GET /props: what the model is, what this machine makes of it, what the server grants."""
    ready, terms = door.ready, door.terms
    return json_response(
        {
            "version": __version__,
            "model": door.model,
            "context_length": ready.context_length,
            "vocab_size": ready.vocab_size,
            "gears": ready.gears,
            "machine": ready.machine,
            "chat_template": door.wording.template is not None,
            "embedding_size": ready.hidden_size,
            "latency": ready.latency,
            "promises": ready.promises,
            "limits": {
                "default_deadline_ms": terms.default_ms,
                "max_deadline_ms": terms.cap_ms,
                "default_max_tokens": terms.max_tokens,
                "max_open_requests": terms.max_open,
            },
            "door_ms": {"entry": door.time.entry.value, "exit": door.time.exit.value},
        }
    )


async def load(door: Door, request: Request) -> Response:
    """GET /v1/onesec/load: how busy the server is, and what became of the last requests."""
    runner = door.runner
    return json_response(
        {
            "state": "draining" if door.draining else runner.state,
            "loaded": round(runner.loaded_share, 3),
            "running": runner.load.running,
            "waiting": runner.load.waiting,
            "open": door.held,
            "max_open": door.terms.max_open,
            "kv_used_share": round(runner.load.kv_used_share, 4),
            **door.recent.view(door.clock.now_ns()),
        }
    )


async def tokenize(door: Door, request: Request) -> Response:
    """POST /tokenize: a prompt's or a conversation's token ids."""
    call: Call = request.scope[CALL]
    seats = door.seats(call, timed=False)
    try:
        asked, _ = parse(call.body, TokenizeRequest)
        generation.check_model(door, asked.model)
        wording, context = door.wording, door.ready.context_length
        if (asked.prompt is None) == (asked.messages is None):
            raise ApiError("invalid_request", "Send either prompt or messages.")

        def encode() -> list[int]:
            if asked.messages is not None:
                return wording.render(generation.spoken(asked.messages))
            return wording.tokenizer.encode(asked.prompt or "", add_bos=asked.add_special_tokens)

        tokens = await door.in_thread(call, encode)
        return json_response({"tokens": tokens, "count": len(tokens), "max_model_len": context})
    finally:
        seats.leave()


async def detokenize(door: Door, request: Request) -> Response:
    """POST /detokenize: the text of token ids."""
    call: Call = request.scope[CALL]
    seats = door.seats(call, timed=False)
    try:
        asked, _ = parse(call.body, DetokenizeRequest)
        generation.check_model(door, asked.model)
        tokens, tokenizer, size = asked.tokens, door.wording.tokenizer, door.ready.vocab_size
        if any(not 0 <= token < size for token in tokens):
            raise ApiError("invalid_request", f"Token ids lie in [0, {size}).", param="tokens")
        text = await door.in_thread(call, lambda: tokenizer.decode(tokens, skip_special=False))
        return json_response({"prompt": text})
    finally:
        seats.leave()


async def tokenizer_info(door: Door, request: Request) -> Response:
    """GET /tokenizer_info: what evaluation tools ask of it."""
    tokenizer = door.wording.tokenizer
    templates = tokenizer.chat_templates
    return json_response(
        {
            **tokenizer.special_tokens,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": door.ready.context_length,
            "chat_template": templates.get("default"),
        }
    )


ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/v1/models", models),
    ("GET", "/v1/models/{model:path}", model),
    ("POST", "/v1/chat/completions", generation.chat),
    ("POST", "/v1/completions", generation.complete),
    ("POST", "/v1/responses", responses),
    ("POST", "/v1/embeddings", embeddings),
    *(("POST", f"/v1/apps/{name}", partial(application, name)) for name in APPS),
    ("GET", "/livez", livez),
    ("GET", "/readyz", readyz),
    ("GET", "/health", readyz),
    ("GET", "/metrics", metrics),
    ("GET", "/openapi.json", openapi),
    ("GET", "/props", props),
    ("GET", "/v1/onesec/load", load),
    ("POST", "/tokenize", tokenize),
    ("POST", "/detokenize", detokenize),
    ("GET", "/tokenizer_info", tokenizer_info),
)


def written() -> str:
    """The routes' OpenAPI document as it stands in docs/openapi.json."""
    return api.text(api.document(ROUTES, __version__))


def build(door: Door, bounds: Bounds) -> App:
    """The whole application: limits first, then the routes."""
    shown = page() if door.terms.page else {}
    router = Router(
        [
            *(
                Route(path, partial(_call, door, endpoint), methods=[method])
                for method, path, endpoint in ROUTES
            ),
            *(Route(path, serve_file, methods=["GET"]) for path in shown),
        ],
        redirect_slashes=False,  # it would send who came over a proxy's TLS to plain http
    )

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = router  # so that starlette raises what it does not find
        try:
            await router(scope, receive, send)
        except HTTPException as error:
            code = "method_not_allowed" if error.status_code == 405 else "not_found"
            words = f"{scope['method']} is not served at this path."
            raise ApiError(code, words, allow=(error.headers or {}).get("Allow", "")) from None

    limits = Limits(routed, bounds, {"/livez", *shown})
    sockets = Sockets({LIVE: partial(live, door)}, bounds)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (sockets if scope["type"] == "websocket" else limits)(scope, receive, send)

    return either


async def _call(door: Door, endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(door, request)
    except ApiError as error:
        refusal = door.granted(error)
    except OneSecError as error:
        refusal = door.granted(from_error(error))
    if request.method == "POST":  # others only look: a probe of a server that drains is no request
        door.refused(request.scope[CALL], refusal)
    raise refusal
