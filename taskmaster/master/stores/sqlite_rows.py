"""The tables of a state file, and their rows as values.

Called by the SQLite store.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from taskmaster.master.stores import Attempt, FailedJob

__all__ = [
    "BROKEN",
    "FAILED",
    "RUN",
    "as_text",
    "attempts_of",
    "failed_job",
    "fill",
    "new_run",
    "printable",
    "seal_run",
    "sealed",
]

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE run (
    id TEXT PRIMARY KEY, started REAL NOT NULL, finished REAL, mark TEXT, bound TEXT, edge BLOB NOT NULL DEFAULT x'',
    waiting BLOB NOT NULL DEFAULT x'', settled INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, seal BLOB NOT NULL DEFAULT x'') WITHOUT ROWID;
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
FAILED = "SELECT run, id, key, job, payload, type, attempts, seal FROM failed"
RUN = "SELECT id, started, finished, mark, bound, edge, waiting, settled, failures, skipped, seconds, seal FROM run"
BROKEN = "Restore it from a copy, or begin from zero with another file: --state=PATH (or move this one away)."


def fill(connection: sqlite3.Connection, identity: str) -> None:
    """Make the tables, with a first run."""
    for statement in SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('identity', ?), ('current', '')", (identity,))
    new_run(connection)


def new_run(connection: sqlite3.Connection) -> str:
    """Begin a run, and make it the current one; gives its id."""
    run = secrets.token_hex(6)
    connection.execute("INSERT INTO run (id, started) VALUES (?, ?)", (run, time.time()))
    connection.execute("UPDATE meta SET value = ? WHERE name = 'current'", (run,))
    seal_run(connection, run)
    return run


def seal_run(connection: sqlite3.Connection, run: str) -> None:
    """The checksum of a run's row, whatever has just been changed in it."""
    row = connection.execute(f"{RUN} WHERE id = ?", (run,)).fetchone()
    connection.execute("UPDATE run SET seal = ? WHERE id = ?", (sealed(*row[:-1])[-1], run))


def as_text(attempts: Sequence[Attempt]) -> str:
    """Attempts as they are stored."""
    return json.dumps(attempts)


def attempts_of(text: str) -> tuple[Attempt, ...]:
    """What ``as_text`` was given."""
    return tuple(Attempt(*values) for values in json.loads(text))


def sealed(*values: Any) -> tuple[Any, ...]:
    """A row with its checksum: SQLite has none, and a changed byte inside a value would be believed."""
    digest = blake2b(digest_size=8)
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        digest.update(b"%c%d:" % (type(value).__name__[0].encode(), len(data)) + data)
    return (*values, digest.digest())


def failed_job(
    _run: str, number: int, key: str | None, job: str, payload: bytes | None, _: str, attempts: str
) -> FailedJob:
    """A row of the table, without its checksum, as a value."""
    return FailedJob(number, key, job, payload, attempts_of(attempts))


def printable(text: str) -> str:
    """Lone surrogates, which SQLite refuses, are written out."""
    return text.encode("utf-8", "backslashreplace").decode()
