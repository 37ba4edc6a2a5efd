"""How long a master whose run is over waits for its slaves, and for which."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from support.master import Master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.farewell import MOST_NAMES, Farewell, names_of
from taskmaster.model import PROTOCOL

OWN = SimpleNamespace(name="here:1")


class World:
    """A master, slaves that are connected, and a time in which something happens to them."""

    def __init__(self, *names: str) -> None:
        self.now = 0.0
        self.broker, self.lock = Broker("i", Limits()), threading.Lock()
        self.service = Master(self.broker, lock=self.lock, clock=lambda: self.now).service
        self.signals, self.said, self.told = SimpleNamespace(received=0, repeated=False), [], []
        self.later: list[tuple[float, Any]] = []
        for name in names:
            about = {"protocol": PROTOCOL, "session": name, "name": name, "workers": 1, "slots": 1}
            assert self.service.hello(about)["ok"]

    def sleep(self, seconds: float) -> None:
        """Let time pass, and happen what is to happen."""
        self.now += 10 * seconds
        due = [what for at, what in self.later if at <= self.now]
        self.later = [one for one in self.later if one[0] > self.now]
        for what in due:
            what()

    def farewell(self, grace: float = 30.0, *, over: bool = True, own: Any = OWN) -> float:
        """Say it; return how long that took."""
        server: Any = SimpleNamespace(tell_all=self.told.append)
        view: Any = SimpleNamespace(say=self.said.append)
        signals: Any = self.signals
        farewell = Farewell(self.service, self.broker, self.lock, own, signals, lambda: self.now, self.sleep)
        farewell.say(server, view, grace, over=over)
        return self.now


def test_nobody_is_waited_for_where_all_have_said_goodbye() -> None:
    """Nothing is said of it either."""
    world = World("a:1", "b:1")
    world.later = [(0.5, lambda: world.service.bye("a:1")), (1.0, lambda: world.service.bye("b:1"))]

    assert 1.0 <= world.farewell() < 1.2
    assert world.said == []
    assert world.service.unheard == {}
    assert len(world.told) == 1


def test_a_slave_has_the_time_that_its_workers_have() -> None:
    """As long as it is connected; who is waited for is said once."""
    world = World("b:1", "a:1", "here:1")
    world.later = [(20.0, lambda: world.service.bye("a:1"))]

    assert 33.0 <= world.farewell() < 33.2
    (said,) = world.said
    assert "workers of 2 slaves still have to end: a:1, b:1. They are waited for, 30 s at most" in said
    assert world.service.unheard == {"b:1": "b:1"}


def test_a_short_grace_leaves_workers_five_seconds() -> None:
    """As they have themselves."""
    assert 8.0 <= World("a:1").farewell(grace=0.5) < 8.2


def test_the_slave_of_the_run_itself_is_told_and_not_waited_for() -> None:
    """The run sees to its end, and has its exit code."""
    world = World("here:1")

    assert 3.0 <= world.farewell() < 3.2
    assert world.said == []
    assert world.service.unheard == {}


def test_a_slave_that_is_gone_is_not_waited_for_but_named() -> None:
    """Its connection has ended: it has been killed, or its machine is down."""
    world = World("a:1")
    world.later = [(0.5, lambda: world.service.closed("a:1"))]

    assert world.farewell() < 3.2
    assert world.service.unheard == {"a:1": "a:1"}


def test_ctrl_c_ends_the_wait() -> None:
    """The run is over anyway."""
    world = World("a:1")
    world.later = [(5.0, lambda: setattr(world.signals, "received", 2))]

    assert 5.0 <= world.farewell() < 5.2
    assert world.service.unheard == {"a:1": "a:1"}


def test_a_run_that_is_not_over_dismisses_its_own_slave_alone() -> None:
    """The others wait for the next master."""
    world, dismissed = World("a:1"), []
    own = SimpleNamespace(name="", dismiss=dismissed.append)

    assert world.farewell(over=False, own=own) == 0.0
    assert len(dismissed) == 1
    assert not world.told
    assert not world.service.over


def test_hundreds_of_names_are_not_printed() -> None:
    """The first ones, and how many more there are."""
    assert names_of(["b", "a"]) == "a, b"
    assert names_of([f"{number:03}" for number in range(MOST_NAMES + 2)]).endswith(", 019 and 2 more")
