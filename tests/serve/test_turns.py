"""The engine process's loop: an engine that refuses all that comes learns of its machine itself."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import Request
from onesec.serve import wire
from onesec.serve.floor import Floor
from onesec.serve.turns import Turns


class Door:
    """What the loop hears, and what it says."""

    def __init__(self) -> None:
        self.said: SimpleQueue[list[Any] | None] = SimpleQueue()
        self.heard: SimpleQueue[Any] = SimpleQueue()

    def receive(self) -> list[Any] | None:
        return self.said.get()

    def send(self, messages: Sequence[Any]) -> None:
        for message in messages:
            self.heard.put(message)


class Refusing:
    """An engine that has no time for anybody."""

    has_work, waiting, running, kv_used_share = False, 0, 0, 0.0
    backend = SimpleNamespace(context_length=64, vocab_size=10, gears=(SimpleNamespace(name="4"),))

    def __init__(self) -> None:
        self.probed = Event()

    def prepare(self, request: Request) -> None:
        pass

    def add_request(self, request: Request, *, stream: bool = False) -> None:
        if request.budget.limited:
            raise DeadlineInfeasible(budget_ms=1.0, feasible_ms=50.0, why="a prompt")
        self.probed.set()


def test_it_probes_only_after_there_was_time_to_ask_again() -> None:
    door, engine, clock = Door(), Refusing(), FakeClock(1)
    turns = Turns(door, engine, clock, Floor(), None, None, probe_after_s=0.01)  # type: ignore[arg-type]
    running = Thread(target=turns.run)
    running.start()
    request = Request(id="a", prompt_tokens=(1,), budget=Budget(total_ms=1.0))
    for _ in range(3):  # asking again and again does not put it off
        door.said.put([wire.Submit(request, stream=False)])
        assert isinstance(door.heard.get(timeout=30), wire.Refused)
        assert not engine.probed.is_set()
        clock.advance_ms(4.0)
    assert engine.probed.wait(30)
    door.said.put(None)
    running.join(30)
    assert not running.is_alive()


def test_a_form_is_compiled_while_the_loop_computes() -> None:
    """The first of a kind takes long: it must not keep the floor from whoever computes."""
    order: list[str] = []

    class Noting(Floor):
        def __init__(self) -> None:
            super().__init__()
            take = self.guest._enter

            def enter() -> None:
                take()
                order.append("floor")

            self.guest._enter = enter

    class Compiling(Refusing):
        def prepare(self, request: Request) -> None:
            order.append("compiled")

    door = Door()
    turns = Turns(door, Compiling(), FakeClock(1), Noting(), None, None)  # type: ignore[arg-type]
    running = Thread(target=turns.run)
    running.start()
    request = Request(id="a", prompt_tokens=(1,), budget=Budget(total_ms=1.0))
    door.said.put([wire.Submit(request, stream=False)])
    assert isinstance(door.heard.get(timeout=30), wire.Refused)
    door.said.put(None)
    running.join(30)
    assert order == ["compiled", "floor"]
