"""How many changes an operator, or a program that goes astray, can make."""

from __future__ import annotations

from typing import Any

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.steer_service import FixedSettings
from taskmaster.master.steering.steering import Steering


class World:
    """A run, and a program that steers it."""

    def __init__(self) -> None:
        self.broker = Broker("i", Limits())
        self.steering = Steering(self.broker, self, FixedSettings())  # type: ignore[arg-type]  # what these tests need
        self.number = 0

    def ask(self, command: str, reason: str = "why", now: float = 100.0) -> dict[str, Any]:
        self.number += 1
        return self.steering.apply({"id": f"request-{self.number}", "command": command, "reason": reason}, "p", now)

    def stop(self, by: str, *, at_once: bool) -> None:
        assert by
        assert not at_once
        self.broker.drain()

    def also_holds(self) -> str:
        return ""


def test_a_program_that_goes_astray_cannot_fill_the_trail() -> None:
    """What is refused is in no memory; other commands are taken, and so are notes later on."""
    world = World()
    answers = [world.ask("note", f"number {n}") for n in range(5000)]
    refused = [answer for answer in answers if not answer["ok"]]

    assert len(refused) == 4000
    assert "more than 1,000 times note within a short time" in refused[0]["why"]
    assert "give the command again in a second" in refused[0]["why"]
    assert len(world.steering.news().trail) == 1000
    assert world.ask("pause", now=100.5)["ok"]
    assert [world.ask("note", now=101.5)["ok"] for _ in range(3)] == [True, False, False]
    assert not world.ask("note", now=50.0)["ok"]  # a clock that was put back
    assert world.ask("note", now=51.1)["ok"]


def test_a_run_can_be_stopped_however_often_that_was_asked_for() -> None:
    """And the trail says once that it was."""
    world = World()
    assert all(world.ask("stop")["ok"] for _ in range(1100))
    assert len(world.steering.news().trail) == 1


def test_what_changes_nothing_is_not_counted() -> None:
    """A script may make sure that the run is not paused, as often as it likes."""
    world = World()
    for _ in range(1100):
        assert world.ask("resume")["say"] == "The run was not paused by anybody."
    world.ask("pause")
    assert world.ask("resume")["changed"]
