"""The load generator: its arrivals, its client against scripted bytes, its figures by hand."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.bench import serve_bench
from onesec.bench.arrivals import bursts, instants, poisson, replayed
from onesec.bench.http_client import BadReply, Client, NoReply, Parser
from onesec.bench.process_cpu import cpu_seconds, listener
from onesec.bench.serve_bench import Course, Target, client_of, meet, run
from onesec.bench.serve_figures import against_peak, figures, recovery_ms
from onesec.bench.serve_load import Asker, Heard, Prompt, Slo, at_their_times, read
from onesec.bench.serve_prompts import COMPLETIONS, of_items, of_lengths
from onesec.bench.serve_report import goods, times, write_report
from onesec.compress.examine import max_tokens
from onesec.compress.suite import find_suite, read_suite
from onesec.core.clock import FakeClock, MonotonicClock
from onesec.core.errors import InvalidRequest

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def chunked(*events: str) -> bytes:
    parts = [f"data: {event}\n\n".encode() for event in events]
    return STREAM + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def delta(text: str) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})


LAST = json.dumps(
    {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "onesec": {"ending": "natural", "gears": {"4": 2}, "met": True},
    }
)
USAGE = json.dumps({"choices": [], "usage": {"completion_tokens": 2}})
WHOLE = chunked(delta("a"), delta("b"), LAST, USAGE, "[DONE]")
REFUSED = json.dumps({"error": {"code": "deadline_infeasible", "feasible_ms": 90}}).encode()
NO = b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%s" % (len(REFUSED), REFUSED)


# -- arrivals


def test_random_arrivals_have_exponential_gaps() -> None:
    found = poisson(50.0, 200.0, Random(1))
    gaps = [b - a for a, b in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert variance == pytest.approx(mean**2, rel=0.1)  # of an exponential distribution
    assert found == sorted(found)


@given(st.integers(2, 20), st.floats(1.0, 100.0), st.floats(1.0, 30.0))
def test_bursts_have_the_rate(size: int, rate: float, seconds: float) -> None:
    found = bursts(rate, seconds, size)
    assert len(found) % size == 0
    assert abs(len(found) - rate * seconds) <= max(size, 0.5 * size + 1)
    assert len(set(found)) == len(found) // size


def test_a_trace_keeps_its_form_at_any_rate(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,30,10\n2023-11-16 18:17:04.9799600,20,8\n"
        "2023-11-16 18:17:07.9799600,900,12\n"
    )
    trace = instants(file)
    assert trace == pytest.approx([0.0, 1.0, 4.0])
    assert replayed(trace, 4.0, 1.5) == pytest.approx([0.0, 0.125, 0.5, 0.625, 1.0, 1.125])
    prompts = of_lengths(file, "m", longest=100, count=20, rng=Random(0))
    assert {(len(p.body["prompt"]), p.body["max_tokens"]) for p in prompts} == {(30, 10), (20, 8)}
    assert {p.path for p in prompts} == {COMPLETIONS}
    with pytest.raises(InvalidRequest, match="at most 5"):
        of_lengths(file, "m", longest=5, count=1, rng=Random(0))
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidRequest, match="none of the columns"):
        instants(file)
    with pytest.raises(InvalidRequest, match="no rising instants"):
        replayed([1.0], 1.0, 1.0)


# -- the client


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_a_response_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(WHOLE)})
    parser, over = Parser(), []
    for at, (a, b) in enumerate(pairwise(edges), start=1):
        over.append(parser.feed(WHOLE[a:b], at))
    assert over == [False] * (len(over) - 1) + [True]
    assert parser.keeps
    assert [data for _, data in parser.reply.events] == [
        event.encode() for event in (delta("a"), delta("b"), LAST, USAGE, "[DONE]")
    ]


def test_bodies_by_length_and_until_the_end() -> None:
    parser = Parser()
    assert parser.feed(NO, 7)
    assert (parser.reply.status, parser.reply.body, parser.reply.end_ns) == (422, REFUSED, 7)
    until = Parser()
    assert not until.feed(b"HTTP/1.0 200 OK\r\n\r\nabc", 1)
    until.eof(2)
    assert until.reply.body == b"abc"
    assert not until.keeps
    with pytest.raises(NoReply):
        Parser().eof(1)
    begun = Parser()
    begun.feed(STREAM, 1)
    with pytest.raises(BadReply, match="inside"):
        begun.eof(2)
    with pytest.raises(BadReply, match="begins"):
        Parser().feed(b"SMTP hello\r\n\r\n", 1)
    with pytest.raises(BadReply, match="chunk"):
        Parser().feed(STREAM + b"zz\r\n", 1)


class Scripted:
    """A server that gives scripted bytes; with `hang`, it says nothing more after them. `loading`:
    so many times it says that it is not ready; `status`: of what it says of itself."""

    def __init__(
        self, *replies: bytes, hang: bool = False, loading: int = 0, status: int = 200
    ) -> None:
        self.replies = replies
        self.status = status
        self.loading = loading
        self.hang = hang
        self.asked: list[bytes] = []
        self.left = asyncio.Event()

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                body = await reader.readexactly(int(size or 0))
                path = head.split()[1].decode()
                if path == "/v1/models":
                    reply = b'{"data":[{"id":"m","max_model_len":64}]}'
                elif path == "/props" and self.loading:
                    self.loading -= 1
                    writer.write(b"HTTP/1.1 503 Loading\r\nContent-Length: 0\r\n\r\n")
                    continue
                elif path == "/props":
                    reply = b'{"promises":[]}'
                else:
                    reply = b""
                    self.asked.append(body)
                    writer.write(self.replies[(len(self.asked) - 1) % len(self.replies)])
                if reply:
                    head = b"HTTP/1.1 %d It\r\nContent-Length: %d\r\n\r\n"
                    writer.write(head % (self.status, len(reply)) + reply)
                if self.hang:
                    await reader.read()
                    self.left.set()
                    return
        except asyncio.IncompleteReadError:
            self.left.set()
        finally:
            writer.close()


PROMPT = Prompt(path="/v1/chat/completions", body={"messages": []})


def test_what_comes_back_is_told_from_the_intended_instant() -> None:
    async def main() -> None:
        clock = MonotonicClock()
        async with Scripted(WHOLE, NO) as server:
            client = Client("127.0.0.1", server.port, clock, api_key="k")
            asker = Asker(client, clock, Slo(total_ms=60_000.0), tells=True)
            begin_ns = clock.now_ns() - 10**9  # as if a second had passed since it should be sent
            first = await asker.ask(PROMPT, begin_ns, begin_ns)
            second = await asker.ask(PROMPT, begin_ns, begin_ns)
            client.close()
        assert first.finish_reason == "stop"
        assert len(first.token_ms) == 2
        assert first.tokens == 2
        assert first.told["gears"] == {"4": 2}
        assert first.end_ms is not None
        assert 1000.0 <= first.lag_ms <= first.token_ms[0] <= first.end_ms
        assert (second.error, second.status, second.accepted) == ("deadline_infeasible", 422, False)
        told = json.loads(server.asked[0])["deadline_ms"]
        assert told == pytest.approx(60_000.0 - first.lag_ms)

    asyncio.run(main())


def test_a_server_that_knows_no_budget_is_left_when_it_is_over() -> None:
    async def main() -> None:
        clock = MonotonicClock()
        async with Scripted(STREAM, hang=True) as server:
            client = Client("127.0.0.1", server.port, clock)
            asker = Asker(client, clock, Slo(total_ms=30.0), tells=False)
            [heard] = await at_their_times(asker, clock, iter([PROMPT]), [0.0])
            await server.left.wait()  # the connection was closed: the server can know
        assert heard.error == "gave_up"
        assert heard.accepted
        assert not heard.met(Slo(total_ms=30.0))
        assert "deadline_ms" not in json.loads(server.asked[0])

    asyncio.run(main())


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense\r\n\r\n",
        b'HTTP/1.1 502 No\r\nContent-Length: 4\r\n\r\n"No"',
        chunked('"no object"'),
        chunked('{"choices": [null]}'),
    ],
)
def test_a_server_that_breaks_off_is_told_of(reply: bytes) -> None:
    async def main() -> None:
        clock = MonotonicClock()
        async with Scripted(reply) as server:
            client = Client("127.0.0.1", server.port, clock)
            asker = Asker(client, clock, Slo(total_ms=9000.0), tells=True)
            heard = await asker.ask(PROMPT, clock.now_ns(), 0)
        assert heard.error == "broken"
        gone = await asker.ask(PROMPT, clock.now_ns(), 0)
        assert gone.error == "broken"

    asyncio.run(main())


def test_who_got_a_token_before_an_error_was_accepted() -> None:
    async def main() -> None:
        clock = MonotonicClock()
        late = chunked('{"choices": [{"text": "a"}]}', '{"error": {"code": "engine_closed"}}')
        async with Scripted(late) as server:
            client = Client("127.0.0.1", server.port, clock)
            asker = Asker(client, clock, Slo(total_ms=9000.0), tells=True)
            heard = await asker.ask(PROMPT, clock.now_ns(), 0)
        assert (heard.status, heard.error, len(heard.token_ms)) == (200, "engine_closed", 1)
        assert heard.accepted

    asyncio.run(main())


# -- figures


def heard(at_ms: float, end_ms: float, error: str = "", tokens: int = 3) -> Heard:
    found = Heard(at_ms=at_ms, end_ms=end_ms, error=error, tokens=tokens)
    if not error:
        found.finish_reason = "stop"
        found.token_ms = [end_ms / 2, end_ms]
        found.told = {"gears": {"4": tokens}, "ending": "natural"}
    return found


def test_figures_by_hand() -> None:
    slo = Slo(total_ms=100.0)
    found = [
        heard(0, 50),
        heard(1, 120),
        heard(2, 90),
        heard(3, 4, "queue_full"),
        heard(4, 7, "deadline_infeasible"),
        heard(5, 100, "gave_up"),
    ]
    row = figures(found, slo, 2.0)
    assert row["offered"] == 6
    assert row["goodput_per_s"] == 1.0
    assert row["hit_rate"] == 0.5
    assert row["met_of_offered"] == pytest.approx(1 / 3)
    assert row["overshoot_p99_ms"] == 20.0
    assert (row["refusal_p50_ms"], row["refusal_p99_ms"]) == (4, 7)
    assert row["refused"] == {"queue_full": 1, "deadline_infeasible": 1}
    assert row["gears"] == {"4": 9}
    assert figures([], slo, 1.0)["ttft_p99_ms"] is None


def test_tokens_that_come_late_do_not_make_a_server_quicker() -> None:
    slow = [heard(at, 5000.0, tokens=30) for at in (0.0, 1000.0)]
    assert figures(slow, Slo(), 2.0)["tokens_per_s"] == 60 / 6  # the last one comes at 6 s
    assert figures(slow, Slo(), 10.0)["tokens_per_s"] == 60 / 10


def test_an_slo_has_three_parts() -> None:
    one = heard(0, 100, tokens=6)  # the first token at 50, 10 ms for each of the five after it
    assert one.met(Slo(total_ms=100.0, ttft_ms=50.0, tpot_ms=10.0))
    assert not one.met(Slo(tpot_ms=9.9))
    assert not one.met(Slo(ttft_ms=49.0))
    assert not one.met(Slo(total_ms=99.0))
    one.token_ms = []
    assert not one.met(Slo())


def test_recovery_is_counted_from_the_end_of_the_overload() -> None:
    slo = Slo(total_ms=100.0)
    bad, good = (
        [heard(t, 150) for t in (900, 1010, 1020)],
        [heard(t, 50) for t in range(1030, 1060)],
    )
    assert recovery_ms([*bad, *good], slo, 1000.0) == 30.0
    assert recovery_ms(good, slo, 1000.0) == 0.0
    assert recovery_ms(bad, slo, 1000.0) is None
    mixed = [heard(t, 50 if t % 10 else 150) for t in range(1000, 1040)]  # one of ten is late
    assert recovery_ms(mixed, slo, 1000.0) is None
    assert recovery_ms(mixed, slo, 1000.0, 0.9) == 0.0
    assert against_peak([{"goodput_per_s": 5.0}, {"goodput_per_s": 10.0}]) == [0.5, 1.0]


@given(st.lists(st.integers(1, 400), max_size=6))
def test_events_may_end_as_lines_of_http_do(cuts: list[int]) -> None:
    data = STREAM.replace(b"Transfer-Encoding: chunked", b"Connection: close")
    data += b"".join(f"data: {event}\r\n\r\n".encode() for event in (delta("a"), LAST, "[DONE]"))
    parser, at = Parser(), [0, *sorted(cuts), len(data)]
    for start, end in pairwise(at):
        parser.feed(data[start:end], 5)
    found = Heard(at_ms=0.0)
    read(found, parser.reply, 0)
    assert (len(found.token_ms), found.finish_reason) == (1, "stop")


def test_errors_inside_a_stream_are_errors() -> None:
    parser = Parser()
    parser.feed(chunked(delta("a"), json.dumps({"error": {"code": "engine_closed"}}), "[DONE]"), 5)
    found = Heard(at_ms=0.0)
    read(found, parser.reply, 0)
    assert found.error == "engine_closed"


# -- the whole


TARGET = Target(host="127.0.0.1", port=1, model="m", context=None, tells=True)
COURSE = Course(slo=Slo(total_ms=100.0), seconds=0.01)


def offered(
    monkeypatch: pytest.MonkeyPatch, course: Course, clock: FakeClock, serve: Any, closed: Any = ()
) -> dict[str, Any]:
    """The record of a run in which `serve` (arrivals) answers an open loop, and `closed` is what a
    closed loop heard."""

    async def at_their_times(*args: Any) -> list[Heard]:
        return await serve(args[3])

    async def one_after_another(*_: Any, **__: Any) -> list[Heard]:
        return list(closed)

    monkeypatch.setattr(serve_bench, "at_their_times", at_their_times)
    monkeypatch.setattr(serve_bench, "one_after_another", one_after_another)
    monkeypatch.setattr(serve_bench, "listener", lambda port: 7)
    client: Any = None
    return asyncio.run(run(client, clock, TARGET, [PROMPT], course, lambda name, share: None))


def test_a_load_is_billed_for_its_own_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores are busy while it is offered, none while the last answers end."""
    clock, looks = FakeClock(), []

    def cpu_seconds(pid: int) -> float:
        looks.append(pid)
        return min(2.0, 2.0 * clock.now_ns() / 1e9)

    async def serve(arrivals: list[float]) -> list[Heard]:
        clock.advance_ms(1000.0)
        async with asyncio.timeout(30.0):
            while len(looks) < 2:
                await asyncio.sleep(0)
        clock.advance_ms(9000.0)
        return []

    monkeypatch.setattr(serve_bench, "cpu_seconds", cpu_seconds)
    found = offered(monkeypatch, replace(COURSE, rates=(5.0,)), clock, serve)
    assert found["rows"][0]["server_cores"] == pytest.approx(2.0)


