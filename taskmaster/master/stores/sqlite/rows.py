"""The tables of a state file: their schema, and rows that carry a checksum."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.stores.sqlite.validation import attempts_of, loads

__all__ = [
    "FAILED",
    "RUN",
    "TABLE_STATEMENTS",
    "Tally",
    "as_text",
    "checksum",
    "failed_job",
    "fill",
    "lost_rows",
    "make_missing",
    "new_run",
    "printable",
    "seal_run",
    "sealed",
]

SUM_LIMIT = 2**64  # of the sum of checksums, which begins again there

TABLES_SQL = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE run (
    id TEXT PRIMARY KEY, started REAL NOT NULL, finished REAL, mark TEXT, bound TEXT, edge BLOB NOT NULL DEFAULT x'',
    waiting BLOB NOT NULL DEFAULT x'', settled INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, tally TEXT NOT NULL DEFAULT '{}',
    seal BLOB NOT NULL DEFAULT x'') WITHOUT ROWID;
CREATE TABLE piece (
    run TEXT NOT NULL, session INTEGER NOT NULL, first INTEGER NOT NULL, "end" INTEGER NOT NULL, prints BLOB NOT NULL,
    seal BLOB NOT NULL, PRIMARY KEY (run, session, first)) WITHOUT ROWID;
CREATE TABLE parked (
    run TEXT NOT NULL, id INTEGER NOT NULL, key TEXT NOT NULL, payload BLOB NOT NULL, print BLOB NOT NULL,
    attempts TEXT NOT NULL, seal BLOB NOT NULL, PRIMARY KEY (run, id));
CREATE TABLE failed (
    run TEXT NOT NULL, id INTEGER NOT NULL, key TEXT, job TEXT NOT NULL, payload BLOB, type TEXT NOT NULL,
    attempts TEXT NOT NULL, seal BLOB NOT NULL, PRIMARY KEY (run, id));
CREATE INDEX failed_type ON failed (run, type);
"""
TABLE_STATEMENTS = [statement.strip() for statement in TABLES_SQL.split(";") if statement.strip()]
FAILED = "SELECT run, id, key, job, payload, type, attempts, seal FROM failed"
RUN = (
    "SELECT id, started, finished, mark, bound, edge, waiting, settled, failures, skipped, seconds, tally, seal "
    "FROM run WHERE id = ?"
)
# "piece" has the settled rows above the watermark; state files know it by this name.
# What tells the rows of a run apart; these columns come first in each row, and the seal last.
_KEYS = {
    "piece": ("run", "session", "first"),
    "parked": ("run", "id"),
    "failed": ("run", "id"),
    "live": ("run", "name"),
    "trail": ("run", "seq"),
    "history": ("run", "at"),
}


