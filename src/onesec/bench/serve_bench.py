"""Serve bench: what a server does for its users at loads around and beyond what it can serve.

From an address to plain values: what the server is, its capacity in a closed loop, then an open
loop for each load, and how soon it recovers. It must not know terminals or files.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import Any
from urllib.parse import urlsplit

from onesec.core.clock import Clock
from onesec.core.errors import InvalidRequest

from .arrivals import bursts, poisson, replayed
from .http_client import BadReply, Client
from .process_cpu import cpu_seconds, listener
from .serve_figures import IN_A_ROW, Spent, cores, figures, recovery_ms
from .serve_load import Asker, Heard, Prompt, Slo, at_their_times, one_after_another

_USERS = 4  # of the closed loop: enough to keep a batch filled, too few to queue for long
_QUIET = 0.5  # of the capacity, after an overload
_LOADING, _LOADING_S, _PAUSE_S = 503, 60.0, 0.1  # of a server that is not ready yet
_NOT_FOR_ALL = frozenset({401, 403})  # without a key, or by another name
_SILENT_S = 10.0  # after which nobody is there
_EASY = 0.8  # a load that shows what is usual
_RECOVERY = 10.0  # budgets that a recovery is waited for, at least _RECOVERY_S
_RECOVERY_S = 2.0
_LOCAL = ("127.0.0.1", "localhost", "::1")
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server: its address, the name of its model, the longest context if it says so, and whether
    it understands budgets."""

    host: str
    port: int
    model: str
    context: int | None
    tells: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is offered.

    loads     multiples of the capacity; `rates`: requests a second, instead
    users     each asking again as soon as it was answered, instead; without loads and rates
    seconds   of each
    trace     instants whose gaps are replayed, scaled; `burst`: so many at once; else at random
    """

    slo: Slo
    loads: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    users: int = 0
    seconds: float = 10.0
    trace: Sequence[float] = ()
    burst: int = 0
    seed: int = 0

    def arrivals(self, rate_per_s: float, seconds: float, rng: Random) -> list[float]:
        """Instants of that rate in the way that was asked for."""
        if self.trace:
            return replayed(self.trace, rate_per_s, seconds)
        if self.burst:
            return bursts(rate_per_s, seconds, self.burst)
        return poisson(rate_per_s, seconds, rng)


def client_of(url: str, clock: Clock, api_key: str = "") -> Client:
    """A client of the server at an address such as http://127.0.0.1:8000 (a path is ignored).
    Raises InvalidRequest."""
    host: str | None = None
    port = 80
    with suppress(ValueError):
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme == "http":
            host, port = parts.hostname, parts.port or port
    if not host:
        raise InvalidRequest(
            f"{url} is no address of a server.", hint="Write for example http://127.0.0.1:8000."
        )
    return Client(host, port, clock, api_key=api_key)


async def meet(
    client: Client, clock: Clock, *, wait_s: float = _LOADING_S, pause_s: float = _PAUSE_S
) -> Target:
    """Ask a server what it is; while it loads, again after each pause: it does not say yet whether
    it understands budgets. Raises InvalidRequest where nothing that answers is there, or where it
    still loads after `wait_s`."""
    end_ns = clock.now_ns() + round(wait_s * 1e9)
    loading = False
    try:
        while True:
            async with asyncio.timeout(_SILENT_S):
                listed = await client.request("GET", "/v1/models")
                props = await client.request("GET", "/props")
            loading = _LOADING in (listed.status, props.status)
            if not loading or clock.now_ns() >= end_ns:
                break
            await asyncio.sleep(pause_s)
        if listed.status in _NOT_FOR_ALL:
            raise InvalidRequest(
                f"{client.host}:{client.port} lets nobody in like this (status {listed.status}).",
                hint="A key comes from ONESEC_API_KEY; the address must be a name that it goes by.",
            )
        cards = json.loads(listed.body)["data"]
        card = cards[0]
        model = str(card["id"])
    except InvalidRequest:  # which is a ValueError
        raise
    except (OSError, BadReply, ValueError, LookupError, TypeError) as error:
        raise InvalidRequest(
            f"{client.host}:{client.port} does not answer as a server of models "
            f"({getattr(error, 'strerror', None) or type(error).__name__}).",
            hint="Give an address such as http://127.0.0.1:8000, where one runs; to start one: "
            "onesec serve onesec-mini.",
        ) from None
    if loading:
        raise InvalidRequest(
            f"{client.host}:{client.port} still loads after {wait_s:g} s.",
            hint="Begin once /readyz says 200.",
        )
    ours = False
    if props.status == 200:
        try:
            ours = "promises" in json.loads(props.body)
        except (ValueError, TypeError):  # another server's page
            ours = False
    length = card.get("max_model_len")
    return Target(
        host=client.host,
        port=client.port,
        model=model,
        context=length if isinstance(length, int) else None,
        tells=ours,
    )


async def run(
    client: Client,
    clock: Clock,
    target: Target,
    prompts: Sequence[Prompt],
    course: Course,
    progress: Progress,
) -> dict[str, Any]:
    """The record: capacity, and the figures of every load, as plain values. The prompts come in
    their order through all of it, and again only when there are no others: a server that keeps what
    it has read would be measured at repeating."""
    bench = _Bench(
        asker=Asker(client, clock, course.slo, tells=target.tells),
        clock=clock,
        prompts=cycle(prompts),
        course=course,
        pid=listener(target.port) if target.host in _LOCAL else None,
        progress=progress,
    )
    capacity = await _capacity(bench) if course.loads else None
    rates = [load * (capacity or 0.0) for load in course.loads] + list(course.rates)
    rows: list[dict[str, Any]] = []
    if course.users:
        progress("users", 0.0)
        rows.append(await _crowd(bench))
    usual = 1.0  # share that is met where there is no hurry
    for i, rate in enumerate(rates):
        load = rate / capacity if capacity else None
        name = f"{load:g}x" if load else f"{rate:g}/s"
        row = await _one(bench, rate, name, capacity=capacity, usual=usual)
        if load is not None and load <= _EASY:
            usual = row["met_of_offered"] or 0.0
        rows.append({"load": load, "name": name, "rate_per_s": rate, **row})
        progress(name, (i + 1) / len(rates))
    return {"capacity_per_s": capacity, "users": _USERS, "rows": rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What all loads share. `pid`: the server's process, where it is on this machine."""

    asker: Asker
    clock: Clock
    prompts: Iterator[Prompt]
    course: Course
    pid: int | None
    progress: Progress


