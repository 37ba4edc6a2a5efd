"""Finds out what has happened in a run since the last look: compares how it stood with how it
stands. Pure: the time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from taskmaster.master.events import EventName
from taskmaster.master.records.steering_records import SessionCommand, TrailRow
from taskmaster.master.steering.request import Command
from taskmaster.master.why import WhyCode
from taskmaster.redaction import clean
from taskmaster.units import show_count, show_rounded
from taskmaster.view.snapshot import RunState, SlaveState, Snapshot
from taskmaster.view.status import Rate, eta

__all__ = ["CountedKind", "EventWatch", "Happened", "SlaveNews"]

STEADY_SECONDS = 2.0  # how long a throttle's new answer has to last before it becomes an event: some change each second
MOST_SLAVES_TOLD = 20  # whose coming or going is told one by one, of a single look
KIND_GROWTH = 10  # a kind of failure becomes an event again when its count is this many times the last one
MOST_KINDS_WATCHED = 200  # most kinds of failure whose last count is remembered
LONGEST_EVENT_TEXT = 300

Happened = tuple[EventName, dict[str, Any]]
SlaveNews = tuple[str, str]
"""The name of a slave, and "" where it has come, else how it has gone."""


class CountedKind(Protocol):
    """A kind of failure, and how many jobs have failed so."""

    @property
    def type(self) -> str:
        """The class of the exception."""

    @property
    def where(self) -> str:
        """The last location in the user's code; "" if unknown."""

    @property
    def count(self) -> int:
        """Jobs that have failed so."""

    @property
    def message(self) -> str:
        """What the exception of one of them said."""


