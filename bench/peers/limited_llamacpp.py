"""llama.cpp's server with a limit of time: `t_max_predict_ms`, or a client that stops listening.

Prompts are token ids. It must not know OneSec or how a reply is judged.
"""

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from limits import Reply, events, stream_ending
from run_llamacpp import free_port

LOADING_S = 60.0


class Client:
    """Speaks to a server that listens on a port of this machine, one request at a time."""

    def __init__(self, port: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._port = port
        self._clock = clock  # seconds

    def ask(
        self,
        ids: Sequence[int],
        max_tokens: int,
        *,
        predict_limit_ms: int | None = None,
        abort_ms: float | None = None,
    ) -> Reply:
        """The greedy reply to a prompt; after `abort_ms` the client stops listening and has what
        came before. Raises RuntimeError where the server reads another number of tokens."""
        body: dict[str, Any] = {
            "prompt": list(ids),
            "n_predict": max_tokens,
            "stream": True,
            "cache_prompt": False,
            "temperature": 0,
        }
        if predict_limit_ms is not None:
            body["t_max_predict_ms"] = predict_limit_ms
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        begin = self._clock()
        try:
            return self._listen(connection, body, begin, abort_ms)
        finally:
            connection.close()

    def _listen(
        self,
        connection: http.client.HTTPConnection,
        body: dict[str, Any],
        begin: float,
        abort_ms: float | None,
    ) -> Reply:
        text, tokens, last_ms = "", 0, 0.0
        first_ms: float | None = None
        try:
            connection.connect()
            socket_ = connection.sock
            self._wait(socket_, begin, abort_ms)
            connection.request("POST", "/completion", json.dumps(body), _JSON)
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise RuntimeError(answer.read().decode())
                for event in events(self._lines(socket_, answer, begin, abort_ms)):
                    now_ms = (self._clock() - begin) * 1e3
                    if abort_ms is not None and now_ms > abort_ms:
                        break
                    last_ms = now_ms
                    text += event["content"]
                    if event["stop"]:
                        _check_prompt(event, len(body["prompt"]))
                        return Reply(
                            text=text,
                            tokens=event["tokens_predicted"],
                            elapsed_ms=now_ms,
                            ending=stream_ending(event, body["n_predict"]),
                            ttft_ms=first_ms,
                        )
                    tokens += 1
                    first_ms = now_ms if first_ms is None else first_ms
        except TimeoutError:
            pass
        assert abort_ms is not None, "a stream without a limit has a last event"
        # With nothing at all in hand the wait lasted to the end.
        elapsed_ms = last_ms if tokens else abort_ms
        return Reply(text=text, tokens=tokens, elapsed_ms=elapsed_ms, ending="cut")

    def _wait(self, socket_: socket.socket, begin: float, abort_ms: float | None) -> None:
        """Let the next read wait to the end of the budget. Raises TimeoutError behind it."""
        if abort_ms is not None:
            left_s = abort_ms / 1e3 - (self._clock() - begin)
            if left_s <= 0.0:
                raise TimeoutError
            socket_.settimeout(left_s)

    def _lines(
        self,
        socket_: socket.socket,
        answer: http.client.HTTPResponse,
        begin: float,
        abort_ms: float | None,
    ) -> Iterator[bytes]:
        while True:
            self._wait(socket_, begin, abort_ms)
            if not (line := answer.readline()):
                return
            yield line

    def round_trip_ms(self) -> float:
        """What a request costs that computes nothing. Raises OSError where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        begin = self._clock()
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:  # 503 while the model loads
                raise ConnectionRefusedError
            return (self._clock() - begin) * 1e3
        finally:
            connection.close()


class Server(Client):
    """llama-server with one slot, at its own best settings; `program` takes its arguments."""

    def __init__(self, program: Sequence[str], model: Path, threads: int) -> None:
        port = free_port()
        super().__init__(port)
        command = [*program, "-m", str(model), "-t", str(threads), "-tb", str(threads)]
        command += ["-c", "1024", "-np", "1", "--offline", "--host", "127.0.0.1"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=quiet, stderr=quiet
        )
        end = time.monotonic() + LOADING_S
        while True:
            try:
                self.round_trip_ms()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.close()
                    raise SystemExit(f"llama-server does not serve {model}") from None
                time.sleep(0.05)

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait()


_JSON = {"Content-Type": "application/json"}


def _check_prompt(final: dict[str, Any], length: int) -> None:
    if final["tokens_evaluated"] != length:
        raise RuntimeError(f"{final['tokens_evaluated']} prompt tokens were read, not {length}")