def test_the_capacity_is_what_came_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(arrivals: list[float]) -> list[Heard]:
        return []

    course = replace(COURSE, seconds=1.0, loads=(0.5,))
    closed = [heard(0, 50), heard(940, 60), heard(960, 50)]  # the last one ends at 1010 ms
    monkeypatch.setattr(serve_bench, "cpu_seconds", lambda pid: None)
    clock = FakeClock()
    monkeypatch.setattr(serve_bench, "cores", lambda spent: {})
    found = offered(monkeypatch, course, clock, serve, closed)
    assert found["capacity_per_s"] == 2.0
    with pytest.raises(InvalidRequest, match="within 1 s"):
        offered(monkeypatch, course, clock, serve, closed[2:])


def test_a_slow_servers_recovery_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request a second: ten quiet ones take twenty seconds, however short the load was."""

    async def serve(arrivals: list[float]) -> list[Heard]:
        return [heard(1e3 * at_s, 50) for at_s in arrivals]

    course = replace(COURSE, seconds=1.0, loads=(2.0,))
    monkeypatch.setattr(serve_bench, "cpu_seconds", lambda pid: None)
    monkeypatch.setattr(serve_bench, "cores", lambda spent: {})
    for seed in range(5):
        again = replace(course, seed=seed)
        found = offered(monkeypatch, again, FakeClock(), serve, [heard(0, 50)])
        assert found["rows"][0]["recovery_ms"] == 0.0


def test_a_whole_run_against_a_scripted_server(tmp_path: Path) -> None:
    async def main() -> dict:
        clock = MonotonicClock()
        async with Scripted(WHOLE) as server:
            client = client_of(f"http://127.0.0.1:{server.port}/v1", clock)
            target = await meet(client, clock)
            assert (target.model, target.context, target.tells) == ("m", 64, True)
            course = Course(slo=Slo(total_ms=60_000.0), loads=(0.01, 0.02), seconds=0.3)
            found = await run(client, clock, target, [PROMPT], course, lambda name, share: None)
            client.close()
        assert len(server.asked) >= sum(row["offered"] for row in found["rows"])
        return found

    found = asyncio.run(main())
    assert found["capacity_per_s"] > 0
    assert [row["name"] for row in found["rows"]] == ["0.01x", "0.02x"]
    assert all(row["met"] == row["offered"] for row in found["rows"])
    record = {
        "model": "m<",
        "slo": {"total_ms": 1000.0},
        "tells": True,
        "machine": {},
        "onesec": "1",
        **found,
    }
    write_report(tmp_path, record)
    page = (tmp_path / "serve.html").read_text()
    assert "m&lt;" in page
    assert all(cell in page for row in (*goods(record), *times(record)) for cell in row)
    assert json.loads((tmp_path / "serve.json").read_text())["rows"] == found["rows"]


def test_a_server_that_closes_between_two_requests_is_asked_over_a_new_connection() -> None:
    """One that says nothing of it, so that the next request is on its way already."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(asked)
        asked.append(0)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked[number] += 1
                if asked[number] == 2 or head.startswith(b"GET /never"):
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = client_of(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", MonotonicClock())
        for _ in range(3):
            assert (await client.request("GET", "/")).body == b"ok"
        assert asked == [2, 2, 1]
        with pytest.raises(NoReply):
            await client.request("GET", "/never")  # a new one, too, ends at once
        client.close()
        server.close()

    asyncio.run(main())


def test_so_many_users_at_once() -> None:
    async def main() -> dict:
        clock = MonotonicClock()
        async with Scripted(WHOLE) as server:
            client = client_of(f"127.0.0.1:{server.port}", clock)
            target = await meet(client, clock)
            course = Course(slo=Slo(total_ms=60_000.0), users=3, seconds=0.1)
            found = await run(client, clock, target, [PROMPT], course, lambda name, share: None)
            client.close()
            assert found["rows"][0]["offered"] == len(server.asked)
            return found

    found = asyncio.run(main())
    assert found["capacity_per_s"] is None
    [row] = found["rows"]
    assert row["name"] == "3 users"
    assert row["met"] == row["offered"] >= 3
    assert row["tokens_per_s"] == pytest.approx(2 * row["goodput_per_s"])
    assert row["goodput_per_s"] == row["rate_per_s"]


def test_addresses_and_servers_that_are_none() -> None:
    for url in ("https://a", "http://", "http://a:99999", "http://[::1"):
        with pytest.raises(InvalidRequest, match="no address"):
            client_of(url, FakeClock())

    async def main() -> None:
        async with Scripted(WHOLE) as server:
            port = server.port
        with pytest.raises(InvalidRequest, match="does not answer"):
            await meet(client_of(f"127.0.0.1:{port}", MonotonicClock()), MonotonicClock())

    asyncio.run(main())


def test_a_server_that_is_silent_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_bench, "_SILENT_S", 0.01)
    clock = MonotonicClock()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = client_of(f"127.0.0.1:{silent.getsockname()[1]}", clock)
        with pytest.raises(InvalidRequest, match="TimeoutError"):
            asyncio.run(meet(client, clock))


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_key_is_told_from_one_that_is_none(status: int) -> None:
    async def main() -> None:
        clock = MonotonicClock()
        async with Scripted(WHOLE, status=status) as server:
            client = client_of(f"127.0.0.1:{server.port}", clock)
            with pytest.raises(InvalidRequest, match=f"status {status}") as refused:
                await meet(client, clock)
            assert "ONESEC_API_KEY" in str(refused.value.hint)
            client.close()

    asyncio.run(main())


