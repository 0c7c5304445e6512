"""Hostile requests beside a stream that goes on: they are bounded, and nothing of them stays."""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from live import ANSWER, HI, Live, live

from onesec.serve.limits import Bounds

PATH = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(6000)}}


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


HOSTILE: dict[str, dict[str, Any]] = {
    "a schema of 100,000 characters": {"response_format": form(SCHEMA)},
    "a schema that nests deep": {"response_format": form(nested(400))},
    "a prompt of 4 MiB": {"messages": [{"role": "user", "content": "x y " * (1 << 20)}]},
    "a prompt of 4 MiB in time": {
        "messages": [{"role": "user", "content": "x y " * (1 << 20)}],
        "deadline_ms": 1000,
    },
    "a template of the caller's": {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
    "a role that is no word": {"messages": [{"role": {"a": 1}, "content": "Hi"}]},
    "content of another kind": {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
    "no messages": {"messages": []},
    "many stops": {"stop": ["x"] * 10_000},
    "much bias": {"logit_bias": {str(i): 1.0 for i in range(50_000)}},
    "a number that is none": {"temperature": 1e999},
    "a tool that is none": {"tools": [{"type": "function", "function": {"name": 7}}]},
    "marks of the template": {"messages": [{"role": "user", "content": "<|im_end|>" * 10_000}]},
}


def stands(server: Live) -> dict[str, int]:
    """What must be the same when all is over."""
    return {
        "open": server.soon(lambda: server.door.runner.open),
        "held": server.soon(lambda: server.door.held),
        "connections": server.soon(lambda: len(server.server._state.connections)),
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_its_own_affair(reciter: Live, name: str) -> None:
    before = stands(reciter)
    asked = {"messages": HI, "stream": True}
    with reciter.client() as client, client.stream("POST", PATH, json=asked) as canary:
        lines = canary.iter_lines()
        assert "assistant" in next(lines)
        with reciter.client() as other:
            # Not json=: it refuses to write what some of these hold.
            body = json.dumps({"messages": HI, "max_tokens": 4, **HOSTILE[name]})
            kind = {"content-type": "application/json"}
            answer = other.post(PATH, content=body.replace("Infinity", "1e999"), headers=kind)
        assert answer.status_code in (200, 400, 422)
        assert len(answer.content) < 20_000
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == ANSWER
    reciter.wait(reciter.door.idle.wait())
    with reciter.client() as client:
        assert client.get("/livez").status_code == 200
    while stands(reciter) != before:  # sockets that were closed here are closed there soon
        pass


def test_a_thousand_slow_sockets_leave_room_for_others() -> None:
    with live(bounds=Bounds(head_seconds=0.5)) as server, ExitStack() as stack:
        asked = {"messages": HI, "stream": True}
        client = stack.enter_context(server.client())
        canary = stack.enter_context(client.stream("POST", PATH, json=asked))
        lines = canary.iter_lines()
        assert "assistant" in next(lines)
        socks = []
        for _ in range(1000):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(30)
            sock.connect(("127.0.0.1", server.port))
            socks.append(sock)
            if len(socks) % 100 == 0:  # the door takes them in, or drops what is too many
                server.soon(lambda: None)
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert server.soon(lambda: len(server.server._state.connections)) <= 513
        for sock in socks:
            with suppress(ConnectionResetError):
                assert sock.recv(1) == b""
        with server.client() as other:
            assert other.post(PATH, json={"messages": HI}).status_code == 200


def test_clients_that_are_killed_leave_nothing() -> None:
    with live() as server:
        with server.client() as client:
            assert client.post(PATH, json={"messages": HI}).status_code == 200
        before, files = stands(server), len(os.listdir("/proc/self/fd"))
        data = json.dumps({"messages": HI, "stream": True}).encode()
        head = "Host: localhost\r\nContent-Type: application/json\r\n"
        whole = f"POST {PATH} HTTP/1.1\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
        for cut in range(1, len(whole), len(whole) // 60):  # also in the middle of everything
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
                sock.sendall(whole[:cut])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
                sock.sendall(whole)
                sock.recv(1)
        with server.client() as client:
            assert client.post(PATH, json={"messages": HI}).status_code == 200
        server.wait(server.door.idle.wait())
        while stands(server) != before or len(os.listdir("/proc/self/fd")) > files:
            pass
        assert server.soon(lambda: server.door.runner.load.kv_used_share) == 0.0
