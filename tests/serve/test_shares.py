"""Places by key: none keeps the others out, none is lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from onesec.serve.shares import ASKING_NS, Shares

KEYS = "abc"
MOVES = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans(), st.integers(0, 3)), max_size=80)


@given(MOVES, st.integers(3, 12))
def test_places_are_neither_lost_nor_given_twice(
    moves: list[tuple[str, bool, int]], most: int
) -> None:
    shares, held = Shares(most), Counter[str]()
    for now_ns, (key, takes, count) in enumerate(moves):
        if takes:
            before = held.total()
            if shares.take(key, count, now_ns=now_ns):
                held[key] += count
            else:
                others = {other for other in KEYS if other != key and held[other]}
                asked = {k for k, t, n in moves[:now_ns] if t and n and k != key}
                assert count  # nothing is always to be had
                fair = max(1, most // (1 + len(others | asked)))
                assert before + count > most or held[key] + count > fair
        else:
            count = min(count, held[key])
            shares.leave(key, count)
            held[key] -= count
        assert shares.held == held.total() <= most


def test_a_flood_of_one_key_leaves_the_others_their_share() -> None:
    shares, served = Shares(8), Counter[str]()
    open_: list[str] = []
    for now_ns in range(2000):
        for key in "fffffffffq":  # nine of ten are the flood's
            if shares.take(key, 1, now_ns=now_ns):
                open_.append(key)
        done = open_.pop(0)  # one is over at each instant
        shares.leave(done, 1)
        served[done] += 1
    assert abs(served["f"] - served["q"]) < 0.05 * 2000


def test_who_asks_no_more_has_no_share() -> None:
    shares = Shares(4)
    assert shares.take("gone", 1, now_ns=0)
    shares.leave("gone", 1)
    taken = [shares.take("a", 1, now_ns=ASKING_NS - 1) for _ in range(4)]
    assert taken == [True, True, False, False]
    assert [shares.take("a", 1, now_ns=ASKING_NS) for _ in range(2)] == [True, True]


def test_who_has_a_place_goes_on_with_the_room_that_others_leave() -> None:
    shares = Shares(6)
    assert shares.take("a", 1, now_ns=0)
    assert shares.room("a", now_ns=0) == 5
    assert shares.take("b", 2, now_ns=0)
    assert (shares.room("a", now_ns=0), shares.room("b", now_ns=0)) == (2, 1)
    assert shares.take("a", 2, now_ns=0)
    assert (shares.room("a", now_ns=0), shares.room("c", now_ns=0)) == (0, 1)