class EventWatch:
    """Finds the events of a run by comparing two snapshots of it.

    Args:
        stall: Seconds without a settled job after which the run counts as stalled, unless somebody
            has paused it.
    """

    def __init__(self, stall: float) -> None:
        self._stall = stall
        self._rate = Rate()
        self._settled = -1
        self._moved = 0.0  # elapsed seconds when a job was settled last, or the run was let go
        self._stalled = False
        self._unwritable = False
        self._throttled = False
        self._differs_since: float | None = None
        self._told: dict[tuple[str, str], int] = {}
        self._failed = 0

    def begin(self, kinds: Sequence[CountedKind], failed: int) -> None:
        """Note what failed in earlier sessions: it becomes no event again."""
        self._told = {(one.type, one.where): one.count for one in kinds}
        self._failed = failed

    def facts(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the fields of an event that say how the run stands."""
        left = eta(snapshot, self._rate)
        return {
            "target": snapshot.target,
            "state": str(snapshot.state),
            "settled": snapshot.settled,
            "failed": snapshot.failed,
            "total": snapshot.total,
            "elapsed": round(snapshot.elapsed, 3),
            "eta": None if left is None else round(left, 3),
        }

    def observe(
        self,
        snapshot: Snapshot,
        rows: Sequence[TrailRow] = (),
        slaves: Sequence[SlaveNews] = (),
        kinds: Sequence[CountedKind] = (),
    ) -> list[Happened]:
        """Return what has happened.

        Args:
            snapshot: The snapshot of the run.
            rows: New rows of the trail.
            slaves: The slaves that have joined or left.
            kinds: What jobs have failed with, all of it.
        """
        done = snapshot.settled_here, snapshot.working, snapshot.share_here
        self._rate.add(snapshot.elapsed, *done, snapshot.rate_limit)
        return [
            *_steered(rows),
            *_came_and_went(slaves),
            *self._unwritten(snapshot),
            *self._held(snapshot),
            *self._failures(snapshot, kinds),
            *self._standing_still(snapshot),
        ]

    def _unwritten(self, snapshot: Snapshot) -> Iterator[Happened]:
        unwritable = snapshot.why == WhyCode.STATE
        if unwritable == self._unwritable:
            return
        self._unwritable = unwritable
        if unwritable:
            yield _happened(
                EventName.STATE_UNWRITABLE,
                "The run waits",
                snapshot.reason,
                cure=snapshot.cure,
            )
        else:
            yield _happened(EventName.STATE_WRITABLE, "The state can be written again")

    def _held(self, snapshot: Snapshot) -> Iterator[Happened]:
        if snapshot.state not in (RunState.THROTTLED, RunState.RUNNING, RunState.RESUMING):
            return
        throttled = snapshot.state is RunState.THROTTLED
        if throttled == self._throttled:
            self._differs_since = None
            return
        if self._differs_since is None:
            self._differs_since = snapshot.elapsed
        if snapshot.elapsed - self._differs_since < STEADY_SECONDS:
            return
        self._throttled, self._differs_since = throttled, None
        if throttled:
            yield _happened(EventName.THROTTLED, "The run is held back", snapshot.reason)
        else:
            yield _happened(EventName.UNTHROTTLED, "The run is not held back any more")

    def _failures(self, snapshot: Snapshot, kinds: Sequence[CountedKind]) -> Iterator[Happened]:
        before, self._failed = self._failed, snapshot.failed
        if snapshot.failed <= before:
            return
        for kind in kinds:
            name = kind.type, kind.where
            told = self._told.get(name)
            if len(self._told) > MOST_KINDS_WATCHED if told is None else kind.count < KIND_GROWTH * told:
                continue
            self._told[name] = kind.count
            where = f" in {kind.where}" if kind.where else ""
            have = "has" if kind.count == 1 else "have"
            yield _happened(
                EventName.FAILURE,
                f"{show_count(kind.count, 'job')} {have} failed with {kind.type}{where}",
                kind.message,
                type=clean(kind.type)[:LONGEST_EVENT_TEXT],
                where=clean(kind.where)[:LONGEST_EVENT_TEXT],
                count=kind.count,
                new=told is None,
            )

    def _standing_still(self, snapshot: Snapshot) -> Iterator[Happened]:
        # Time in which somebody holds the run, or in which it ends, is none in which it is stuck.
        is_held = snapshot.why in (WhyCode.PAUSED, WhyCode.STOPPING)
        held = is_held or snapshot.state in (RunState.PAUSING, RunState.DRAINING)
        if snapshot.settled_here != self._settled or held:
            self._settled, self._moved, self._stalled = snapshot.settled_here, snapshot.elapsed, False
        still = snapshot.elapsed - self._moved
        if still < self._stall or self._stalled:
            return
        self._stalled = True
        yield _happened(
            EventName.STALLED,
            f"No job has been settled for {show_rounded(still)}",
            snapshot.why_sentence or snapshot.reason,
            why=snapshot.why,
            cure=snapshot.cure,
        )


def _happened(name: EventName, what: str, reason: str = "", **facts: Any) -> Happened:
    """Return an event, with a sentence that says it."""
    what, reason = clean(what)[:LONGEST_EVENT_TEXT], clean(reason)[:LONGEST_EVENT_TEXT]
    end = "" if reason.endswith((".", "!", "?")) else "."
    return name, {"text": f"{what}: {reason}{end}" if reason else f"{what}.", "reason": reason, **facts}


def _steered(rows: Sequence[TrailRow]) -> Iterator[Happened]:
    for row in rows:
        by = {"by": row.who, "via": row.via, "command": row.command, "before": row.before, "after": row.after}
        if row.command in SessionCommand.begun():
            yield _happened(EventName(row.command), f"The run has {row.command}")
        elif row.command == Command.PAUSE:
            until = row.after.removeprefix("paused")
            yield _happened(EventName.PAUSED, f"{row.who} has paused the run{until}", row.reason, **by)
        elif row.command == Command.RESUME:
            yield _happened(EventName.UNPAUSED, f"{row.who} lets the run go on", row.reason, **by)
        elif row.command not in tuple(SessionCommand):  # the session that has ended says so itself, if it can
            change = f" from {row.before} to {row.after}" if row.before and row.after else ""
            yield _happened(EventName.CHANGED, f"{row.who}: {row.command}{change}", row.reason, **by)


def _came_and_went(slaves: Sequence[SlaveNews]) -> Iterator[Happened]:
    """Tell of each slave, or, where there are many, how many they are."""
    for name, verb in (
        (EventName.SLAVE_JOINED, "connected"),
        (EventName.SLAVE_LEFT, SlaveState.SAID_GOODBYE),
        (EventName.SLAVE_LOST, SlaveState.LOST),
    ):
        found = [slave for slave, how in slaves if _name_of(how) is name]
        if len(found) > MOST_SLAVES_TOLD:
            yield _happened(name, f"{len(found)} slaves: {verb}", slave="", count=len(found))
        else:
            for slave in found:
                yield _happened(name, f"The slave {slave}: {verb}", slave=slave, count=1)


def _name_of(how: str) -> EventName:
    if not how:
        return EventName.SLAVE_JOINED
    return EventName.SLAVE_LOST if how == SlaveState.LOST else EventName.SLAVE_LEFT
