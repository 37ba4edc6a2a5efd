"""The thread that keeps a fleet, with an engine that sometimes does not answer."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any, TextIO

import pytest
from support.commands import wait_for

from taskmaster.engine import fleet, upkeep
from taskmaster.engine.contract import EngineStanding
from taskmaster.engine.ended import Ended
from taskmaster.engine.fleet import Fleet
from taskmaster.engine.upkeep import Upkeep


class ShakyEngine:
    """Takes tasks, but for the second that it is given."""

    def __init__(self) -> None:
        self.asked = 0
        self.taken: list[str] = []

    def poll(self) -> EngineStanding:
        return EngineStanding(3, len(self.taken), frozenset(), {})

    def submit(self, name: str, task: Any) -> None:
        self.asked += 1
        if self.asked == 2:
            raise OSError("the scheduler is away")
        self.taken.append(name)

    def withdraw(self, name: str) -> None:
        """Nothing is withdrawn here."""

    def drain(self) -> Collection[str]:
        return ()

    def close(self) -> None:
        """There is nothing to let go of."""


class Task:
    """What each slave is told."""

    def named(self, name: str) -> str:
        return name


def test_slaves_that_the_engine_did_not_take_are_submitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them: else they would be counted as running for the whole run."""
    monkeypatch.setattr(upkeep, "ENGINE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "AWAY_SECONDS", 0.01)
    engine, said = ShakyEngine(), []

    def write(line: str, stream: TextIO) -> None:
        said.append(line)

    kept = Upkeep(Fleet("r", 3), engine, Task(), write)  # type: ignore[arg-type]
    try:
        wait_for("three slaves", lambda: len(engine.taken) >= 3)
    finally:
        kept.stop(0.0, lambda: True)

    assert len(set(engine.taken)) == len(engine.taken) == 3
    assert "the scheduler is away" in said[0]


class SilentEngine(ShakyEngine):
    """Does not answer until it is let, and raises nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def poll(self) -> EngineStanding:
        self.answers.wait()
        return super().poll()

    def submit(self, name: str, task: Any) -> None:
        self.taken.append(name)


def test_an_engine_that_raises_nothing_and_does_not_answer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since it was asked: else the status would say for ever how it stood before."""
    monkeypatch.setattr(upkeep, "ENGINE_POLL_SECONDS", 0.01)
    engine = SilentEngine()
    kept = Upkeep(Fleet("r", 3), engine, Task(), lambda *_: None)  # type: ignore[arg-type]
    try:
        assert kept.show() == "engine: 0 of 3 slaves"
        monkeypatch.setattr(upkeep, "HANGS_SECONDS", 0.1)
        wait_for("it to be away", lambda: "; scheduler away since " in kept.show())
        engine.answers.set()
        wait_for("it to be back", lambda: kept.show() == "engine: 3 of 3 slaves")
    finally:
        engine.answers.set()
        kept.stop(0.0, lambda: True)


def test_an_engine_that_does_not_answer_is_not_waited_for_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Ray's head is gone: what is left to be done there is not worth the grace of jobs
    that have ended.
    """
    monkeypatch.setattr(upkeep, "ENGINE_GONE_SECONDS", 0.1)
    monkeypatch.setattr(upkeep, "ENGINE_CLOSING_SECONDS", 0.1)
    engine = SilentEngine()
    monkeypatch.setattr(engine, "drain", engine.answers.wait)
    kept = Upkeep(Fleet("r", 3), engine, Task(), lambda *_: None)  # type: ignore[arg-type]
    try:
        kept.stop(3600.0, lambda: False)
    finally:
        engine.answers.set()


def test_an_engine_that_has_been_silent_for_long_is_hardly_waited_for_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was known to be away: Ctrl-C does not wait as long once more."""
    monkeypatch.setattr(upkeep, "HANGS_SECONDS", 0.1)
    monkeypatch.setattr(upkeep, "ENGINE_CLOSING_SECONDS", 0.1)
    monkeypatch.setattr(upkeep, "ENGINE_GONE_SECONDS", 3600.0)
    engine = SilentEngine()
    monkeypatch.setattr(engine, "drain", engine.answers.wait)
    kept = Upkeep(Fleet("r", 3), engine, Task(), lambda *_: None)  # type: ignore[arg-type]
    try:
        wait_for("it to be away", lambda: "scheduler away" in kept.show())
        kept.stop(3600.0, lambda: False)
    finally:
        engine.answers.set()


class FailingEngine(ShakyEngine):
    """Each slave ends with the same, from another directory."""

    def poll(self) -> EngineStanding:
        why = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'helper'\n"
        self.asked += 1
        where = f"w{self.asked}"
        ended = {name: Ended(2, where, f"{why}tm-slave: /tmp/{where}/user.py: no") for name in self.taken}
        self.taken.clear()
        return EngineStanding(3, 0, frozenset(), ended)

    def submit(self, name: str, task: Any) -> None:
        self.taken.append(name)


def test_what_all_slaves_say_is_shown_in_full_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And in a line where another one has ended with the same."""
    monkeypatch.setattr(upkeep, "ENGINE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(fleet, "FIRST_SLAVE_PAUSE_SECONDS", 0.0)
    said: list[str] = []
    slaves = Fleet("r", 1, _pause=0.0)
    kept = Upkeep(slaves, FailingEngine(), Task(), lambda line, _: said.append(line))  # type: ignore[arg-type]
    try:
        wait_for("the fleet to give up", lambda: slaves.failure)
    finally:
        kept.stop(0.0, lambda: True)

    assert "".join(said).count("Traceback") == 1
    assert slaves.failure.startswith("tm-slave: /tmp/w")
    assert sum("another slave on the engine has ended, on w" in line for line in said) == 1
