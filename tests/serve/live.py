"""A server on a real socket over a model that recites: the door in one thread, the engine loop in
another, joined by the same socket pair as the two processes. Time is a FakeClock that the model
alone moves, so budgets are exact."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from doors import Reciter, recite

from onesec.core.clock import FakeClock, MonotonicClock
from onesec.loading import LoadedModel
from onesec.prompt.template import ChatTemplate
from onesec.serve import wire, worker
from onesec.serve.door import Door, Terms
from onesec.serve.limits import Bounds
from onesec.serve.runner import Runner
from onesec.serve.server import Place, Server, listen

TEXT = "user: Hi|assistant: Hello. How are you? I am well. The end."
ANSWER = TEXT.partition("assistant: ")[2]
HI = [{"role": "user", "content": "Hi"}]


class Gated(Reciter):
    """Computes only while the gate is open; `reached` is set when it stands before it."""

    def __init__(self, text: str, clock: FakeClock) -> None:
        super().__init__(text, clock)
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.slowness = 1.0  # times as long as it should take

    def forward(self, batch: Any) -> Any:
        self.reached.set()
        assert self.gate.wait(30)
        result = super().forward(batch)
        self.clock.advance_ms((self.slowness - 1.0) * sum(result.step_ms))
        result.step_ms = [self.slowness * ms for ms in result.step_ms]
        return result


@dataclass
class Live:
    """What a test may look at: the address, the door, the model and its clock."""

    port: int
    door: Door
    server: Server
    backend: Gated
    clock: FakeClock
    loop: asyncio.AbstractEventLoop
    engine: threading.Thread
    engine_socket: socket.socket
    served: threading.Thread = field(default_factory=threading.Thread)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        # No certificates are read: they take longer than an answer.
        return httpx.Client(base_url=self.url, timeout=60, verify=False, **options)

    def soon(self, do: Any) -> Any:
        """Call something in the door's thread; returns what it returns."""

        async def call() -> Any:
            return do()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(30)

    def wait(self, coroutine: Any) -> Any:
        """Await something in the door's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)


def _reciting(text: str) -> tuple[LoadedModel, Any, Any]:
    loaded, clock, _ = recite(text)
    loaded.backend = backend = Gated(text, clock)
    return loaded, clock, backend


@contextmanager
def live(
    text: str = TEXT,
    *,
    terms: Terms | None = None,
    bounds: Bounds | None = None,
    place: Place | None = None,
    rows: int = 8,
    waiting: int = 64,
    template: str | None = None,
    model: LoadedModel | None = None,
) -> Iterator[Live]:
    """A server of a reciter, or of a `model` on the machine's own clock; `template`: its own."""
    loaded, clock, backend = _reciting(text) if model is None else (model, MonotonicClock(), None)
    if template is not None:
        loaded.tokenizer.chat_templates = {"default": template}
        loaded.template = ChatTemplate(template)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    engine = threading.Thread(
        target=worker.serve,
        args=(wire.EngineEnd(theirs),),
        kwargs={"open_model": lambda start, progress: loaded, "clock": clock},
    )
    engine.start()
    place = place or Place(port=0)
    listening = listen(place)
    started: list[Live] = []
    ready = threading.Event()

    async def main() -> None:
        runner = Runner()
        door = Door(runner, model="reciter", terms=terms or Terms(), clock=clock)
        door.wording = loaded.wording
        server = Server(door, bounds or Bounds(), place)
        start = wire.Start(model="reciter", max_rows=rows, max_waiting=waiting)
        running = asyncio.create_task(runner.run(ours, start))
        serving = asyncio.create_task(server.serve(listening))
        await runner.settled.wait()
        port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        started.append(Live(port, door, server, backend, clock, loop, engine, theirs))
        ready.set()
        try:
            await serving
        finally:
            runner.close()
            await running
            door.close()

    served = threading.Thread(target=asyncio.run, args=(main(),))
    served.start()
    assert ready.wait(30)
    [found] = started
    found.served = served
    try:
        yield found
    finally:
        if model is None:
            backend.gate.set()
        with suppress(RuntimeError):  # a server that ends by itself closes its loop
            found.loop.call_soon_threadsafe(found.server.stop)
        served.join(30)
        engine.join(30)
        theirs.close()
        assert not served.is_alive()
        assert not engine.is_alive()