def fill(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Make the tables, with a first run; return the connection."""
    for statement in TABLE_STATEMENTS:
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('current', '')")
    new_run(connection)
    return connection


def make_missing(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    """Make the tables that a state of an older format lacks."""
    for statement in statements:
        connection.execute(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))


def new_run(connection: sqlite3.Connection) -> str:
    """Begin a run, and make it the current one; return its id."""
    run = secrets.token_hex(6)
    connection.execute("INSERT INTO run (id, started) VALUES (?, ?)", (run, time.time()))
    connection.execute("UPDATE meta SET value = ? WHERE name = 'current'", (run,))
    seal_run(connection, run)
    return run


def seal_run(connection: sqlite3.Connection, run: str) -> None:
    """Write the checksum of a run's row anew, after something was changed in it."""
    row = connection.execute(RUN, (run,)).fetchone()
    connection.execute("UPDATE run SET seal = ? WHERE id = ?", (checksum(row[:-1]), run))


class Tally:
    """How many rows a run has in each table, and the sum of their checksums.

    It is kept in the run's own row, which has a checksum itself, so that a row is missed when a
    damaged file does not show it any more: what is wrong in a row says its own checksum, but not
    that there was one. All changes of these tables go through it; it follows them row by row, and
    never reads the rest.

    Args:
        connection: in a transaction, if something is to be changed.
        run: whose rows.

    Attributes:
        known: for each table, the number and the sum.
    """

    def __init__(self, connection: sqlite3.Connection, run: str) -> None:
        self._connection = connection
        self._run = run
        row = connection.execute("SELECT tally FROM run WHERE id = ?", (run,)).fetchone()
        self.known: dict[str, list[int]] = {table: [0, 0] for table in _KEYS} | loads(row[0] if row else "{}")

    def put(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write sealed rows; each takes the place of the one with the same key, if there is one."""
        names = _KEYS[table]
        same = " AND ".join(f"{name} = ?" for name in names)
        if not rows:
            return
        new = {row[: len(names)]: row for row in rows}
        for key, row in new.items():
            self.remove(table, same, *key)
            _count(self.known[table], 1, row[-1])
        marks = ", ".join("?" * len(rows[0]))
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", new.values())  # noqa: S608

    def remove(self, table: str, where: str, *values: Any) -> int:
        """Delete rows; return how many there were."""
        seals = self._connection.execute(f"SELECT seal FROM {table} WHERE {where}", values).fetchall()  # noqa: S608
        if seals:
            self._connection.execute(f"DELETE FROM {table} WHERE {where}", values)  # noqa: S608
        for (seal,) in seals:
            _count(self.known[table], -1, seal)
        return len(seals)

    def save(self) -> None:
        """Write it into the run's row, which is to be sealed after that."""
        self._connection.execute("UPDATE run SET tally = ? WHERE id = ?", (json.dumps(self.known), self._run))


def lost_rows(connection: sqlite3.Connection) -> str | None:
    """Return a table that does not hold the rows that were written to it, whatever run they belong
    to; None if each does.
    """
    tallies = {run: Tally(connection, run).known for (run,) in connection.execute("SELECT id FROM run").fetchall()}
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in _KEYS:
        if table not in found and not any(tally[table][0] for tally in tallies.values()):
            continue  # a state of an older format, whose runs have no such rows
        there: dict[str, list[int]] = defaultdict(lambda: [0, 0], {run: [0, 0] for run in tallies})
        for run, seal in connection.execute(f"SELECT run, seal FROM {table}"):  # noqa: S608
            found_here = there[run]
            found_here[0] += 1
            found_here[1] += int.from_bytes(seal)
        summed = {run: [number, seals % SUM_LIMIT] for run, (number, seals) in there.items()}
        if summed != {run: tally[table] for run, tally in tallies.items()}:
            return table
    return None


def _count(known: list[int], number: int, seal: bytes) -> None:
    known[0] += number
    known[1] = (known[1] + number * int.from_bytes(seal)) % SUM_LIMIT


def as_text(attempts: Sequence[Attempt]) -> str:
    """Return attempts as they are stored."""
    return json.dumps(attempts) if attempts else "[]"  # nearly always, and a third of the time of writing the row


def sealed(*values: Any) -> tuple[Any, ...]:
    """Return a row with its checksum: SQLite has none, and a changed byte inside a value would be
    believed.
    """
    return (*values, checksum(values))


def checksum(values: Sequence[Any]) -> bytes:
    """Return the checksum of a row's values."""
    digest = blake2b(digest_size=8)
    said = ""  # of what comes before the next bytes: each call of the digest takes as long as a value
    for value in values:
        kind = type(value)
        if kind is bytes:
            digest.update(f"{said}b{len(value)}:".encode("utf-8", "surrogatepass"))
            digest.update(value)
            said = ""
        else:
            text = repr(value)
            size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            said = f"{said}{kind.__name__[0]}{size}:{text}"
    digest.update(said.encode("utf-8", "surrogatepass"))
    return digest.digest()


def failed_job(
    _run: str, number: int, key: str | None, job: str, payload: bytes | None, _: str, attempts: str
) -> FailedJob:
    """Return a row of the table, without its checksum, as a value.

    Raises:
        ValueError: it has no attempts, or not such as were written.
    """
    tried = attempts_of(attempts)
    if not tried:
        raise ValueError("a failed job in it has no attempt")
    return FailedJob(number, key, job, payload, tried)


def printable(text: str) -> str:
    """Return a text with its lone surrogates, which SQLite refuses, written out."""
    return text.encode("utf-8", "backslashreplace").decode()
