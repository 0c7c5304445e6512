"""Server: the two processes, the listening socket, signals, and an orderly end.

It must not know routes. The first SIGTERM or SIGINT drains: new requests are refused, running ones
end, then the process ends with 0; the second one ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from uvicorn.server import ServerState

from onesec.core.clock import MonotonicClock
from onesec.core.errors import InvalidRequest, OneSecError
from onesec.core.slices import run_soon
from onesec.loading import open_wording

from . import app, looking, wire
from .door import Door, Terms
from .errors import ApiError
from .limits import Bounds
from .looking import Looks
from .protocol import Protocol, SocketProtocol
from .runner import Runner
from .sockets import MAX_MESSAGE_BYTES
from .stream import PING_SECONDS

_BACKLOG = 128
_SEND_BUFFER_BYTES = 128 << 10
_KEEP_ALIVE_SECONDS = 75
_END_SECONDS = 5.0  # for connections to close, and for the engine process to end
_TOLD = (signal.SIGTERM, signal.SIGINT)  # by which a server is told to end
_log = logging.getLogger("onesec.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to listen, and how long a drain may take; `drain_delay_s`: requests are still taken for
    so long after the signal, while a balancer notices."""

    host: str = "127.0.0.1"
    port: int = 8000
    drain_s: float = 600.0
    drain_delay_s: float = 0.0


def listen(place: Place) -> socket.socket:
    """The bound socket. Raises InvalidRequest where the port cannot be had."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    # Named in full: asyncio turns Nagle off only for sockets that say they are TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by connections: what a peer does not read is felt soon, and bounded.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    try:
        sock.bind((place.host, place.port))
        sock.listen(_BACKLOG)
    except (OSError, TypeError) as error:  # a TypeError: no name that can be looked up
        sock.close()
        words = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(
            f"Port {place.port} of {place.host} cannot be used: {words}.",
            hint="Choose another one with --port.",
        ) from None
    sock.setblocking(False)
    return sock


def address_of(listening: socket.socket) -> str:
    """Where clients find it, as a URL without a path."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The engine process, and the door's end of its socket."""
    ours, theirs = socket.socketpair()
    # A terminal and a supervisor may tell the whole group; the door decides when the other process
    # ends, which inherits this and so is deaf to them from its first instruction on.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "onesec.serve.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    ours.setblocking(False)
    return process, ours


class Server:
    """The door's process: listens, and lives as long as its engine does."""

    def __init__(
        self, door: Door, bounds: Bounds, place: Place, looks: Looks | None = None
    ) -> None:
        self._looks = looks
        self._door = door
        self._bounds = bounds
        self._place = place
        self._stop = asyncio.Event()  # drained, or told twice, or without an engine
        self._draining: asyncio.Task[None] | None = None
        self._state = ServerState()

    async def serve(self, listening: socket.socket) -> None:
        """Answer until told to stop."""
        config = uvicorn.Config(
            app.build(self._door, self._bounds),
            http=Protocol,
            ws=SocketProtocol,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,  # a few bytes could become many
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            proxy_headers=False,
        )
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._protocol(config), sock=listening)
        try:
            await self._stop.wait()
        finally:
            server.close()
            self._door.runner.abandon(ApiError("draining", "The server was stopped."))
            for connection in list(self._state.connections):
                connection.shutdown()
            if self._state.tasks:
                await asyncio.wait(self._state.tasks, timeout=_END_SECONDS)
            for task in list(self._state.tasks):
                task.cancel()

    def _protocol(self, config: uvicorn.Config) -> Protocol:
        protocol = Protocol(config, self._state, {})
        protocol.clock, protocol.looks, bounds = self._door.clock, self._looks, self._bounds
        protocol.head_seconds, protocol.body_seconds = bounds.head_seconds, bounds.body_seconds
        protocol.send_seconds = bounds.send_seconds
        return protocol

    def drain(self) -> None:
        """Take no more requests, end when none is left; told again: end at once."""
        if self._draining is not None:
            self.stop()
            return
        _log.info("draining: %d open requests", self._door.held)
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        if self._place.drain_delay_s:
            await asyncio.sleep(self._place.drain_delay_s)
        self._door.draining = True
        try:
            async with asyncio.timeout(self._place.drain_s):
                await self._door.idle.wait()
        except TimeoutError:
            _log.warning("%d requests did not end in time", self._door.held)
        self.stop()

    def stop(self) -> None:
        """End now."""
        self._stop.set()


def run(
    start: wire.Start,
    *,
    terms: Terms,
    bounds: Bounds,
    place: Place,
    say: Callable[[str], None],
) -> int:
    """Serve until told to stop; returns the exit code. Raises OneSecError where it cannot start.

    `say` is told one line about the address, and one promise a gear.
    """
    listening = listen(place)
    looks = Looks(MonotonicClock())
    return looking.run(_main(start, terms, bounds, place, say, listening, looks), looks)


async def _main(
    start: wire.Start,
    terms: Terms,
    bounds: Bounds,
    place: Place,
    say: Callable[[str], None],
    listening: socket.socket,
    looks: Looks,
) -> int:
    runner = Runner()
    door = Door(runner, model=start.model, terms=terms)
    server = Server(door, bounds, place, looks)
    loop = asyncio.get_running_loop()
    for number in _TOLD:
        loop.add_signal_handler(number, server.drain)
    process, sock = spawn()
    run_soon()  # not before: the engine's threads are to keep theirs
    serving = asyncio.create_task(server.serve(listening))
    running = asyncio.create_task(runner.run(sock, start))
    running.add_done_callback(lambda _: server.stop())
    try:
        door.wording = await loop.run_in_executor(None, open_wording, start.model)
        settled = asyncio.create_task(runner.settled.wait())
        await asyncio.wait((settled, serving), return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        if runner.ready is not None:
            address = address_of(listening)
            say(f"{address}/v1 serves {start.model}")
            if terms.page:
                say(f"{address}/ is its page")
            for promise in _ends(runner.ready.promises):
                say(promised(promise))
        await serving
    finally:
        server.stop()
        died = runner.ended.is_set()
        runner.close()
        try:
            code = await asyncio.wait_for(
                loop.run_in_executor(None, process.wait), timeout=_END_SECONDS
            )
        except TimeoutError:
            process.kill()
            code = process.wait()
        door.close()
        await asyncio.gather(serving, running, return_exceptions=True)
    if not died:
        return 0
    fault = runner.fault
    if fault is not None:
        raise Stopped(fault)
    raise OneSecError(f"The engine process ended with code {code}.", hint="Start the server again.")


class Stopped(OneSecError):
    """The engine process said why it cannot go on; `code` is that error's."""

    def __init__(self, fault: wire.Fault) -> None:
        super().__init__(fault.message, hint=fault.hint)
        self.code = fault.code


def _ends(promises: list[wire.Promise]) -> list[wire.Promise]:
    """The cheapest gear's and the best one's."""
    return promises if len(promises) < 2 else [promises[0], promises[-1]]


def promised(promise: wire.Promise) -> str:
    """One line: what one user gets.

    >>> promised(wire.Promise("4", 64, 5.0, 64, 40.0))
    'gear 4, 1 user: first token ≤ 5.0 ms, 64 tokens ≤ 40.0 ms (p95, 64-token prompt, measured now)'
    """
    return (
        f"gear {promise.gear}, 1 user: first token ≤ {promise.ttft_ms:.1f} ms, "
        f"{promise.answer_tokens} tokens ≤ {promise.answer_ms:.1f} ms "
        f"(p95, {promise.prompt_tokens}-token prompt, measured now)"
    )
