"""What a busy server says at once, and what it does not spend its time on."""

from __future__ import annotations

import threading
from typing import Any

from live import HI, Live, live

from onesec.serve.door import Terms

PATH = "/v1/chat/completions"


def behind(do: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(do()))
    thread.start()
    return thread, found


def busy(server: Live, client: Any, **more: Any) -> tuple[threading.Thread, list[Any]]:
    """A request that stands inside the model."""
    server.backend.gate.clear()
    server.backend.reached.clear()
    thread, found = behind(lambda: client.post(PATH, json={"messages": HI, **more}))
    assert server.backend.reached.wait(30)
    return thread, found


def test_nobody_waits_for_a_turn_to_hear_that_there_is_no_time() -> None:
    with live() as server, server.client() as client, server.client() as other:
        thread, found = busy(server, client)
        refused = other.post(PATH, json={"messages": HI, "deadline_ms": 5})
        assert refused.status_code == 422  # while the model has not moved
        assert not found
        server.backend.gate.set()
        thread.join(30)
        assert found[0].status_code == 200


def test_nobody_waits_for_a_turn_to_hear_that_there_is_time() -> None:
    with live() as server, server.client() as client, server.client() as other:
        thread, _ = busy(server, client)
        asked = {"messages": HI, "stream": True}
        with other.stream("POST", PATH, json=asked) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            assert '"role":"assistant"' in next(lines)  # accepted, while the model has not moved
            server.backend.gate.set()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        thread.join(30)


def test_a_full_server_takes_nothing_more_and_says_when_a_retry_would_be_late() -> None:
    with live(terms=Terms(max_open=2)) as server, server.client() as client:
        thread, _ = busy(server, client)
        with server.client() as other:
            for asked, retry in (({}, "true"), ({"deadline_ms": 150}, "false")):
                refused = other.post(PATH, json={"messages": HI, "n": 2, **asked})
                assert refused.status_code == 429
                assert refused.headers["x-should-retry"] == retry
            behind_it, _ = behind(lambda: other.post(PATH, json={"messages": HI}))
            with server.client() as third:
                while server.soon(lambda: server.door.held) < 2:
                    pass
                for path in ("/tokenize", "/detokenize"):
                    assert third.post(path, json={"prompt": "x", "tokens": [1]}).status_code == 429
            server.backend.gate.set()
            behind_it.join(30)
        thread.join(30)
