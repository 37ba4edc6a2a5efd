"""What the state keeps of steering: the live changes that are in force, and the trail; and what of
it the next checkpoint has to write. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from taskmaster.master.records.minute_row import MinuteRow

__all__ = [
    "HOLD",
    "NOTHING_LOST",
    "QUIET",
    "RATE",
    "LiveChange",
    "News",
    "SessionCommand",
    "TrailRow",
    "bad_end",
    "is_setting",
    "unknown_ends",
    "with_known_ends",
    "with_unknown_ends",
]

HOLD = "hold"
RATE = "rate"
NOTHING_LOST = "nothing is lost"
"""What a note has led to in whose words an end that was bad is fine."""
_ENDS_UNKNOWN = "ends unknown: "
QUIET = "quiet "
"""Begins the name of the change that keeps a slave from getting jobs; the slave's id follows."""


def is_setting(name: str) -> bool:
    """Return whether a change of this name is one of a setting."""
    return name not in (HOLD, RATE) and not name.startswith(QUIET)


class LiveChange(NamedTuple):
    """Something that an operator has changed, and that stays in force until it is taken back.

    Attributes:
        name: ``HOLD``, ``RATE``, ``QUIET`` with a slave's id, or the name of a setting.
        value: What it was changed to, as text; "" for a hold; "ends" or "stays", and its name, for
            a slave.
        by: Who changed it, as "user@host".
        at: When (seconds since the epoch).
        reason: Why, in the operator's words; "" if none was given.
        until: When it ends by itself (seconds since the epoch); None: when it is taken back.
    """

    name: str
    value: str
    by: str
    at: float
    reason: str = ""
    until: float | None = None


class SessionCommand(StrEnum):
    """What the trail has for a session's beginning and end, where it has commands for the rest."""

    STARTED = "started"
    RESUMED = "resumed"
    STOPPED = "stopped"
    FINISHED = "finished"
    LEFT_OUT = "left-out"
    """It has found that the run leaves jobs out."""
    ENDED_BADLY = "ended-badly"
    """Something that its callbacks wrote may be lost, although their jobs are settled."""
    UNHEARD = "unheard"
    """Slaves have not said how their workers ended when the run was over."""
    KILLED = "killed"
    """The state has no word of how it ended: the session after it writes this."""

    @classmethod
    def begun(cls) -> tuple[SessionCommand, ...]:
        """Return what begins a session."""
        return cls.STARTED, cls.RESUMED

    @classmethod
    def ended(cls) -> tuple[SessionCommand, ...]:
        """Return what ends a session, as it says itself."""
        return cls.STOPPED, cls.FINISHED


class TrailRow(NamedTuple):
    """One row of the trail: something that was changed in a run, or that happened to it.

    Attributes:
        seq: Its number within the run, from 1.
        at: When (seconds since the epoch).
        command: What was done, such as "pause".
        user: The user that did it, by what the client says; "" for none.
        host: On which machine, as the client says.
        peer: The client's network address that the master has seen; "" for none.
        via: With what: "tm-ctl", "script", "web", or "master".
        reason: Why, in the operator's words.
        before: The value before the change.
        after: The value after it.
    """

    seq: int
    at: float
    command: str
    user: str
    host: str
    peer: str
    via: str
    reason: str
    before: str
    after: str

    @property
    def who(self) -> str:
        """Who did it, for people."""
        if not self.user:
            return self.via
        return f"{self.user}@{self.host}" if self.host else self.user


def bad_end(rows: Sequence[TrailRow]) -> TrailRow | None:
    """Return the newest row that says that a session has ended badly, or was killed before it was
    known how its workers ended, where nobody has noted since that nothing is lost; else None.
    """
    for row in reversed(rows):
        if row.after == NOTHING_LOST:
            return None
        if row.command == SessionCommand.ENDED_BADLY or unknown_ends(row):
            return row
    return None


def with_unknown_ends(after: str, workers: str) -> str:
    """Return how a session is after its last checkpoint, while workers still have to end.

    Args:
        after: How it is when they have; "" if there is nothing to say.
        workers: How many they are, as text.
    """
    return f"{after}, {_ENDS_UNKNOWN}{workers}".removeprefix(", ")


def with_known_ends(row: TrailRow) -> TrailRow:
    """Return the row of a session's end without that."""
    return row._replace(after=row.after.partition(_ENDS_UNKNOWN)[0].removesuffix(", "))


def unknown_ends(row: TrailRow) -> str:
    """Return of how many workers it was not known how they ended when the session last wrote how it
    had ended itself, as text; "" if all was known.
    """
    return row.after.partition(_ENDS_UNKNOWN)[2] if row.command in SessionCommand.ended() else ""


class News(NamedTuple):
    """What the next checkpoint has to write.

    Attributes:
        trail: Rows that the state does not have.
        live: All changes that are in force; None: as the state has them.
        version: Counts the changes, to tell whether there was another one meanwhile.
        history: Rows of the history that the state does not have.
        history_over: The times of those that these replace.
    """

    trail: Sequence[TrailRow]
    live: Sequence[LiveChange] | None
    version: int
    history: Sequence[MinuteRow] = ()
    history_over: Sequence[int] = ()

    def of_checkpoint(self) -> dict[str, Any]:
        """Return it as fields of a checkpoint."""
        return {name: part for name, part in self._asdict().items() if name != "version"}
