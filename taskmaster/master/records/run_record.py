"""What is kept of a run: the record that a store gives, and the checkpoint that it is given. Pure.

Keys are text here (``taskmaster.keys.encode``). Fingerprints are 16 bytes each
(``taskmaster.master.records.fingerprints``), concatenated where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

from taskmaster import keys
from taskmaster.master.records.job_records import FailedJob, ParkedJob
from taskmaster.master.records.minute_row import MinuteRow
from taskmaster.master.records.steering_records import LiveChange, SessionCommand, TrailRow
from taskmaster.records import record
from taskmaster.units import show_count

__all__ = ["Checkpoint", "RunRecord", "SettledRow"]


@record()
class SettledRow:
    """Settled or parked jobs above the watermark: positions ``first`` to ``end`` of this session's
    reading.
    """

    first: int
    end: int
    fingerprints: bytes


@record()
class Checkpoint:
    """What one transaction changes. It builds only on what the store has: after a failed
    write, the master sends the same again, merged with what came since.

    Attributes:
        mark: key of the watermark; None while there is none.
        edge: fingerprints of the jobs whose key is ``mark``.
        add: settled rows that are remembered from now on.
        forget_below: settled rows of this session that end at or below this position are forgotten.
        waiting: fingerprints, remembered by earlier sessions, of jobs that the source has not
            yielded again so far; None: as before.
        failed: jobs to write down as failed.
        cleared: ids of failed jobs that count as failed no longer: another attempt was asked for,
            and went well.
        park: jobs to park; one with a known id takes the place of what was known of it.
        unpark: ids of parked jobs that are settled now.
        settled: jobs settled over the whole run.
        failures: jobs failed over the whole run.
        skipped: jobs that the callback left out, over the whole run; they are settled.
        seconds: how long the run has run, over all its sessions.
        finished: whether the source is exhausted and everything is settled.
        bound: where the source ends, encoded like a key; None: it did not say.
        trail: Rows to add to the trail.
        live: All that an operator has changed and that is in force; None: as before.
        history: Rows to add to the history.
        history_over: The times of rows of it that are removed before.
    """

    mark: str | None
    edge: bytes = b""
    add: Sequence[SettledRow] = ()
    forget_below: int = 0
    waiting: bytes | None = None
    failed: Sequence[FailedJob] = ()
    cleared: Sequence[int] = ()
    park: Sequence[ParkedJob] = ()
    unpark: Sequence[int] = ()
    settled: int = 0
    failures: int = 0
    skipped: int = 0
    seconds: float = 0.0
    finished: bool = False
    bound: str | None = None
    trail: Sequence[TrailRow] = ()
    live: Sequence[LiveChange] | None = None
    history: Sequence[MinuteRow] = ()
    history_over: Sequence[int] = ()

    def has_news(self) -> bool:
        """Return whether there is something in it that the store does not have for certain."""
        replaced = self.waiting is not None or self.live is not None
        added = self.add or self.failed or self.park or self.trail or self.history
        return bool(added or self.cleared or self.unpark or replaced)

    def progress(self) -> tuple[object, ...]:
        """Return what a checkpoint without news can differ in from the one before it."""
        return self.mark, self.bound, self.edge, self.settled, self.failures, self.finished


@record()
class RunRecord:
    """A run as the store remembers it. Times are wall-clock seconds since the epoch, for display
    only.

    Attributes:
        id: random and unique.
        resumed: whether the run existed before this start.
        mark: key of the watermark, None when nothing is settled yet.
        edge: fingerprints of the jobs whose key is ``mark``.
        remembered: fingerprints of all that is settled or parked above the watermark, in the order
            they were recorded; one that was recorded twice is here twice.
        parked: parked jobs, oldest first.
        settled: jobs settled so far.
        failures: those of them that failed.
        skipped: those of them that the callback left out.
        next_failed: an id that no failed job of the run has, nor any after it.
        seconds: how long the run has run.
        started: when it was made.
        finished: when it finished, None when it has not.
        bound: where the source said that it ends, None if it did not.
        live: What an operator has changed and that is in force.
        trail: The newest rows of the trail, oldest first.
        history: The numbers of the run over time, oldest first.
    """

    id: str
    resumed: bool
    mark: str | None = None
    edge: bytes = b""
    remembered: bytes = b""
    parked: Sequence[ParkedJob] = field(default=())
    settled: int = 0
    failures: int = 0
    skipped: int = 0
    next_failed: int = 1
    seconds: float = 0.0
    started: float = 0.0
    finished: float | None = None
    bound: str | None = None
    live: Sequence[LiveChange] = ()
    trail: Sequence[TrailRow] = ()
    history: Sequence[MinuteRow] = ()

    @property
    def last_seen(self) -> float:
        """When a session has last said how it stood; 0.0 if none has."""
        return float(self.history[-1].at) if self.history else 0.0

    @property
    def command_line(self) -> str:
        """The command line that began the newest session; "" if the trail does not have it."""
        begun = SessionCommand.begun()
        return next((row.reason for row in reversed(self.trail) if row.command in begun), "")

    @property
    def reached(self) -> str:
        """The key that the run has reached, for people, and how many jobs before it are parked; ""
        where no job is settled, for ranges are parked before the first one is handed out.
        """
        if self.mark is None or not self.settled:
            return ""
        parked = f", but for {show_count(len(self.parked), 'parked job')}" if self.parked else ""
        return f"{keys.show(self.mark)}{parked}"

    @property
    def left_out(self) -> str:
        """Why the run leaves jobs out, as an earlier session has found; "" if none has."""
        return next((row.reason for row in reversed(self.trail) if row.command == SessionCommand.LEFT_OUT), "")

    def without_jobs(self) -> RunRecord:
        """Return the record without what is parked and remembered, which would be kept for as long
        as the record is: of a large fleet, half a gigabyte.
        """
        return replace(self, parked=(), remembered=b"")

    @property
    def is_blank(self) -> bool:
        """Whether a new run would be as this one: nothing has come of it, and nobody has asked for
        anything.
        """
        jobs = self.settled or self.failures or self.parked or self.remembered
        asked = self.live or any(row.via != "master" for row in self.trail)
        return self.mark is None and self.finished is None and not jobs and not asked
