"""Wire: what the door and the engine process say to each other, and how it is framed.

Token ids cross it, not text. It must not know HTTP or how tokens are computed. A frame is a length
(4 bytes, little endian) and a MessagePack array of messages, typed by this module on both sides:
nothing in it can name code.
"""

from __future__ import annotations

import socket
import struct
from threading import Lock
from typing import Any

import msgspec

from onesec.core.errors import Which
from onesec.core.request import Request, SamplingParams
from onesec.core.trace import Trace
from onesec.loading import KvDtype

_HEAD = struct.Struct("<I")
MAX_FRAME_BYTES = 64 << 20
_READ_BYTES = 1 << 16


class Start(msgspec.Struct, tag=True, kw_only=True):
    """The first message: what to load and how much may be in flight; see `load_model`, `Engine`.
    `sequences`: whole contexts that the cache holds; requests share it, so most need far less."""

    model: str
    device: str = "cpu"
    threads: int | None = None
    context: int | None = None
    kv_dtype: KvDtype = "f16"
    reference: bool = False
    sequences: int | None = None
    max_rows: int = 8
    max_waiting: int = 64


class Submit(msgspec.Struct, tag=True):
    """A request, and whether its text is shown as it comes."""

    request: Request
    stream: bool


class Measure(msgspec.Struct, tag=True):
    """How many prompt tokens are there time for: see `Engine.prompt_room`. The request's prompt is
    the one that may be too long (or empty: much too long)."""

    request: Request
    spare_ms: float


class Abort(msgspec.Struct, tag=True):
    """Forget a request: nobody waits for it any more."""

    id: str


class Loading(msgspec.Struct, tag=True):
    """The share of the weights that is in memory, in [0, 1]."""

    share: float


class Promise(msgspec.Struct):
    """What one user gets, p95 after the warm-up, in milliseconds."""

    gear: str
    prompt_tokens: int
    ttft_ms: float
    answer_tokens: int
    answer_ms: float


class Ready(msgspec.Struct, tag=True, kw_only=True):
    """The model is loaded and was asked something already."""

    context_length: int
    vocab_size: int
    gears: tuple[str, ...]
    eos_ids: tuple[int, ...]
    default_params: SamplingParams
    latency: dict[str, Any]  # LatencyModel.to_dict
    promises: list[Promise]  # cheapest gear first
    hidden_size: int | None = None  # of embeddings; None: the backend tells none
    machine: str = ""  # what decides how fast it is, in words
    confidence: dict[str, tuple[float, float, float]] = {}  # explain.confidence.Curve of a gear


class Fault(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An error as values: the code of its class, its words, which budget it is about, and its
    numbers by name."""

    code: str
    message: str
    hint: str = ""
    which: Which = "total"
    numbers: dict[str, float | None] = {}


class Failed(msgspec.Struct, tag=True):
    """The engine process cannot go on; it ends after this."""

    fault: Fault


class Accepted(msgspec.Struct, tag=True):
    """A request was planned: when it will be done in the median, and at p95, since arrival."""

    id: str
    likely_ms: float = 0.0
    predicted_ms: float = 0.0


class Measured(msgspec.Struct, tag=True):
    """The answer to Measure: the most tokens that the prompt may have."""

    id: str
    tokens: int


class Refused(msgspec.Struct, tag=True):
    """A request was not taken; no work was spent on it."""

    id: str
    fault: Fault


class Gained(msgspec.Struct, tag=True, kw_only=True, omit_defaults=True):
    """What one turn gave one request: see engine.sequence.Delta. `trace` comes with the last."""

    id: str
    tokens: list[int] = []
    logprobs: list[float] = []
    top: list[list[tuple[int, float]]] = []
    text_chars: int | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    ending: str = ""
    trace: Trace | None = None
    fault: Fault | None = None
    prompt_logprobs: tuple[float, ...] = ()
    closing: str = ""
    hidden: bytes = b""  # float32, little endian
    gear: str = ""


class Load(msgspec.Struct, tag=True):
    """How busy the engine is after a turn; `slowness`: how many times as long as fitted its work
    takes now."""

    waiting: int
    running: int
    kv_used_share: float
    slowness: float = 1.0


ToEngine = Start | Submit | Measure | Abort
ToDoor = Loading | Ready | Failed | Accepted | Measured | Refused | Gained | Load
_encoder = msgspec.msgpack.Encoder()
_to_engine = msgspec.msgpack.Decoder(list[ToEngine])
_to_door = msgspec.msgpack.Decoder(list[ToDoor])


def frame(messages: list[Any]) -> bytes:
    """Messages as one frame.

    >>> len(frame([Abort("a")]))
    22
    """
    body = _encoder.encode(messages)
    return _HEAD.pack(len(body)) + body


class Frames:
    """Frames out of a stream of bytes. Raises ValueError for one that is too long."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they come; returns the bodies that are complete."""
        buffer, bodies = self._buffer, []
        buffer += data
        while len(buffer) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(buffer)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes; at most {MAX_FRAME_BYTES} are read")
            end = _HEAD.size + size
            if len(buffer) < end:
                break
            bodies.append(bytes(buffer[_HEAD.size : end]))
            del buffer[:end]
        return bodies


def for_door(body: bytes) -> list[ToDoor]:
    """The messages of a frame that the engine sent. Raises msgspec.MsgspecError."""
    return _to_door.decode(body)


class EngineEnd:
    """The engine process's end of the socket pair: plain blocking calls; one thread receives, any
    may send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames()
        self._sending = Lock()

    def receive(self) -> list[ToEngine] | None:
        """What the door has said: at least one message. None once the door is gone."""
        messages: list[ToEngine] = []
        while not messages:
            try:
                data = self._sock.recv(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                return None
            for body in self._frames.feed(data):
                messages += _to_engine.decode(body)
        return messages

    def send(self, messages: list[Any]) -> None:
        """Send messages as one frame. Raises ConnectionError once the door is gone."""
        data = frame(messages)
        with self._sending:
            self._sock.sendall(data)