def test_a_server_that_loads_is_waited_for() -> None:
    async def main() -> None:
        clock = MonotonicClock()
        async with Scripted(WHOLE, loading=2) as server:
            client = client_of(f"127.0.0.1:{server.port}", clock)
            assert (await meet(client, clock, pause_s=0.0)).tells
            assert server.loading == 0
            server.loading = 1
            with pytest.raises(InvalidRequest, match="still loads"):
                await meet(client, clock, wait_s=0.0)
            client.close()

    asyncio.run(main())


def test_the_listeners_cpu_is_found_with_its_childrens(tmp_path: Path) -> None:
    def process(pid: int, parent: int, ticks: int) -> None:
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        fields = " ".join(["S", str(parent), *["0"] * 9, str(ticks), "0", *["0"] * 30])
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a ) b) {fields}")

    process(10, 1, 100)
    process(11, 10, 50)
    process(12, 11, 25)
    process(13, 1, 1000)
    (tmp_path / "net").mkdir()
    row = "0: 0100007F:1F90 00000000:0000 {} 0 0 0 0 0 {} 1"
    lines = ["sl", row.format("0A", 777), row.format("01", 778)]
    (tmp_path / "net" / "tcp").write_text("\n".join(lines))
    (tmp_path / "11" / "fd" / "3").symlink_to("socket:[778]")
    (tmp_path / "10" / "fd" / "3").symlink_to("socket:[777]")
    assert listener(8080, tmp_path) == 10
    assert listener(8081, tmp_path) is None
    whole = cpu_seconds(10, tmp_path)
    alone = cpu_seconds(12, tmp_path)
    assert whole is not None
    assert alone is not None
    assert whole == pytest.approx(7 * alone)
    assert cpu_seconds(99, tmp_path) is None


def test_a_suites_questions_keep_their_limits() -> None:
    items = read_suite(find_suite("mini"))[:40]
    found = of_items(items, "m", Random(0))
    asked = {json.dumps(p.body["messages"]): p.body["max_tokens"] for p in found}
    assert asked == {json.dumps(item["messages"]): max_tokens(item) for item in items}
    assert [p.body["messages"] for p in found] != [item["messages"] for item in items]
    assert all(p.body["stream"] for p in found)
