"""Python's garbage collector: the process's own, unless it says otherwise."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from doors import recite

from onesec.core.collector import QuietCollector
from onesec.core.errors import DeadlineInfeasible
from onesec.llm import LLM

TEXT = "Once there was a fox. It lived in a wood. It ate berries. It slept well. The end."


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    yield
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def quiet_llm() -> LLM:
    loaded, clock, _ = recite(TEXT)
    llm = LLM.over(loaded, clock=clock)
    llm._quiet = QuietCollector()
    return llm


def test_a_library_leaves_the_collector_alone() -> None:
    loaded, clock, _ = recite(TEXT)
    with LLM.over(loaded, clock=clock) as llm:
        stream = llm.stream("Once", deadline="300ms")
        next(iter(stream))
        assert gc.isenabled()
        stream.close()


def test_no_collection_begins_while_an_answer_is_due() -> None:
    with quiet_llm() as llm:
        assert gc.get_freeze_count() > 0
        first, second = llm.stream("Once", deadline="300ms"), llm.stream("It", deadline="400ms")
        free = llm.stream("The")
        assert not gc.isenabled()
        assert first.output.met is True
        assert not gc.isenabled()
        second.close()
        assert gc.isenabled()
        assert free.output.met is None
        assert gc.isenabled()


def test_of_several_it_is_held_until_the_last_one_is_done() -> None:
    with quiet_llm() as llm:
        with quiet_llm() as other:
            first, second = llm.stream("Once", deadline="1s"), other.stream("Once", deadline="1s")
            assert first.output.met
            assert not gc.isenabled()
            assert second.output.met
            assert gc.isenabled()
            llm.close()
            assert gc.get_freeze_count() > 0
            second = other.stream("Once", deadline="1s")
            assert not gc.isenabled()
        assert gc.isenabled()


def test_the_next_call_gives_back_what_a_dropped_stream_held() -> None:
    with quiet_llm() as llm:
        next(llm.stream("Once", deadline="300ms"))
        assert llm.generate("It").met is None
        assert gc.isenabled()


def test_answers_without_a_deadline_do_not_hold_it() -> None:
    with quiet_llm() as llm:
        next(iter(llm.stream("Once")))
        assert gc.isenabled()


def test_refusals_and_closing_give_it_back() -> None:
    llm = quiet_llm()
    with pytest.raises(DeadlineInfeasible):
        llm.generate("Once", deadline=1e-4)
    assert gc.isenabled()
    kept = llm.stream("Once", deadline="300ms")
    assert not gc.isenabled()
    llm.close()
    del kept
    llm.close()


def test_what_was_off_stays_off_and_what_was_frozen_stays_frozen() -> None:
    gc.disable()
    gc.freeze()
    frozen = gc.get_freeze_count()
    quiet = QuietCollector()
    quiet.hold("a")
    quiet.release("a")
    quiet.close()
    assert not gc.isenabled()
    assert gc.get_freeze_count() == frozen
    gc.enable()
    gc.unfreeze()


def test_a_stream_that_nobody_reads_holds_nothing_back() -> None:
    with quiet_llm() as llm:
        dropped = llm.stream("Once", deadline="2s")
        next(dropped)
        assert not gc.isenabled()
        del dropped
        assert gc.isenabled()
        kept = llm.stream("Once", deadline="2s", max_tokens=3)
        llm.generate("Once", deadline="2s", max_tokens=40)  # whose turns end the other one, too
        assert gc.isenabled()
        kept.close()
