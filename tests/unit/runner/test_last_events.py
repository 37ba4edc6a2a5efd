"""What programs hear of the end of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmaster.runner.last_events import LastEvents

STOPPED = {"event": "stopped", "exit_code": 130, "text": "The run was stopped.", "reason": "stopped by Ctrl-C"}
FINISHED = {"event": "finished", "exit_code": 0, "text": "The run has finished: 9 jobs settled.", "reason": ""}


def heard(
    exit_code: int | None, why: str = "", remark: str = "", last: Mapping[str, Any] = FINISHED
) -> list[Mapping[str, Any]]:
    """What a listener hears of a session that ends so."""
    found: list[Mapping[str, Any]] = []
    events = LastEvents(found.append)
    events.tell({"event": "started"})
    events.tell(last)
    events.tell({"event": "stalled"})
    assert [one["event"] for one in found] == ["started", "stalled"]
    events.release(exit_code, why, remark)
    events.release(exit_code, why, remark)
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


def test_the_text_of_the_end_has_what_may_be_lost_and_what_nobody_knows() -> None:
    """Its exit code and reason are those of the stop, and of the run, whose end was good."""
    (stopped,) = heard(None, "workers could not end", last=STOPPED)
    assert stopped == {**STOPPED, "text": "The run was stopped. But workers could not end."}
    assert heard(None, last=STOPPED) == [STOPPED]

    (finished,) = heard(0, remark="1 slave has not said.")
    assert finished == {**FINISHED, "text": "The run has finished: 9 jobs settled. 1 slave has not said."}
