"""Who is read next before a crowded door, on a clock that only the test moves."""

from __future__ import annotations

import asyncio

import pytest

from onesec.core.clock import FakeClock
from onesec.serve.newest import Crowded, Newest


def crowd(count: int, read_ms: float, budget_ms: float | None) -> tuple[list[int], list[int], int]:
    """So many at once, each of which takes so long to be read: who was, in which order, and who was
    sent away; and whether the first waited."""
    read: list[int] = []
    away: list[int] = []
    waited: dict[int, bool] = {}

    async def main() -> None:
        clock = FakeClock(10**9)
        newest = Newest(clock)

        async def one(number: int) -> None:
            try:
                waited[number] = await newest.turn(budget_ms)
            except Crowded:
                away.append(number)
            else:
                read.append(number)
                clock.advance_ms(read_ms)

        await asyncio.gather(*(one(number) for number in range(count)))
        await asyncio.sleep(0)
        await one(count)  # when all is over, nobody waits

    asyncio.run(main())
    return read, away, sum(waited.values())


def test_one_that_comes_alone_does_not_wait() -> None:
    assert crowd(1, 5.0, 100.0) == ([0, 1], [], 0)


def test_the_newest_goes_first() -> None:
    assert crowd(5, 1.0, 100.0) == ([0, 4, 3, 2, 1, 5], [], 4)


@pytest.mark.parametrize("budget_ms", [None, 1e6])
def test_who_has_time_is_read_however_long_the_queue(budget_ms: float | None) -> None:
    read, away, _ = crowd(300, 2.0, budget_ms)
    assert sorted(read) == list(range(301))
    assert not away


def test_a_burst_is_read_but_a_queue_that_lasts_is_sent_away() -> None:
    read, away, _ = crowd(40, 2.0, 100.0)  # 80 ms in all
    assert not away
    read, away, _ = crowd(300, 2.0, 100.0)
    assert 50 <= len(read) - 1 <= 52  # what can be read in 100 ms
    assert sorted([*read, *away]) == list(range(301))


def test_a_client_that_leaves_does_not_hold_the_others_up() -> None:
    async def main() -> list[int]:
        newest, read = Newest(FakeClock(1)), list[int]()

        async def one(number: int) -> None:
            await newest.turn(None)
            read.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return read

    assert asyncio.run(main()) == [0, 2, 1]
