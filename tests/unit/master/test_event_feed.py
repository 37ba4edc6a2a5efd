"""What happens is told to all who listen, and kept for those who ask."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.master.event_feed import MOST_FOLLOWERS, EventFeed
from taskmaster.master.records.run_record import RunRecord
from taskmaster.view.snapshot import Snapshot

RUNNING = Snapshot.from_wire({"state": "running", "target": "backfill.py", "settled": 5})


def feed() -> EventFeed:
    """The events of a run in which nothing has failed."""
    trail = SimpleNamespace(after=lambda seq, most: [])
    steers: Any = SimpleNamespace(steering=SimpleNamespace(trail=trail), exit_code=0)
    reports: Any = SimpleNamespace(figures=SimpleNamespace(take_news=list), kinds=SimpleNamespace(top=lambda most: []))
    return EventFeed(RunRecord("r", resumed=False), threading.Lock(), steers, reports)


def test_a_listener_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """One that starts a thread may not get it: a warning says so, the others are told, and the
    event is there for those who ask.
    """

    def fail(event: dict[str, Any]) -> None:
        raise RuntimeError("can't start new thread")

    events, told = feed(), []
    events.listeners += [fail, told.append]
    events.end(RUNNING)

    assert [event["event"] for event in told] == ["finished"]
    assert events.page({})["rows"] == told
    assert "can't start new thread" in caplog.text


def test_those_that_follow_no_more_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many have come and gone in a long run, the end waits for who is there."""
    now = [100.0]
    monkeypatch.setattr("taskmaster.master.event_feed.time.monotonic", lambda: now[0])
    events = feed()
    for number in range(MOST_FOLLOWERS + 50):
        events.page({"follower": f"early {number}"})
    assert len(events._followers) == MOST_FOLLOWERS
    now[0] += 60.0
    events.page({"follower": "late"})

    assert list(events._followers) == ["late"]
