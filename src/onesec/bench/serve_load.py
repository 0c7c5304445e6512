"""Serve load: requests to a server at their own times, whatever became of those before.

Everything is timed from the instant at which a request was meant to be sent, so that a server that
holds its clients up does not hide how long they waited. It must not know models, files or what the
figures mean.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from onesec.core.clock import Clock

from .http_client import BadReply, Client, Reply

GRACE_MS = 1000.0  # after the deadline, a server that knows it is heard out for so long
_LONGEST_MS = 120_000.0  # that is waited where no whole answer is due
_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """What a user wants: the whole answer, the first token, and each token after it on average.
    None: whenever it comes."""

    total_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None


SLOS = {
    "chat": Slo(ttft_ms=200.0, tpot_ms=50.0),
    "rag": Slo(total_ms=3000.0, ttft_ms=300.0, tpot_ms=100.0),
    "agent": Slo(total_ms=5000.0),
    "complete": Slo(total_ms=2000.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A path, and the body that goes there without what it is told of time."""

    path: str
    body: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Heard:
    """What became of a request; milliseconds since `at_ms`, the instant at which it was meant to be
    sent, counted from the run's beginning.

    lag_ms     until it was sent: the generator's own lateness, and the connection's
    status     of the response; 0: there was none, and `error` says why
    error      the code of a refusal, or "gave_up" or "broken"
    token_ms   instants of events that brought text
    told       what our servers say of an answer (the extension object), else empty
    """

    at_ms: float
    lag_ms: float = 0.0
    status: int = 0
    error: str = ""
    first_ms: float | None = None
    token_ms: list[float] = field(default_factory=list)
    end_ms: float | None = None
    tokens: int = 0
    finish_reason: str = ""
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether an answer was begun, or nobody said that it would not be."""
        return self.status == 200 or not self.error or self.error in ("gave_up", "broken")

    @property
    def ended_ms(self) -> float:
        """When it was over, counted from the run's beginning; never: infinity."""
        return inf if self.end_ms is None else self.at_ms + self.end_ms

    def met(self, slo: Slo) -> bool:
        """Whether the user got what was wanted, by the client's clock."""
        if self.error or not self.finish_reason or self.end_ms is None or not self.token_ms:
            return False
        gaps = max(self.tokens, len(self.token_ms)) - 1
        tpot_ms = (self.token_ms[-1] - self.token_ms[0]) / gaps if gaps > 0 else 0.0
        kept = (
            (slo.total_ms, self.end_ms),
            (slo.ttft_ms, self.token_ms[0]),
            (slo.tpot_ms, tpot_ms),
        )
        return all(limit is None or value <= limit for limit, value in kept)


class Asker:
    """Asks one server. `tells`: it understands budgets, and is told what is left of them; another
    one is left when they are over, as a client with a time-out does."""

    def __init__(self, client: Client, clock: Clock, slo: Slo, *, tells: bool) -> None:
        self._client = client
        self._clock = clock
        self._slo = slo
        self._tells = tells

    async def ask(self, prompt: Prompt, at_ns: int, begin_ns: int) -> Heard:
        """One request that was meant to be sent at that instant."""
        heard = Heard(at_ms=(at_ns - begin_ns) / 1e6)
        try:
            async with asyncio.timeout(self._patience_s(at_ns)):
                connection = await self._client.connected()
                heard.lag_ms = (self._clock.now_ns() - at_ns) / 1e6
                body = json.dumps(prompt.body | self._budget(heard.lag_ms)).encode()
                reply = await self._client.send(connection, "POST", prompt.path, body)
            read(heard, reply, at_ns)
        except TimeoutError:
            heard.error, heard.end_ms = "gave_up", (self._clock.now_ns() - at_ns) / 1e6
        except (OSError, BadReply, ValueError, LookupError, TypeError, AttributeError):
            heard.error, heard.end_ms = "broken", (self._clock.now_ns() - at_ns) / 1e6
        return heard

    def _patience_s(self, at_ns: int) -> float:
        most_ms = self._slo.total_ms
        if most_ms is None:
            most_ms = _LONGEST_MS
        elif self._tells:
            most_ms += GRACE_MS
        return max(0.0, most_ms - (self._clock.now_ns() - at_ns) / 1e6) / 1e3

    def _budget(self, spent_ms: float) -> dict[str, float]:
        if not self._tells:
            return {}
        slo = self._slo
        left = {
            "deadline_ms": None if slo.total_ms is None else slo.total_ms - spent_ms,
            "ttft_ms": None if slo.ttft_ms is None else slo.ttft_ms - spent_ms,
            "tpot_ms": slo.tpot_ms,
        }
        return {name: max(1.0, ms) for name, ms in left.items() if ms is not None}


def read(heard: Heard, reply: Reply, at_ns: int) -> None:
    """Take a response in. Raises ValueError where it is no JSON; a JSON of another form than
    OpenAI's meets LookupError, TypeError or AttributeError."""
    heard.status = reply.status
    heard.first_ms, heard.end_ms = (reply.first_ns - at_ns) / 1e6, (reply.end_ns - at_ns) / 1e6
    if reply.status != 200:
        error = json.loads(reply.body).get("error") if reply.body else None
        code = error.get("code") if isinstance(error, dict) else None
        heard.error = str(code or f"status_{reply.status}")
        return
    for instant_ns, data in reply.events:
        if data != _DONE:
            _take(heard, json.loads(data), (instant_ns - at_ns) / 1e6)


def _take(heard: Heard, event: dict[str, Any], at_ms: float) -> None:
    if error := event.get("error"):
        heard.error = str(error.get("code") or "error") if isinstance(error, dict) else "error"
        return
    if usage := event.get("usage"):
        heard.tokens = usage.get("completion_tokens") or heard.tokens
    for choice in event.get("choices") or ():
        text = (choice.get("delta") or {}).get("content") or choice.get("text")
        if text:
            heard.token_ms.append(at_ms)
        heard.finish_reason = choice.get("finish_reason") or heard.finish_reason
    heard.told = event.get("onesec") or heard.told


async def at_their_times(
    asker: Asker,
    clock: Clock,
    prompts: Iterator[Prompt],
    arrivals_s: Sequence[float],
    progress: Callable[[float], None] = lambda share: None,
) -> list[Heard]:
    """Open loop: every prompt at its instant; until the last one is over."""
    begin_ns = clock.now_ns()
    tasks = []
    for at_s in arrivals_s:
        at_ns = begin_ns + round(at_s * 1e9)
        wait_s = (at_ns - clock.now_ns()) / 1e9
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(asker.ask(next(prompts), at_ns, begin_ns)))
        progress(len(tasks) / len(arrivals_s))
    return list(await asyncio.gather(*tasks))


async def one_after_another(
    asker: Asker, clock: Clock, prompts: Iterator[Prompt], *, users: int, seconds: float
) -> list[Heard]:
    """Closed loop: so many users, each asking again as soon as it was answered."""
    begin_ns = clock.now_ns()
    end_ns = begin_ns + round(seconds * 1e9)
    found: list[Heard] = []

    async def user() -> None:
        while clock.now_ns() < end_ns:
            found.append(await asker.ask(next(prompts), clock.now_ns(), begin_ns))

    await asyncio.gather(*(user() for _ in range(users)))
    return found
