"""A connection to a state file: opened, locked, looked through; and let go again.

Called by the SQLite store. Write-ahead log, full synchronisation, exclusive locking. From its first change on, the
file says in its header that it is not whole without its log (``sqlite_file``), until it was let go.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
from contextlib import suppress
from pathlib import Path

from taskmaster.errors import StateLocked, StateRefused
from taskmaster.master.stores.sqlite_file import IN_USE, SCHEMA_VERSION, Unresumable, has_log, is_whole, log_of
from taskmaster.master.stores.sqlite_rows import BROKEN, lost_rows

__all__ = ["begin", "connect", "let_go"]


def connect(path: Path) -> sqlite3.Connection:
    """Open a state file that has been inspected.

    Raises:
        StateLocked: another process has it.
        Unresumable: its log is lost.
        StateRefused: it is damaged, or cannot be opened.
    """
    connection: sqlite3.Connection | None = None
    log = has_log(path)  # SQLite makes an empty one
    try:
        # as_uri quotes what an URI cannot hold; mode=rw never makes a file.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0.2, check_same_thread=False
        )
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 200")  # pages: what is beside the file stays below a megabyte
        # An exclusive lock on the file itself, which also keeps those out that have it under another name (a hard
        # link).
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] & IN_USE and not log:
            raise _without_log(path)
        _look_through(connection, path)
        connection.execute("ROLLBACK")
    except BaseException as exc:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if log:
            with suppress(OSError):
                is_whole(path, path.stat())  # so that the next one hears the same, not that the log is lost
        if not isinstance(exc, (sqlite3.DatabaseError, TypeError, ValueError)):
            raise
        if not isinstance(exc, sqlite3.OperationalError):
            raise StateRefused(f"The state {path} is damaged ({exc}). {BROKEN}") from exc
        if "locked" in str(exc):
            raise StateLocked(
                f"The state {path} belongs to another master that is running. End that one first, or give this run a "
                "state of its own with --state."
            ) from exc
        raise StateRefused(f"The state {path} cannot be opened: {exc}. Name another with --state=PATH.") from exc
    return connection


def _without_log(path: Path) -> Unresumable:
    whole = shlex.join(["sqlite3", str(path), f"PRAGMA user_version = {SCHEMA_VERSION}"])
    return Unresumable(
        f"The state {path} was in use when its process ended, and its log {log_of(path).name}, which holds the last "
        "checkpoints, is not beside it. Put the log there: a copy of such a state needs both files, and a hard link "
        "has to be opened under its first name. If another program has opened the file since then, that one has "
        f"brought the log into it; say so with: {whole}.",
        path,
        "without-log",
    )


def _look_through(connection: sqlite3.Connection, path: Path) -> None:
    """Whether everything that was written is there."""
    # The quick check would not compare an index with its table: what a damaged index hides would be lost.
    broken = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
    if not broken and (table := lost_rows(connection)):
        broken = [f"the table {table!r} does not hold what was written to it"]
    if broken:
        raise StateRefused(f"The state {path} is damaged ({broken[0]}). {BROKEN}")


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that changes something."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not version & IN_USE:
        # In the file before the first change is in the log. What stays of the log is never empty, so that one that is
        # empty is missing, too.
        connection.execute(f"PRAGMA user_version = {version | IN_USE}")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.execute("BEGIN IMMEDIATE")


def let_go(connection: sqlite3.Connection, path: Path, opened: os.stat_result) -> None:
    """Bring everything into the one file and close it, as far as the disk lets us; what it does not, the log keeps.

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
        is_whole(path, opened)
