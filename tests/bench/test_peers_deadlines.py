"""Peers' limits of time: arithmetic, ends of a stream, and the client against a small server that
speaks llama.cpp's documented protocol."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

PEERS = Path(__file__).parents[2] / "bench" / "peers"
sys.path.insert(0, str(PEERS))
try:
    import compare
    import engines
    from deadlines import Transformers
    from limited_llamacpp import Client
    from limits import (
        FirstToken,
        Reply,
        events,
        max_time_ms,
        predict_limit_ms,
        step_ms,
        stream_ending,
        table,
    )
finally:
    sys.path.remove(str(PEERS))

IDS = (5, 6, 7)


def final(stop_type: str, tokens: int = 2, truncated: bool = False) -> dict[str, Any]:
    return {
        "content": "",
        "stop": True,
        "stop_type": stop_type,
        "tokens_predicted": tokens,
        "tokens_evaluated": len(IDS),
        "truncated": truncated,
    }


def piece(text: str) -> dict[str, Any]:
    return {"content": text, "stop": False}


class Quiet(HTTPServer):
    """Takes it calmly that a client leaves."""

    def handle_error(self, *_: Any) -> None:
        """Nothing."""


Say = Callable[[dict[str, Any]], None]


@contextmanager
def serving(
    answer: Callable[[dict[str, Any], Say], None], clock: Callable[[], float] = time.perf_counter
) -> Iterator[Client]:
    """A client of a server whose stream `answer` (request, say) produces."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            request = json.loads(self.rfile.read(length))
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

            def say(event: dict[str, Any]) -> None:
                data = f"data: {json.dumps(event)}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            answer(request, say)
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Client(server.server_port, clock)
        finally:
            server.shutdown()
            thread.join()


def saying(said: Sequence[dict[str, Any]], seen: list[dict[str, Any]]) -> Callable[..., None]:
    def answer(request: dict[str, Any], say: Say) -> None:
        seen.append(request)
        for event in said:
            say(event)

    return answer


def test_a_reply_is_read_to_its_natural_end() -> None:
    seen: list[dict[str, Any]] = []
    with serving(saying([piece("two"), piece(" 月"), final("eos")], seen)) as client:
        reply = client.ask(IDS, 64, predict_limit_ms=31)
    assert (reply.text, reply.tokens, reply.ending) == ("two 月", 2, "natural")
    assert reply.ttft_ms is not None
    assert 0.0 < reply.ttft_ms <= reply.elapsed_ms
    [request] = seen
    assert request["prompt"] == list(IDS)
    assert request["n_predict"] == 64
    assert request["t_max_predict_ms"] == 31
    assert request["temperature"] == 0
    assert request["cache_prompt"] is False


def test_without_a_limit_none_is_sent() -> None:
    seen: list[dict[str, Any]] = []
    with serving(saying([final("eos", 0)], seen)) as client:
        assert client.ask(IDS, 64).tokens == 0
    assert "t_max_predict_ms" not in seen[0]


def test_a_client_that_stops_listening_keeps_what_came_before() -> None:
    # Every look at the clock takes 10 s: the request leaves at 10 s, the first piece is there at
    # 30 s; the line behind it is asked for at 40 s, the second piece would be at 50 s.
    said = [piece("first"), piece("second"), final("eos")]
    looks = itertools.count(0, 10)
    with serving(saying(said, []), lambda: float(next(looks))) as client:
        reply = client.ask(IDS, 64, abort_ms=45e3)
    assert (reply.text, reply.tokens, reply.ending) == ("first", 1, "cut")
    assert reply.elapsed_ms == 30e3


def test_an_end_behind_the_budget_has_not_come() -> None:
    looks = iter([0.0, 1.0, 2.0, 9.0])
    with serving(saying([final("eos", 0)], []), lambda: next(looks)) as client:
        reply = client.ask(IDS, 64, abort_ms=5e3)
    assert reply == Reply(text="", tokens=0, elapsed_ms=5e3, ending="cut")


def test_with_nothing_in_hand_the_whole_budget_is_gone() -> None:
    over = Event()

    def silent(request: dict[str, Any], say: Say) -> None:
        over.wait()

    with serving(silent) as client:
        try:
            reply = client.ask(IDS, 64, abort_ms=20.0)
        finally:
            over.set()
    assert reply == Reply(text="", tokens=0, elapsed_ms=20.0, ending="cut")


def test_a_prompt_that_is_read_as_other_tokens_is_an_error() -> None:
    other = final("eos") | {"tokens_evaluated": len(IDS) + 1}
    with serving(saying([other], [])) as client, pytest.raises(RuntimeError, match="4 prompt"):
        client.ask(IDS, 64)


