"""Gathers what happens in a run, keeps it for those who ask, and tells those who listen.

The run calls it in its main thread, a few times a second and outside its lock; listeners must not
wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from taskmaster.errors import BudgetSpent, Interrupted
from taskmaster.master.event_watch import EventWatch
from taskmaster.master.events import EventName, Events
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.reports import Reports
from taskmaster.master.steer_service import SteerService, reason_of
from taskmaster.master.tally.failure_kinds import MOST_KINDS_COUNTED, Kind
from taskmaster.runtime.log import clean_logger
from taskmaster.units import show_count
from taskmaster.view.snapshot import RunState, Snapshot

__all__ = ["DEFAULT_STALL_SECONDS", "EventFeed"]

logger = clean_logger(__name__)

DEFAULT_STALL_SECONDS = 600.0
MOST_EVENTS_ANSWERED = 200  # most events in one answer
MOST_TRAIL_ROWS = 200  # most rows of the trail read in one step
MOST_FOLLOWERS = 100
FOLLOWERS_SECONDS = 1.0  # longest wait at the end of a run for followers, which ask every half second
FOLLOWERS_PAUSE_SECONDS = 0.02
FOLLOWER_GONE_SECONDS = 2.0  # a follower that has asked nothing for this time counts as gone


class EventFeed:
    """Keeps the events of a session, and passes each on to its listeners.

    Args:
        record: The run as it was at the start of this session.
        lock: Guards the parts that are read.
        steers: Has the trail.
        reports: Know which slaves have come and gone, and what jobs have failed with.
        stall: Seconds without a settled job after which the run counts as stalled.
        clock: Seconds since the epoch.

    Attributes:
        listeners: Each is called with each event.
    """

    def __init__(
        self,
        record: RunRecord,
        lock: threading.Lock,
        steers: SteerService,
        reports: Reports,
        stall: float = DEFAULT_STALL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.listeners: list[Callable[[dict[str, Any]], object]] = []
        self._events = Events(record.id)
        self._watch = EventWatch(stall)
        self._lock = lock
        self._steers = steers
        self._reports = reports
        self._row = record.trail[-1].seq if record.trail else 0
        self._clock = clock
        self._failed = record.failures
        self._ended = False
        self._followers: dict[str, tuple[float, int]] = {}  # when each asked last, and how far it is
        self._watch.begin(self._kinds(), record.failures)

    def observe(self, snapshot: Snapshot) -> None:
        """Find out what has happened, and tell it."""
        with self._lock:
            rows = self._steers.steering.trail.after(self._row, MOST_TRAIL_ROWS)
            slaves = self._reports.figures.take_news()
            # Ranked each time: only where there is something new.
            kinds = () if snapshot.failed == self._failed else self._kinds()
            self._failed = snapshot.failed
        if rows:
            self._row = rows[-1].seq
        for name, facts in self._watch.observe(snapshot, rows, slaves, kinds):
            self._tell(name, snapshot, facts)

    def end(self, snapshot: Snapshot, error: BaseException | None = None) -> None:
        """Tell how the session has ended; a second call says nothing.

        Args:
            snapshot: The snapshot of the run.
            error: The error that ended it; None if all is done.
        """
        if self._ended:
            return
        self._ended = True
        self.observe(snapshot)
        code = getattr(error, "exit_code", 1)
        why = reason_of(error)
        if isinstance(error, BudgetSpent):
            self._tell(EventName.BUDGET, snapshot, {"text": why, "reason": why})
        if error is None:
            failed = f", {snapshot.failed} of them failed" if snapshot.failed else ""
            left_out = "; it leaves jobs out" if self._steers.exit_code == 1 else ""
            facts = {
                "text": f"The run has finished: {show_count(snapshot.settled, 'job')} settled{failed}{left_out}.",
                "reason": "",
            }
            facts["state"] = str(RunState.FINISHED)
            self._tell(EventName.FINISHED, snapshot, {**facts, "exit_code": self._steers.exit_code})
            return
        why = why or type(error).__name__
        jobs = show_count(snapshot.settled, "job")
        text = f"The run has stopped after {jobs}: {why.rstrip('.')}."
        if isinstance(error, Interrupted):
            text = f"The run was {why} after {jobs}."
        facts = {
            "text": text,
            "reason": why,
        }
        self._tell(EventName.STOPPED, snapshot, {**facts, "state": str(RunState.STOPPED), "exit_code": code})

    def wait_for_followers(self) -> None:
        """Wait a moment until those who follow have the last event, before nobody is answered any
        more.
        """
        deadline = time.monotonic() + FOLLOWERS_SECONDS
        while time.monotonic() < deadline:
            with self._lock:
                recent = [seq for at, seq in self._followers.values() if at > deadline - 2 * FOLLOWERS_SECONDS]
                if all(seq >= self._events.last for seq in recent):
                    return
            time.sleep(FOLLOWERS_PAUSE_SECONDS)

    def page(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``look("events")``: those after the number ``after``, the oldest first."""
        after = arguments.get("after")
        with self._lock:
            rows, forgotten = self._events.after(after if type(after) is int else 0, MOST_EVENTS_ANSWERED)
            follower = arguments.get("follower")
            if isinstance(follower, str):
                self._follow(follower[:64], rows[-1]["seq"] if rows else self._events.last)
            return {"rows": rows, "forgotten": forgotten, "last": self._events.last}

    def _follow(self, follower: str, seq: int) -> None:
        """Note how far a follower is, and forget those that ask no more."""
        now = time.monotonic()
        if follower not in self._followers and len(self._followers) >= MOST_FOLLOWERS:
            recent = {name: known for name, known in self._followers.items() if now - known[0] <= FOLLOWER_GONE_SECONDS}
            self._followers = recent
        if follower in self._followers or len(self._followers) < MOST_FOLLOWERS:
            self._followers[follower] = now, seq

    def _kinds(self) -> list[Kind]:
        return self._reports.kinds.top(MOST_KINDS_COUNTED)

    def _tell(self, name: EventName, snapshot: Snapshot, facts: Mapping[str, Any]) -> None:
        with self._lock:
            event = self._events.add(name, self._clock(), {**self._watch.facts(snapshot), **facts})
        for listener in self.listeners:
            try:
                listener(event)
            except Exception as exc:  # the run goes on; a listener that starts a thread may not get one
                logger.warning("the event %s was not passed on: %s: %s", name, type(exc).__name__, exc)
