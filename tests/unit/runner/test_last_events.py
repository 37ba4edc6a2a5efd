"""What programs hear of the end of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmaster.runner.last_events import LastEvents

FINISHED = {"event": "finished", "exit_code": 0, "text": "The run has finished: 9 jobs settled.", "reason": ""}


def heard(exit_code: int | None, why: str = "") -> list[Mapping[str, Any]]:
    """What a listener hears of a session that ends so."""
    found: list[Mapping[str, Any]] = []
    events = LastEvents(found.append)
    events.tell({"event": "started"})
    events.tell(FINISHED)
    events.tell({"event": "stalled"})
    assert [one["event"] for one in found] == ["started", "stalled"]
    events.release(exit_code, why)
    events.release(exit_code, why)
    return found[2:]


def test_the_end_is_told_when_it_is_known_and_as_it_was() -> None:
    """Once, and with the reason where workers could not end well."""
    bad = {
        "event": "finished",
        "exit_code": 1,
        "text": "The run has finished: 9 jobs settled. But the exit code is 1: workers could not end.",
        "reason": "workers could not end",
    }

    assert heard(None) == heard(0) == [FINISHED]
    assert heard(1, "workers could not end") == [bad]
    assert heard(3) == [{**FINISHED, "exit_code": 3}]
