"""The trail: who changed what in a run, when and why. Pure.

The newest rows are kept here; all of them are in the state, as soon as the next checkpoint has
written those that are new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from taskmaster.master.records.steering_records import (
    NOTHING_LOST,
    SessionCommand,
    TrailRow,
    bad_end,
    unknown_ends,
    with_known_ends,
)
from taskmaster.master.steering.request import SteerRequest
from taskmaster.units import show_moment

__all__ = ["LONGEST_TRAIL_COLUMN", "MOST_TRAIL_ROWS_IN_MEMORY", "Trail", "beginnings"]

MOST_TRAIL_ROWS_IN_MEMORY = 1000  # in memory; the state has more
LONGEST_TRAIL_COLUMN = 4000  # characters of a column: the state refuses a row that is far longer when it is read


def beginnings(known: Sequence[TrailRow], line: str, *, goes_on: bool, seen: float = 0.0) -> Iterator[tuple[str, str]]:
    """Yield what a session begins with, each as a command and its reason: that the one before has
    not said how it ended, if so; and that this one has begun.

    Args:
        known: The rows of the sessions before, oldest first.
        line: The command line that began this one.
        goes_on: Whether it resumes the run.
        seen: When the session before has last said how it stood (seconds since the epoch).
    """
    said = SessionCommand.begun() + SessionCommand.ended()
    last = next((row for row in reversed(known) if row.command in said), None)
    if last is not None and last.command in SessionCommand.begun():
        begun, end = show_moment(last.at), show_moment(max(seen, last.at))
        yield (
            SessionCommand.KILLED,
            (
                f"The session of {begun} ended without a word in the state soon after {end}: it was killed, its "
                "machine went down, or its end could not be written"
            ),
        )
    # Cut, it would be another command.
    command = SessionCommand.RESUMED if goes_on else SessionCommand.STARTED
    yield command, line if len(line) <= LONGEST_TRAIL_COLUMN else ""


class Trail:
    """The rows of the trail, and which of them are not in the state yet.

    Args:
        known: The newest rows of earlier sessions, oldest first.

    Attributes:
        saved: Number of the last row that the state has; 0 if it has none.
    """

    def __init__(self, known: Sequence[TrailRow] = ()) -> None:
        self._rows: deque[TrailRow] = deque(known, MOST_TRAIL_ROWS_IN_MEMORY)
        self._bad_end = bad_end(known)  # which outlasts its row
        self._next = known[-1].seq + 1 if known else 1
        self._unwritten: list[TrailRow] = []
        self._begun: TrailRow | None = None  # the beginning of this session, as the state has it
        self._ended: TrailRow | None = None  # its end, while it is not known how its workers ended
        self.saved = self._next - 1

    @property
    def last(self) -> int:
        """Number of the newest row; 0 if there is none."""
        return self._next - 1

    @property
    def bad_end(self) -> TrailRow | None:
        """What says that a session may have lost something; None if nothing does."""
        return self._bad_end

    def add(self, at: float, request: SteerRequest, peer: str, *, before: str, after: str) -> TrailRow:
        """Add the row of a request that has changed something, and return it.

        Args:
            at: When (seconds since the epoch).
            request: What was asked for, by whom and why.
            peer: The address that it came from.
            before: The value before the change.
            after: The value after it.
        """
        by = (request.user, request.host, peer, request.via)
        return self._add(at, str(request.command), *by, request.reason, before, after)

    def note(self, at: float, command: str, *, reason: str = "", before: str = "", after: str = "") -> None:
        """Add the row of something that nobody has asked for; see ``TrailRow`` for the columns."""
        self._add(at, command, "", "", "", "master", reason, before, after)

    def after(self, seq: int, most: int, before: int | None = None) -> list[TrailRow]:
        """Return the newest ``most`` rows whose number is above ``seq``, the oldest first. The row
        of this session's end comes without the note that some workers' ends are not known yet: this
        master still waits for them.

        Args:
            seq: See above.
            most: See above.
            before: Leave out rows from this number on; None: none.
        """
        found = [row for row in self._rows if row.seq > seq and (before is None or row.seq < before)]
        return [with_known_ends(row) if row is self._ended else row for row in found[-most:]]

    def unwritten(self, successor: str = "") -> list[TrailRow]:
        """Return the rows that the state does not have, or has as they were.

        Args:
            successor: Where the run is, which the row of this session's beginning says: a session
                that is killed writes no row of its end. "" where it is not known.
        """
        begun, successor = self._begun, successor[:LONGEST_TRAIL_COLUMN]
        if begun is None or successor in ("", begun.before):
            return list(self._unwritten)
        rows = {row.seq: row for row in (begun, *self._unwritten)}
        rows[begun.seq] = begun._replace(before=successor)
        return [rows[seq] for seq in sorted(rows)]

    def written(self, rows: Sequence[TrailRow]) -> None:
        """Note that the state has these rows."""
        if rows:
            begun = [row for row in rows if row.command in SessionCommand.begun()]
            self._begun = begun[-1] if begun else self._begun
            self.saved = max(self.saved, rows[-1].seq)
            self._unwritten = [row for row in self._unwritten if row.seq > self.saved]

    def ends_known(self) -> bool:
        """Let the row of this session's end say no more that it is not known how workers ended;
        return whether the state has to be told.
        """
        row, self._ended = self._ended, None
        if row is None:
            return False
        known = with_known_ends(row)
        self._rows[self._rows.index(row)] = known
        self._unwritten = sorted([known, *(other for other in self._unwritten if other.seq != row.seq)])
        return row.seq <= self.saved

    def _add(self, at: float, *columns: str) -> TrailRow:
        row = TrailRow(self._next, at, *(column[:LONGEST_TRAIL_COLUMN] for column in columns))
        self._next += 1
        self._rows.append(row)
        self._unwritten.append(row)
        if row.command == SessionCommand.ENDED_BADLY or row.after == NOTHING_LOST:
            self._bad_end = bad_end([row])
        if row.command in SessionCommand.begun():
            self._begun = row
        if unknown_ends(row):
            self._ended = row
        return row
