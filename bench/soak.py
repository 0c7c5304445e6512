#!/usr/bin/env python3
"""Soak: a server that is stopped in the middle of its work, and one that works for long.

Drain: many streams at once, SIGTERM at a random instant, again and again: whatever was begun ends
with its end or an error, and the exit code is 0. Mixed: good requests, clients that leave, and
requests that are wrong, at random times; memory and the p99 of good ones are followed.

    python bench/soak.py --minutes 5 --drains 3
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from onesec.bench.arrivals import poisson
from onesec.bench.figures import upper
from onesec.bench.http_client import BadReply, Client, NoReply
from onesec.core.clock import MonotonicClock

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "When do you open?"}]
WRONG: tuple[Any, ...] = (
    {"messages": []},
    {"messages": HI, "temperature": "hot"},
    {"messages": HI, "n": 99},
    {"messages": HI, "deadline_ms": 1},
    {"messages": [{"role": "user", "content": "word " * 20_000}]},
    {"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"schema": 7}}},
    [],
)
PARTS = 6  # of a long run, whose memory and p99 are compared


class Server:
    """The command, its address, and the memory of its processes."""

    def __init__(self, model: str, *options: str) -> None:
        words = [sys.executable, "-m", "onesec", "serve", model, "--port", "0", *options]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if "gear" in line:
                break
        # What it logs is not kept, but must be read.
        self._reader = subprocess.Popen(
            ["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL
        )

    def kilobytes(self) -> int:
        """Memory of both processes that no other one shares."""
        pids = [self.process.pid]
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text()
        total = 0
        for pid in [*pids, *map(int, children.split())]:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M))
        return total

    def end(self) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(60)
        self._reader.wait(60)
        return code


def body(**more: Any) -> bytes:
    return json.dumps({"messages": HI, "stream": True, "max_tokens": 48, **more}).encode()


async def drained(model: str, streams: int, rng: random.Random) -> Counter[str]:
    """One drain: what became of each stream, and the exit code."""
    server = Server(model, "--max-waiting", str(streams), "--budget", "20s")
    client = Client("127.0.0.1", server.port, MonotonicClock())
    told: Counter[str] = Counter()

    async def one() -> None:
        await asyncio.sleep(rng.uniform(0.0, 1.5))
        try:
            reply = await client.request("POST", PATH, body(deadline_ms=20_000))
        except OSError:
            told["no connection"] += 1  # it had stopped listening
        except NoReply:
            told["no answer begun"] += 1  # its connection was closed before it was read
        except BadReply:
            told["LOST"] += 1
        else:
            if reply.status != 200:
                told[str(json.loads(reply.body)["error"]["code"])] += 1
            elif not reply.events or reply.events[-1][1] != b"[DONE]":
                told["LOST"] += 1
            else:
                told["an error event" if b'"error"' in reply.events[-2][1] else "whole"] += 1

    tasks = [asyncio.create_task(one()) for _ in range(streams)]
    await asyncio.sleep(rng.uniform(0.2, 2.0))
    server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*tasks)
    code = await asyncio.to_thread(server.end)
    told[f"exit {code}"] += 1
    return told


async def mixed(model: str, minutes: float, rate: float, rng: random.Random) -> dict[str, Any]:
    """A long run: requests of three kinds; memory and p99 of the good ones, part by part."""
    server = Server(model, "--budget", "2s")
    clock = MonotonicClock()
    client = Client("127.0.0.1", server.port, clock)
    told: Counter[str] = Counter()
    took: list[tuple[float, float]] = []  # when it came, and how long it took, of good ones
    begin_s = time.monotonic()

    async def good(at_s: float) -> None:
        reply = await client.request("POST", PATH, body(deadline_ms=2000))
        ok = reply.status == 200 and reply.events and reply.events[-1][1] == b"[DONE]"
        told["good" if ok else f"good: {reply.status}"] += 1
        if ok:
            took.append((at_s, 1e3 * (time.monotonic() - begin_s - at_s)))

    async def leaving() -> None:
        try:
            async with asyncio.timeout(rng.uniform(0.0, 0.05)):
                await client.request("POST", PATH, body(deadline_ms=5000))
            told["left too late"] += 1
        except TimeoutError:
            told["left"] += 1

    async def wrong() -> None:
        data = json.dumps(rng.choice(WRONG)).encode()
        reply = await client.request("POST", PATH, data)
        told[f"wrong: {reply.status}"] += 1

    async def one(at_s: float) -> None:
        kind = rng.random()
        try:
            await (good(at_s) if kind < 0.6 else leaving() if kind < 0.8 else wrong())
        except (OSError, BadReply) as error:
            told[f"BROKEN: {type(error).__name__}"] += 1

    parts = []
    seconds = 60.0 * minutes / PARTS
    for part in range(PARTS):
        start_s = part * seconds
        tasks = []
        for at_s in poisson(rate, seconds, rng):
            await asyncio.sleep(max(0.0, begin_s + start_s + at_s - time.monotonic()))
            tasks.append(asyncio.create_task(one(start_s + at_s)))
        await asyncio.gather(*tasks)
        mine = [ms for at_s, ms in took if at_s >= start_s]
        parts.append({"p99_ms": round(upper(mine, 0.99), 1), "kilobytes": server.kilobytes()})
        print(f"part {part + 1} of {PARTS}: {parts[-1]}", flush=True)
    server.process.send_signal(signal.SIGTERM)
    client.close()
    code = await asyncio.to_thread(server.end)
    # The first part fills what is bounded: caches, windows, pages.
    grown = parts[-1]["kilobytes"] - parts[1]["kilobytes"]
    asked = sum(told.values()) * (PARTS - 2) / PARTS
    return {
        "told": dict(told),
        "exit": code,
        "kilobytes_per_10k_requests": round(grown / asked * 1e4),
        "p99_drift": round(parts[-1]["p99_ms"] / max(parts[1]["p99_ms"], 1e-9), 2),
        "parts": parts,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="onesec-mini")
    parser.add_argument("--drains", type=int, default=5)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    lost = 0
    for number in range(asked.drains):
        told = asyncio.run(drained(asked.model, asked.streams, rng))
        print(f"drain {number + 1}: {dict(told)}", flush=True)
        lost += told["LOST"] + (told["exit 0"] != 1)
    found = asyncio.run(mixed(asked.model, asked.minutes, asked.rate, rng)) if asked.minutes else {}
    print(json.dumps(found, indent=1))
    broken = [name for name in found.get("told", {}) if name.startswith("BROKEN")]
    return 1 if lost or broken or found.get("exit", 0) else 0


if __name__ == "__main__":
    sys.exit(main())
