"""The floor: never two at a time, and a stream of guests does not keep its owner away."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from onesec.serve.floor import Floor


def test_never_two_at_a_time() -> None:
    floor, stop, inside, both = Floor(), Event(), [], []

    def enter(who: str) -> None:
        inside.append(who)
        if len(inside) > 1:
            both.append(tuple(inside))
        for _ in range(50):
            pass
        inside.remove(who)

    def guest() -> None:
        while not stop.is_set():  # in again at once, each time
            with floor.guest:
                enter("guest")

    visitor = Thread(target=guest)
    with floor:
        visitor.start()
        for _ in range(2000):
            enter("owner")
            with floor.lent:
                pass
        stop.set()
    visitor.join(30)
    assert not visitor.is_alive()
    assert not both


def test_the_owner_comes_back_before_the_next_guest() -> None:
    floor, lent, inside, go, done = Floor(), Event(), Event(), Event(), []

    def owner() -> None:
        with floor:
            with floor.lent:
                lent.set()
                assert inside.wait(30)
            done.append("owner")

    def first() -> None:
        assert lent.wait(30)
        with floor.guest:
            inside.set()
            assert go.wait(30)
            done.append("guest")

    def second() -> None:
        with floor.guest:
            done.append("next guest")

    threads = [Thread(target=owner), Thread(target=first)]
    for thread in threads:
        thread.start()
    assert inside.wait(30)
    while not floor._door.locked():  # until the owner wants it back
        pass
    threads.append(Thread(target=second))
    threads[-1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert done == ["guest", "owner", "next guest"]


def test_it_is_given_back_where_something_fails() -> None:
    floor = Floor()
    with pytest.raises(ZeroDivisionError), floor, floor.lent:
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), floor.guest:
        _ = 1 / 0
    with floor, floor.lent, floor.guest:
        pass
