"""State files whose checksums are right and whose content no Taskmaster has written."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskmaster.errors import StateRefused
from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.stores.sqlite.rows import Tally, seal_run, sealed
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.runner.control import states_in

TRIED = (Attempt(5.0, "host:1", "ValueError", "bad", "Traceback"),)
DEEP = 20_000
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give the path of a state with a failed and a parked job."""
    path = tmp_path / "s.tmstate"
    store = SqliteStore.open(path, RunIdentity.named("mod"), "mod")
    store.write(
        Checkpoint(
            "10", settled=9, failures=1,
            park=[ParkedJob(1, "5", b"p", b"\0" * 16, TRIED)], failed=[FailedJob(1, "6", "6", b"p", TRIED)],
        )
    )  # fmt: skip
    store.close()
    return path


def forge(path: Path, change: Callable[[sqlite3.Connection, str], Any]) -> None:
    """Change a state file, and make the checksum of its run right again."""
    connection = sqlite3.connect(path, isolation_level=None)
    run = connection.execute("SELECT value FROM meta WHERE name = 'current'").fetchone()[0]
    change(connection, run)
    if connection.execute("SELECT type FROM sqlite_schema WHERE name = 'run'").fetchone() == ("table",):
        seal_run(connection, run)
    connection.close()


def looked_at(path: Path) -> None:
    """Open a state as all commands together do, and read all that is in it."""
    store = SqliteStore.open_existing(path)
    try:
        store.belonging().describe()
        store.load()
        store.runs()
        store.failed()
        store.kinds(3)
    finally:
        store.close()


def run_with(column: str, value: Any) -> Callable[[sqlite3.Connection, str], Any]:
    return lambda connection, run: connection.execute(f"UPDATE run SET {column} = ? WHERE id = ?", (value, run))


def row_with(table: str, **values: Any) -> Callable[[sqlite3.Connection, str], Any]:
    """Write a row of a table anew with other values, sealed and counted."""

    def change(connection: sqlite3.Connection, run: str) -> None:
        cursor = connection.execute(f"SELECT * FROM {table} WHERE run = ?", (run,))
        row = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True)) | values
        tally = Tally(connection, run)
        tally.put(table, [sealed(*list(row.values())[:-1])])
        tally.save()

    return change


def attempts(*first: Any) -> str:
    return json.dumps([[*first, *TRIED[0][len(first) :]]])


def endless_view(table: str) -> Callable[[sqlite3.Connection, str], Any]:
    """Put a view that never ends in the place of a table."""

    def change(connection: sqlite3.Connection, _: str) -> None:
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
        connection.execute(f"ALTER TABLE {table} RENAME TO sqlitf_{table}")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"CREATE VIEW {table} AS {ENDLESS} SELECT {columns} FROM sqlitf_{table}, n")

    return change


def sql(*statements: str) -> Callable[[sqlite3.Connection, str], Any]:
    return lambda connection, _: [connection.execute(statement) for statement in statements]


