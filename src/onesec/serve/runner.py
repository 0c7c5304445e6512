"""Runner: the door's side of the engine process: requests go in, each one's gains come out.

It must not know HTTP or text. One task reads the socket and hands every message to the queue of its
request; nothing polls.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any

from onesec.budget.latency import LatencyModel
from onesec.core.request import Request
from onesec.explain.confidence import Confidence, Curve

from . import wire
from .errors import ApiError, from_fault

_READ_BYTES = 1 << 16
_Told = wire.Accepted | wire.Measured | wire.Refused | wire.Gained


def _gone() -> ApiError:
    return ApiError("engine_closed", "The engine process ended.", hint="Try again shortly.")


class Flow:
    """The requests that one caller has in the engine, and one queue of what they gain."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._queue: asyncio.Queue[_Told | Exception]
        self._queue = asyncio.Queue()
        self._early: deque[wire.Gained] = deque()
        self._ids: list[str] = []
        self.plans: dict[str, wire.Accepted] = {}  # of what was accepted

    def submit(self, request: Request, *, stream: bool) -> None:
        """Hand one more request over. Raises ApiError where there is no engine."""
        self._ids.append(request.id)
        self._runner.submit(request, self, stream=stream)

    async def room(self, request: Request, spare_ms: float) -> int:
        """The most prompt tokens that there is time for; of a flow that nothing was submitted to.
        Raises ApiError."""
        self._ids.append(request.id)
        self._runner.measure(request, self, spare_ms)
        message = await self._get()
        assert isinstance(message, wire.Measured)
        return message.tokens

    async def accepted(self) -> None:
        """Wait until all are planned. Raises ApiError where one is refused."""
        left = len(self._ids)
        while left:
            message = await self._get()
            if isinstance(message, wire.Gained):
                self._early.append(message)
            else:
                left -= 1
                if isinstance(message, wire.Accepted):
                    self.plans[message.id] = message

    async def gained(self) -> wire.Gained:
        """What comes next; the last of a request has a finish_reason. Raises ApiError where one
        failed."""
        message = self._early.popleft() if self._early else await self._get()
        assert isinstance(message, wire.Gained)
        return message

    def put(self, message: _Told | Exception) -> None:
        """What the reader will find; an exception is raised there."""
        self._queue.put_nowait(message)

    def close(self) -> None:
        """Nobody waits any more: the engine forgets what still runs."""
        for request_id in self._ids:
            self._runner.forget(request_id)

    async def _get(self) -> wire.Accepted | wire.Measured | wire.Gained:
        message = await self._queue.get()
        if isinstance(message, Exception):
            raise message
        if isinstance(message, wire.Refused):
            raise from_fault(message.fault)
        if isinstance(message, wire.Gained) and message.fault is not None:
            raise from_fault(message.fault)
        return message


class Runner:
    """`state` is "loading", "ready" or "gone"; `ended` is set with the last one, and `fault` says
    why, where the engine process said so. `loaded_share` is of the weights while they load."""

    def __init__(self) -> None:
        self.state = "loading"
        self.loaded_share = 0.0
        self.ready: wire.Ready | None = None
        self.latency = LatencyModel({})  # of the machine, once ready
        self.confidence = Confidence()  # of the model, once ready
        self.load = wire.Load(0, 0, 0.0)
        self.fault: wire.Fault | None = None
        self.settled = asyncio.Event()  # loaded, or gone
        self.ended = asyncio.Event()
        self._open: dict[str, Flow] = {}
        self._queued: dict[str, int] = {}  # prompt tokens of those that have no token yet
        self._heard_s = 0.0  # when the engine last said something, or was asked while idle
        self._writer: asyncio.StreamWriter | None = None

    @property
    def open(self) -> int:
        """Requests that the engine has and that are not over."""
        return len(self._open)

    @property
    def queued_tokens(self) -> int:
        """Prompt tokens of the requests that have no token yet."""
        return sum(self._queued.values())

    def silent_s(self) -> float:
        """Seconds that the engine owes a word; 0 where nobody waits for one."""
        return asyncio.get_running_loop().time() - self._heard_s if self._open else 0.0

    def flow(self) -> Flow:
        """A queue for one caller's requests."""
        return Flow(self)

    async def run(self, sock: socket.socket, start: wire.Start) -> None:
        """Have the model loaded, then hand messages out until the engine process is gone."""
        reader, self._writer = await asyncio.open_unix_connection(sock=sock)
        frames = wire.Frames()
        try:
            self._send(start)
            while data := await reader.read(_READ_BYTES):
                self._heard_s = asyncio.get_running_loop().time()
                for body in frames.feed(data):
                    for message in wire.for_door(body):
                        self._take(message)
        except ConnectionError:
            pass
        finally:
            self.state = "gone"
            self.abandon(_gone())
            self.settled.set()
            self.ended.set()
            self._writer.close()

    def submit(self, request: Request, flow: Flow, *, stream: bool) -> None:
        """Hand a request to the engine; `flow` is told of it. Raises ApiError without an engine."""
        self._tell(request, flow, wire.Submit(request, stream))
        self._queued[request.id] = len(request.prompt_tokens)

    def measure(self, request: Request, flow: Flow, spare_ms: float) -> None:
        """Ask how long a request's prompt may be; `flow` is told. Raises ApiError likewise."""
        self._tell(request, flow, wire.Measure(request, spare_ms))

    def forget(self, request_id: str) -> None:
        """Take a request back, if it is not over."""
        if self._drop(request_id):
            self._send(wire.Abort(request_id))

    def _tell(self, request: Request, flow: Flow, message: wire.Submit | wire.Measure) -> None:
        if self.state != "ready":
            raise _gone()
        try:
            data = wire.frame([message])
        except OverflowError:  # in a schema: all else has its range
            raise ApiError("invalid_request", "A number has more than 64 bits.") from None
        if not self._open:
            self._heard_s = asyncio.get_running_loop().time()
        self._open[request.id] = flow
        self._write(data)

    def abandon(self, error: ApiError) -> None:
        """End all that is open with an error."""
        for flow in set(self._open.values()):
            flow.put(error)
        self._open.clear()
        self._queued.clear()

    def close(self) -> None:
        """End the engine process: its socket is closed."""
        if self._writer is not None:
            self._writer.close()

    def _drop(self, request_id: str) -> bool:
        self._queued.pop(request_id, None)
        return self._open.pop(request_id, None) is not None

    def _send(self, message: Any) -> None:
        self._write(wire.frame([message]))

    def _write(self, data: bytes) -> None:
        # Not awaited: what the engine has not read yet is bounded by the open requests.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    def _take(self, message: wire.ToDoor) -> None:
        if isinstance(message, wire.Load):
            self.load = message
        elif isinstance(message, wire.Loading):
            self.loaded_share = message.share
        elif isinstance(message, wire.Ready):
            self.ready, self.state = message, "ready"
            self.latency = LatencyModel.from_dict(message.latency)
            curves = {gear: Curve(*numbers) for gear, numbers in message.confidence.items()}
            self.confidence = Confidence(curves)
            self.settled.set()
        elif isinstance(message, wire.Failed):
            self.fault = message.fault
        else:
            flow = self._open.get(message.id)
            if flow is None:
                return  # it was taken back meanwhile
            flow.put(message)
            if isinstance(message, wire.Gained):
                self._queued.pop(message.id, None)
            over = isinstance(message, wire.Refused | wire.Measured) or (
                isinstance(message, wire.Gained) and message.finish_reason is not None
            )
            if over:
                self._drop(message.id)
