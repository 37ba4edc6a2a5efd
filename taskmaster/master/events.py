"""What has happened in a run: the newest thousand events, each with a number. Pure.

An event is an object of plain values, for programs: ``docs/events.rst`` lists its fields.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["KEPT_EVENTS", "LAST_EVENTS", "EventName", "Events"]

KEPT_EVENTS = 1000
EVENT_SCHEMA = 1  # of an event; it rises when a field changes its meaning or goes


class EventName(StrEnum):
    """What can happen in a run."""

    STARTED = "started"
    RESUMED = "resumed"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    THROTTLED = "throttled"
    UNTHROTTLED = "unthrottled"
    CHANGED = "changed"
    SLAVE_JOINED = "slave-joined"
    SLAVE_LEFT = "slave-left"
    SLAVE_LOST = "slave-lost"
    FAILURE = "failure"
    STALLED = "stalled"
    BUDGET = "budget"
    STATE_UNWRITABLE = "state-unwritable"
    STATE_WRITABLE = "state-writable"
    FINISHED = "finished"
    STOPPED = "stopped"


LAST_EVENTS = (EventName.FINISHED, EventName.STOPPED)
"""The events of which each session has one, its last."""


class Events:
    """The newest thousand events of a session.

    Args:
        run: The id of the run, which each event has.

    Attributes:
        last: The number of the newest event; 0 if there is none.
    """

    def __init__(self, run: str) -> None:
        self.last = 0
        self._run = run
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)

    def add(self, name: EventName, at: float, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add an event, and return it.

        Args:
            name: What has happened.
            at: When (seconds since the epoch).
            facts: Its other fields.
        """
        self.last += 1
        event = {
            "schema": EVENT_SCHEMA,
            "event": str(name),
            "at": round(at, 3),
            "seq": self.last,
            "run": self._run,
            **facts,
        }
        self._kept.append(event)
        return event

    def after(self, seq: int, most: int) -> tuple[list[dict[str, Any]], int]:
        """Return the oldest ``most`` kept events whose number is above ``seq``, and how many there
        were of which nothing is known any more.
        """
        first = self._kept[0]["seq"] if self._kept else self.last + 1
        found = [event for event in self._kept if event["seq"] > seq]
        return found[:most], max(0, first - 1 - max(0, seq))
