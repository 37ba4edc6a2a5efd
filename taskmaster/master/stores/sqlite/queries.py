"""What is read from the tables of a state file, as values.

Each row is believed only with the checksum that it was written with. All rows of a statement are
fetched at once: one that is left in its middle, where a row is refused, keeps the file locked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from taskmaster.master.records.job_records import FailedJob, ParkedJob
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.stores.sqlite import history, steering
from taskmaster.master.stores.sqlite.belonging import Belonging
from taskmaster.master.stores.sqlite.rows import FAILED, RUN, checksum, failed_job
from taskmaster.master.stores.sqlite.validation import attempts_of, check_failed, check_parked, check_run

__all__ = ["belonging", "current_run", "failed_page", "kinds", "newest_session", "run_ids", "run_record"]


def current_run(connection: sqlite3.Connection) -> str:
    """Return the id of the run that goes on when the state is opened."""
    return str(_meta(connection, "current"))


def belonging(connection: sqlite3.Connection) -> Belonging:
    """Return what the state says that it belongs to."""
    return Belonging(_meta(connection, "identity"), _meta(connection, "belongs"))


def run_ids(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of all runs of the file, the newest first."""
    return [run for (run,) in connection.execute("SELECT id FROM run ORDER BY started DESC").fetchall()]


def newest_session(connection: sqlite3.Connection, run: str) -> int:
    """Return the number of the newest session that has settled rows; 0 if there is none."""
    newest = connection.execute("SELECT max(session) FROM piece WHERE run = ?", (run,)).fetchone()[0]
    return int(newest or 0)


def run_record(connection: sqlite3.Connection, run: str, *, resumed: bool) -> RunRecord:
    """Return a run with all that is remembered of it.

    Args:
        connection: to the state.
        run: its id.
        resumed: passed on into the record.

    Raises:
        ValueError: it is not what was written.
    """
    row = _checked(connection.execute(RUN, (run,)).fetchone())
    check_run(row)
    _, started, finished, mark, bound, edge, waiting, settled, failures, skipped, seconds, _ = row
    above = connection.execute(
        'SELECT run, session, first, "end", prints, seal FROM piece WHERE run = ? ORDER BY session, first', (run,)
    ).fetchall()
    last = connection.execute("SELECT max(id) FROM failed WHERE run = ?", (run,)).fetchone()[0]
    return RunRecord(
        id=run,
        resumed=resumed,
        mark=mark,
        bound=bound,
        edge=edge,
        remembered=waiting + b"".join(_checked(settled_row)[4] for settled_row in above),
        parked=list(_parked(connection, run)),
        settled=settled,
        failures=failures,
        skipped=skipped,
        next_failed=(last or 0) + 1,
        seconds=seconds,
        started=started,
        finished=finished,
        live=steering.changes(_of_newer(connection, "live", steering.LIVE, run)),
        trail=steering.rows(_of_newer(connection, "trail", steering.TRAIL, run)),
        history=history.rows(_of_newer(connection, "history", history.HISTORY, run)),
    )


def _of_newer(connection: sqlite3.Connection, table: str, query: str, run: str) -> list[tuple[Any, ...]]:
    """Return rows of a table that a state of an older format does not have."""
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if connection.execute(known, (table,)).fetchone() is None:
        return []
    return [_checked(row) for row in connection.execute(query, (run,)).fetchall()]


def failed_page(connection: sqlite3.Connection, run: str, after: int, most: int, kind: str | None) -> list[FailedJob]:
    """Return failed jobs of a run, by their id.

    Args:
        connection: to the state.
        run: its id.
        after: ids above this one.
        most: how many at most.
        kind: only those that failed with this class of exception at last; None: all.

    Raises:
        ValueError: a job is not what was written.
    """
    only = "" if kind is None else " AND type = ?"
    values = (run, after) if kind is None else (run, after, kind)
    page = f"{FAILED} WHERE run = ? AND id > ?{only} ORDER BY id LIMIT ?"
    return [_failed(row) for row in connection.execute(page, (*values, most)).fetchall()]


def kinds(connection: sqlite3.Connection, run: str, most: int) -> list[tuple[int, FailedJob]]:
    """Return the most frequent kinds of failure of a run, each with its number and its first
    example.

    Raises:
        ValueError: a job is not what was written.
    """
    grouped = (
        "SELECT count(*) AS number, min(id) FROM failed WHERE run = ? GROUP BY type ORDER BY number DESC, 2 LIMIT ?"
    )
    example = f"{FAILED} WHERE run = ? AND id = ?"
    return [
        (number, _failed(connection.execute(example, (run, first)).fetchone()))
        for number, first in connection.execute(grouped, (run, most)).fetchall()
    ]


def _failed(row: Sequence[Any] | None) -> FailedJob:
    if row is not None:
        check_failed(tuple(row))
    return failed_job(*_checked(row))


def _meta(connection: sqlite3.Connection, name: str) -> Any:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _parked(connection: sqlite3.Connection, run: str) -> Iterator[ParkedJob]:
    """Yield the parked jobs, one by one: there may be a million."""
    rows = "SELECT run, id, key, payload, print, attempts, seal FROM parked WHERE run = ? ORDER BY id"
    for row in connection.execute(rows, (run,)):
        _, number, key, payload, print_, tried = _checked(row)
        check_parked(number, key, payload, print_)
        yield ParkedJob(number, key, payload, print_, attempts_of(tried))


def _checked(row: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return a row without its checksum, if that is right.

    Raises:
        ValueError: it is not, or the row is gone.
    """
    values = () if row is None else tuple(row[:-1])
    if row is None or checksum(values) != row[-1]:
        raise ValueError("what is in it is not what was written")
    return values