async def _capacity(bench: _Bench) -> float:
    """Requests a second that a closed loop was served. Raises InvalidRequest where it is none."""
    slo, seconds = bench.course.slo, bench.course.seconds
    bench.progress("capacity", 0.0)
    found = await one_after_another(
        bench.asker, bench.clock, bench.prompts, users=_USERS, seconds=seconds
    )
    # What was still under way at the end is left out: those seconds did not bring it.
    met = sum(each.met(slo) and each.ended_ms <= 1e3 * seconds for each in found)
    if not met:
        raise InvalidRequest(
            f"None of {len(found)} requests of {_USERS} users was met within {seconds:g} s.",
            hint="Give them more time with --deadline or --seconds, or name a --rate.",
        )
    return met / seconds


async def _one(
    bench: _Bench, rate: float, name: str, *, capacity: float | None, usual: float
) -> dict[str, Any]:
    """One load; one beyond the capacity is followed by a quiet time, in which the server
    recovers."""
    course = bench.course
    rng = Random(f"{course.seed} {rate}")
    arrivals = course.arrivals(rate, course.seconds, rng)
    overload = capacity is not None and rate > capacity
    quiet: list[float] = []
    if overload and capacity is not None:
        tail_s = max(_RECOVERY_S, _RECOVERY * (course.slo.total_ms or 0.0) / 1e3)
        # Of a slow server as long as it takes for twice the requests that show a recovery.
        tail_s = max(min(tail_s, course.seconds), 2 * IN_A_ROW / (_QUIET * capacity))
        quiet = [course.seconds + at_s for at_s in poisson(_QUIET * capacity, tail_s, rng)]
    meter = _Meter(bench.clock, bench.pid)
    # Neither the quiet time nor the last answers' are the load's.
    timer = asyncio.get_running_loop().call_later(course.seconds, meter.stop)
    heard: list[Heard] = await at_their_times(
        bench.asker,
        bench.clock,
        bench.prompts,
        [*arrivals, *quiet],
        lambda share: bench.progress(name, share),
    )
    timer.cancel()
    end_ms = 1e3 * course.seconds
    row = figures([each for each in heard if each.at_ms < end_ms], course.slo, course.seconds)
    row |= cores(meter.stop())
    row["recovery_ms"] = recovery_ms(heard, course.slo, end_ms, usual) if overload else None
    return row


async def _crowd(bench: _Bench) -> dict[str, Any]:
    """A closed loop: so many users, each with a request in flight all the time."""
    course = bench.course
    meter = _Meter(bench.clock, bench.pid)
    heard = await one_after_another(
        bench.asker, bench.clock, bench.prompts, users=course.users, seconds=course.seconds
    )
    spent = meter.stop()
    row = figures(heard, course.slo, spent.seconds) | cores(spent)
    rate_per_s = row["offered_per_s"]
    name = f"{course.users} users"
    return {"load": None, "name": name, "rate_per_s": rate_per_s, **row, "recovery_ms": None}


class _Meter:
    """What a server and this process compute from now on, until it is stopped."""

    def __init__(self, clock: Clock, pid: int | None) -> None:
        self._clock, self._pid = clock, pid
        self._server_s = None if pid is None else cpu_seconds(pid)
        self._own_s, self._begin_ns = time.process_time(), clock.now_ns()
        self._spent: Spent | None = None

    def stop(self) -> Spent:
        """Until now; asked again, the same."""
        if self._spent is None:
            before, after = self._server_s, None if self._pid is None else cpu_seconds(self._pid)
            self._spent = Spent(
                seconds=(self._clock.now_ns() - self._begin_ns) / 1e9,
                server_s=None if before is None or after is None else after - before,
                generator_s=time.process_time() - self._own_s,
            )
        return self._spent