HOSTILE = {
    **{f"an endless view for {table}": endless_view(table) for table in ("run", "piece", "parked", "failed", "meta")},
    "a view more": sql(f"CREATE VIEW v AS {ENDLESS} SELECT x FROM n"),
    "a trigger": sql("CREATE TRIGGER t AFTER UPDATE ON run BEGIN DELETE FROM failed; END"),
    "a table more": sql("CREATE TABLE more (x)"),
    "a virtual table": sql("CREATE VIRTUAL TABLE more USING fts5(x)"),
    "an index less": sql("DROP INDEX failed_type"),
    "a column more": sql("ALTER TABLE failed ADD COLUMN more GENERATED ALWAYS AS (hex(zeroblob(99))) VIRTUAL"),
    "a start at no time": run_with("started", 1e300),
    "an infinite start": run_with("started", float("inf")),
    "an end long before all time": run_with("finished", -1e300),
    "a text as start": run_with("started", "yesterday"),
    "an infinite duration": run_with("seconds", float("inf")),
    "less than nothing settled": run_with("settled", -1),
    "a text as counter": run_with("failures", "many"),
    "half a job": run_with("skipped", 0.5),
    "a deep watermark": run_with("mark", '{"tuple":[' * DEEP + "1" + "]}" * DEEP),
    "a deep list as watermark": run_with("mark", "[" * DEEP + "]" * DEEP),
    "a watermark that is no key": run_with("mark", '{"datetime":[]}'),
    "a watermark of bytes": run_with("mark", b"10"),
    "a zone that is a path": run_with("mark", '{"datetime":["2024-01-01T00:00:00",0,"."]}'),
    "a number for a UUID": run_with("bound", '{"UUID":5}'),
    "a text as edge": run_with("edge", "edge"),
    "a deep tally": run_with("tally", "[" * DEEP + "]" * DEEP),
    "a tally of NaN": run_with("tally", '{"failed":[1,NaN]}'),
    "a failed job without attempts": row_with("failed", attempts="[]"),
    "an attempt at NaN": row_with("failed", attempts=attempts(float("nan"))),
    "an attempt at infinity": row_with("failed", attempts=attempts(float("inf"))),
    "an attempt at no time": row_with("failed", attempts=attempts(1e300)),
    "an attempt without end": row_with("failed", attempts='[[1, "", "", ""]]'),
    "a number for a name": row_with("failed", attempts=attempts(1.0, 5)),
    "an object as attempts": row_with("failed", attempts='{"a": 1}'),
    "deep attempts": row_with("failed", attempts="[" * DEEP + "]" * DEEP),
    "no text as attempts": row_with("failed", attempts="no text"),
    "a deep key": row_with("failed", key='{"list":[' * DEEP + "1" + "]}" * DEEP),
    "a very long description": row_with("failed", job="J" * 3_000_000),
    "bytes as description": row_with("failed", job=b"J"),
    "a text as payload": row_with("failed", payload="text"),
    "a parked job without a fingerprint": row_with("parked", print=b""),
    "a parked job with a text as payload": row_with("parked", payload="text"),
    "a parked job with deep attempts": row_with("parked", attempts="[" * DEEP + "]" * DEEP),
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("how", HOSTILE)
def test_what_no_taskmaster_has_written_is_refused(state: Path, how: str) -> None:
    """With a sentence, at once, and never by an error of Python's own: exit 5."""
    looked_at(state)
    forge(state, HOSTILE[how])

    with pytest.raises(StateRefused, match="is damaged") as refused:
        looked_at(state)
    assert refused.value.exit_code == 5
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("how", ["analysed", "vacuumed"])
def test_what_sqlite_itself_adds_is_no_fault(state: Path, how: str) -> None:
    """A database administrator may have it analysed or made smaller."""
    forge(state, sql("ANALYZE" if how == "analysed" else "VACUUM"))

    looked_at(state)


@pytest.mark.parametrize("belongs", ["[" * DEEP + "]" * DEEP, b"bytes", 5, "no JSON", '{"what": 1}'])
def test_what_a_state_belongs_to_is_read_with_care(state: Path, belongs: Any) -> None:
    """A list of states goes on with the next one; a run is refused."""
    connection = sqlite3.connect(state, isolation_level=None)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('belongs', ?)", (belongs,))
    connection.close()

    (line,) = states_in(state.parent)
    assert line.run is None
    assert line.remark
    with pytest.raises(StateRefused, match="is damaged"):
        SqliteStore.open(state, RunIdentity.named("mod"), "mod")


def test_a_log_with_a_text_that_is_none_is_refused(state: Path, tmp_path: Path) -> None:
    """Python's error about it has no code of SQLite's."""
    copied = tmp_path / "copied"
    copied.mkdir()
    with closing(sqlite3.connect(state, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE name = 'current'")
        for part in tmp_path.glob("s.tmstate*"):
            shutil.copy(part, copied)

    assert (copied / "s.tmstate-wal").stat().st_size > 0
    with pytest.raises(StateRefused, match=re.escape(str(copied / state.name))):
        SqliteStore.open(copied / state.name, RunIdentity.named("mod"), "mod")
