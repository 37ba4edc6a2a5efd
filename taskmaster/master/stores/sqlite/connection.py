"""A connection to a state file: opened, locked, looked through; and let go again.

Write-ahead log, full synchronisation, exclusive locking. From its first change on, the file says in
its header that it is not whole without its log (see ``file``), until it was let go.

A file that has a log is looked through by a connection that only reads, before one may write:
SQLite brings the log into the file whenever a writer closes it, be it the log of another state, and
what could have been mended is gone.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskmaster.errors import StateLocked, StateRefused
from taskmaster.master.stores.sqlite import history, steering
from taskmaster.master.stores.sqlite.file import (
    IN_USE,
    RESTORE,
    SCHEMA_VERSION,
    Unresumable,
    has_log,
    mark_whole,
    wal_of,
)
from taskmaster.master.stores.sqlite.owner import reserve
from taskmaster.master.stores.sqlite.rows import TABLE_STATEMENTS, lost_rows, make_missing
from taskmaster.master.stores.sqlite.validation import check_schema

__all__ = ["begin", "connect", "let_go", "looking"]


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to a state file with its log, looked through; neither of the two is
    changed.

    Raises:
        StateLocked: another process has it.
        StateRefused: it is damaged, or cannot be opened.
    """
    index = path.with_name(path.name + "-shm")  # one that is there belongs to another program, which may be at work
    alone = not os.path.lexists(index)
    connection: sqlite3.Connection | None = None
    try:
        connection = _connection(path, "ro")
        _look_through(connection, path)
        yield connection
    except (sqlite3.DatabaseError, TypeError, ValueError) as exc:
        raise _refusal(path, exc) from exc
    finally:
        if connection is not None:
            connection.close()
        if alone:
            index.unlink(missing_ok=True)


def connect(path: Path, *, seen: bool = False) -> sqlite3.Connection:
    """Open a state file that has been inspected.

    Args:
        path: the file.
        seen: whether it was looked through.

    Raises:
        StateLocked: another process has it.
        Unresumable: its log is lost.
        StateRefused: it is damaged, or cannot be opened.
    """
    connection: sqlite3.Connection | None = None
    log = has_log(path)  # SQLite makes an empty one
    reserved = reserve(path)
    try:
        connection = _connection(path, "rw")  # never makes a file
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 200")  # pages: what is beside the file stays below a megabyte
        # An exclusive lock on the file itself, which also keeps those out that have it under
        # another name (a hard link).
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] & IN_USE and not log:
            raise _without_log(path)
        if not seen:
            _look_through(connection, path)
        connection.execute("ROLLBACK")
    except BaseException as exc:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
            connection = None
        if log:
            with suppress(OSError):
                mark_whole(path, path.stat())  # else the next attempt would report a lost log, not this error
        if not isinstance(exc, (sqlite3.DatabaseError, TypeError, ValueError)):
            raise
        raise _refusal(path, exc) from exc
    finally:
        for part in reserved:
            with suppress(OSError):
                # SQLite uses the log, and removes it in the end.
                if part.stat().st_size == 0 and (connection is None or not part.name.endswith("-wal")):
                    part.unlink()
    return connection


def _connection(path: Path, mode: str) -> sqlite3.Connection:
    # as_uri quotes what an URI cannot hold.
    uri = f"{path.as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0.2, check_same_thread=False)


def _refusal(path: Path, exc: Exception) -> StateRefused | StateLocked:
    """Return what an error that SQLite has raised says of the file."""
    if not isinstance(exc, sqlite3.OperationalError):
        return StateRefused(f"The state {path} is damaged ({exc}). {RESTORE}")
    if "locked" in str(exc):
        return StateLocked(
            f"The state {path} belongs to another master that is running. End that one first, or give this run a "
            "state of its own with --state."
        )
    return StateRefused(f"The state {path} cannot be opened: {exc}. Name another with --state=PATH.")


def _without_log(path: Path) -> Unresumable:
    whole = shlex.join(["sqlite3", str(path), f"PRAGMA user_version = {SCHEMA_VERSION}"])
    return Unresumable(
        f"The state {path} was in use when its process ended, and its log {wal_of(path).name}, which holds the last "
        "checkpoints, is not beside it. Put the log there: a copy of such a state needs both files, and a hard link "
        "has to be opened under its first name. If another program has opened the file since then, that one has "
        f"brought the log into it; say so with: {whole}.",
        path,
        "without-log",
    )


def _look_through(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a state in which something that was written is missing, or that has more in it."""
    # First: what else is asked may run a view.
    check_schema(connection, TABLE_STATEMENTS, [*steering.TRAIL_STATEMENTS, *history.HISTORY_STATEMENTS])
    # The quick check would not compare an index with its table: what a damaged index hides would be
    # lost.
    broken = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
    if not broken and (table := lost_rows(connection)):
        broken = [f"the table {table!r} does not hold what was written to it"]
    if broken:
        # In several lines, of which the first is the same for every database.
        why = " ".join(broken[0].replace("*** in database main ***", "").split())
        raise StateRefused(f"The state {path} is damaged ({why}). {RESTORE}")


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that changes something; a state of an older format is of this one
    then.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION | IN_USE:
        # In the file before the first change is in the log. What stays of the log is never empty,
        # so that one that is empty is missing, too.
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION | IN_USE}")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.execute("BEGIN IMMEDIATE")
    make_missing(connection, [*steering.TRAIL_STATEMENTS, *history.HISTORY_STATEMENTS])


def let_go(connection: sqlite3.Connection, path: Path, opened: os.stat_result) -> None:
    """Move everything from the log into the state file, and close it. What a full or broken disk
    does not take stays in the log.

    Args:
        connection: perhaps in a transaction, which is given up.
        path: the file.
        opened: what was there when it was opened.
    """
    with suppress(sqlite3.Error):
        connection.rollback()
    with suppress(sqlite3.Error):
        if connection.execute("PRAGMA user_version").fetchone()[0] & IN_USE:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with suppress(sqlite3.Error):
        connection.close()
    with suppress(OSError):
        mark_whole(path, opened)
