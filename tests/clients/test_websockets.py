"""Live translation through the `websockets` client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import Served

pytest.importorskip("websockets")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.clients


def test_sentences_go_and_translations_come(server: Served) -> None:
    url = server.url.replace("http", "ws", 1) + "/v1/apps/translate/live"
    with connect(url, proxy=None) as socket:
        socket.send(json.dumps({"type": "start", "to": "en", "deadline_ms": 20_000}))
        for piece in ("早上好。", "我们九点", "开门。再见"):
            socket.send(json.dumps({"type": "text", "text": piece}))
        socket.send(json.dumps({"type": "end"}))
        *told, end = [json.loads(message) for message in socket]
    told.sort(key=lambda sentence: sentence["number"])
    assert [sentence["source"] for sentence in told] == ["早上好。", "我们九点开门。", "再见"]
    assert all(sentence["text"] for sentence in told)
    assert end == {"type": "end", "sentences": 3, "done": 3}


def test_a_page_of_another_server_is_refused(server: Served) -> None:
    url = server.url.replace("http", "ws", 1) + "/v1/apps/translate/live"
    options: dict[str, Any] = {"proxy": None, "origin": "http://evil.example"}
    with pytest.raises(InvalidStatus, match="403"), connect(url, **options):
        pass
