"""The tables of steering in a state file: the live changes that are in force, and the trail.

A state of format 3 has no such tables: it is read as one in which
nothing was steered, and gets them with its first change, from which on it is of the newest.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.records.steering_records import LiveChange, News, TrailRow
from taskmaster.master.stores.sqlite.rows import Tally, printable, sealed
from taskmaster.master.stores.sqlite.validation import check_live, check_trail

__all__ = ["LIVE", "TRAIL", "TRAIL_STATEMENTS", "changes", "rows", "write"]

TABLES = """
CREATE TABLE live (
    run TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, by TEXT NOT NULL, at REAL NOT NULL,
    reason TEXT NOT NULL, until REAL, seal BLOB NOT NULL, PRIMARY KEY (run, name)) WITHOUT ROWID;
CREATE TABLE trail (
    run TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, command TEXT NOT NULL, user TEXT NOT NULL,
    host TEXT NOT NULL, peer TEXT NOT NULL, via TEXT NOT NULL, reason TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL, seal BLOB NOT NULL, PRIMARY KEY (run, seq));
"""
TRAIL_STATEMENTS = [statement.strip() for statement in TABLES.split(";") if statement.strip()]
LIVE = "SELECT run, name, value, by, at, reason, until, seal FROM live WHERE run = ? ORDER BY at, name"
# What the exit code of a run depends on, however much has been changed in it since.
LASTING = (
    "SELECT MAX(seq) FROM {rows} (command IN ('ended-badly', 'left-out') OR after = 'nothing is lost' OR "
    "(command IN ('finished', 'stopped') AND after LIKE '%ends unknown: %')) GROUP BY command"
)
TRAIL = (
    "WITH whole AS (SELECT * FROM trail WHERE run = ?) "  # noqa: S608
    "SELECT run, seq, at, command, user, host, peer, via, reason, before, after, seal FROM whole "
    "WHERE seq IN (SELECT seq FROM whole ORDER BY seq DESC LIMIT 1000) OR "
    f"seq IN ({LASTING.format(rows='whole WHERE')}) ORDER BY seq"
)
OLD = f"run = ? AND seq <= ? AND seq NOT IN ({LASTING.format(rows='trail WHERE run = ? AND')})"
MOST_TRAIL_ROWS_STORED = 10_000  # of a run's trail; beyond, the oldest go


def write(tally: Tally, run: str, news: Checkpoint | News) -> None:
    """Write what was steered.

    Args:
        tally: Changes the rows of the run, in a transaction.
        run: The id of the run.
        news: What is new.
    """
    if news.live is not None:
        tally.remove("live", "run = ?", run)
        tally.put("live", [_row(run, change) for change in news.live])
    if news.trail:
        tally.put("trail", [_row(run, row) for row in news.trail])
        oldest = news.trail[-1].seq - MOST_TRAIL_ROWS_STORED
        tally.remove("trail", OLD, run, oldest, run)


def changes(found: Sequence[tuple[object, ...]]) -> list[LiveChange]:
    """Return rows of ``LIVE``, without their checksums, as values.

    Raises:
        ValueError: One cannot be right.
    """
    for row in found:
        check_live(row)
    return [LiveChange(*row[1:]) for row in found]  # type: ignore[arg-type]  # as ``write`` has written them


def rows(found: Sequence[tuple[object, ...]]) -> list[TrailRow]:
    """Return rows of ``TRAIL``, without their checksums, as values.

    Raises:
        ValueError: One cannot be right.
    """
    for row in found:
        check_trail(row)
    return [TrailRow(*row[1:]) for row in found]  # type: ignore[arg-type]  # as ``write`` has written them


def _row(run: str, value: LiveChange | TrailRow) -> tuple[object, ...]:
    return sealed(run, *(printable(cell) if isinstance(cell, str) else cell for cell in value))