@pytest.mark.parametrize(
    ("last", "ending"),
    [
        (final("eos"), "natural"),
        (final("word"), "natural"),
        (final("limit", 64), "cut"),
        (final("limit", 9, truncated=True), "cut"),
        (final("limit", 9), "landed"),  # neither tokens nor context: the time, at a new line
    ],
)
def test_ends_of_a_stream(last: dict[str, Any], ending: str) -> None:
    assert stream_ending(last, 64) == ending


def test_an_unknown_end_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="none"):
        stream_ending(final("none"), 64)


def test_events_are_the_data_lines() -> None:
    lines = [b": ping\n", b"\n", b'data: {"content": "a"}\n', b'data: {"content": "b"}\n']
    assert [event["content"] for event in events(lines)] == ["a", "b"]


@pytest.mark.parametrize("line", [b'data: {"error": {"message": "full"}}\n', b"error: full\n"])
def test_an_error_in_the_stream_is_raised(line: bytes) -> None:
    with pytest.raises(RuntimeError, match="full"):
        list(events([line]))


def test_what_comes_before_the_first_token_is_taken_off() -> None:
    first = FirstToken.fitted({100: [12.0, 10.0, 11.0], 200: [16.0], 300: [21.0]})
    assert first.ms(200) == pytest.approx(16.0)
    assert first.ms(400) == pytest.approx(26.0)
    assert predict_limit_ms(80.0, first.ms(400)) == 54


def test_a_limit_never_says_no_limit() -> None:
    assert predict_limit_ms(20.0, 19.5) == 1
    assert predict_limit_ms(20.0, 50.0) == 1
    assert max_time_ms(20.0, 5.0) == 15.0
    assert 0.0 < max_time_ms(20.0, 70.0) < 0.1


def told(tokens: int, elapsed_ms: float, ending: str) -> Reply:
    return Reply(text="", tokens=tokens, elapsed_ms=elapsed_ms, ending=ending)


def test_a_step_is_what_a_longer_reply_takes_more() -> None:
    first = told(1, 60.0, "cut")
    assert step_ms(told(9, 150.0, "natural"), first) == 10.0  # the end token is a step too
    assert step_ms(told(10, 150.0, "cut"), first) == 10.0
    assert step_ms(told(3, 90.0, "natural"), first) is None
    assert step_ms(told(0, 60.0, "natural"), told(0, 60.0, "natural")) is None


def test_transformers_step_holds_no_prompt() -> None:
    """A prompt takes 100 ms, a step 10: a reply of one word says nothing of a step."""
    asked: list[float | None] = []

    class Scripted(Transformers):
        def __init__(self) -> None:
            self.about = {}

        def ask(self, question: Any, limit_ms: float | None, most: int | None = None) -> Reply:
            asked.append(limit_ms)
            tokens = min(question, most or question)
            return told(tokens, 100.0 + 10.0 * (tokens - 1), "cut")

    peer = Scripted()
    systems = peer.systems([1, 2, 5, 9])  # questions: so many tokens
    assert peer.about["step_p95_ms"] == 10.0
    assert len(systems) == 2
    with pytest.raises(SystemExit, match="too short"):
        peer.systems([1, 2])
    assert set(asked) == {None}


def test_onesec_is_asked_for_a_width_at_a_time() -> None:
    """Only then does `onesec bench` tell the keys that compare.py reads."""
    variants = compare.variants(None)
    assert list(variants) == ["4", "8"]
    places = engines.Places(Path("work"), 3, "decode", variants)
    for width in variants:
        words = engines.command(f"onesec/{width}", "qwen0.5b", places)
        assert words[words.index("--widths") + 1] == width
        assert words[words.index("--threads") + 1] == "3"
        assert words[words.index("--shape") + 1] == "qwen0.5b"


def test_the_table_has_a_row_a_system_and_budget() -> None:
    figures = {
        "count": 3,
        "accepted": 2,
        "hit_rate": 0.5,
        "overshoot_p99_ms": 1.25,
        "complete_rate": None,
        "score": 0.25,
        "score_half_width": None,
        "use": 0.987,
    }
    lines = table(
        [{"budget_ms": t, "systems": {"a": figures, "b": figures}} for t in (20.0, 40.0)]
    ).splitlines()
    assert len(lines) == 2 + 4
    assert lines[2] == "| 20 ms | a | 3 | 2 | 50 % | 1.2 ms | – | 0.250 ± – | 99 % |"
    assert lines[5].startswith("| 40 ms | b |")
    assert len({line.count("|") for line in lines}) == 1
