"""The thread that keeps a fleet, with an engine that sometimes does not answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TextIO

import pytest
from support.commands import wait_for

from taskmaster.engine import upkeep
from taskmaster.engine.contract import View
from taskmaster.engine.fleet import Fleet
from taskmaster.engine.upkeep import Upkeep


class ShakyEngine:
    """Takes tasks, but for the second that it is given."""

    def __init__(self) -> None:
        self.asked = 0
        self.taken: list[str] = []

    def look(self) -> View:
        return View(3, len(self.taken), frozenset(), {})

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
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "AWAY_SECONDS", 0.01)
    engine, said = ShakyEngine(), []

    def write(line: str, stream: TextIO) -> None:
        said.append(line)

    kept = Upkeep(Fleet("r", 3), engine, Task(), write)  # type: ignore[arg-type]
    try:
        wait_for("three slaves", lambda: len(engine.taken) >= 3, 10.0)
    finally:
        kept.stop(0.0, lambda: True)

    assert len(set(engine.taken)) == len(engine.taken) == 3
    assert "the scheduler is away" in said[0]
