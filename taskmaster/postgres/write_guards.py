"""Guards for what a writing run does to a PostgreSQL server: the write-ahead log, forced
checkpoints, dead rows, and the free space on its disk.

Users get them from ``taskmaster.postgres``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from taskmaster.guards import Floor, Guard, Unknown
from taskmaster.guards.guard import BYTES, Unknowable
from taskmaster.guards.host import free_space
from taskmaster.postgres.guard_statement import GRANT, GuardStatement
from taskmaster.units import bytes_of, fraction_of, seconds_of

__all__ = ["autovacuum_running", "checkpoints_forced", "dead_tuples", "disk_free", "wal_rate"]

WAL_SECONDS = 5.0  # over which the rate of the log is averaged: just after a checkpoint, whole pages are logged
VERSION_OF_CHECKPOINTER = 170000  # server version from which pg_stat_checkpointer counts what pg_stat_bgwriter did

WAL = """
SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn,
       extract(epoch FROM clock_timestamp())
"""
CHECKPOINTS = """
SELECT pg_is_in_recovery(), {column}, extract(epoch FROM clock_timestamp()) FROM {view}
"""
# The table with its partitions and children; VACUUM adds the TOAST tables of their long values.
TREE = """
WITH RECURSIVE tree(relid) AS (
    SELECT to_regclass(%(table)s)::oid
    UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.relid
)
"""
VACUUM = f"""
{TREE}, whole AS (
    SELECT relid FROM tree
    UNION SELECT reltoastrelid FROM pg_class JOIN tree ON pg_class.oid = tree.relid WHERE reltoastrelid <> 0
)
SELECT to_regclass(%(table)s) IS NOT NULL,
       count(*) FILTER (WHERE relid IN (SELECT relid FROM whole) AND backend_type = 'autovacuum worker'),
       count(*) FILTER (WHERE relid IS NULL), pg_is_in_recovery()
  FROM pg_stat_progress_vacuum LEFT JOIN pg_stat_activity USING (pid)
 WHERE pg_stat_progress_vacuum.datname = current_database()
"""
DEAD = f"""
{TREE}
SELECT to_regclass(%(table)s) IS NOT NULL, current_setting('track_counts')::bool,
       coalesce(sum(n_dead_tup), 0), coalesce(sum(n_live_tup), 0), pg_is_in_recovery()
  FROM pg_stat_all_tables JOIN tree USING (relid)
"""
# PostgreSQL has no function for the free space on a disk: the server is made to run df (POSIX).
DISK = """
SET LOCAL transaction_read_only = off;
CREATE TEMPORARY TABLE taskmaster_disk (line text) ON COMMIT DROP;
DO $taskmaster$
DECLARE directory text;
BEGIN
    SELECT coalesce(nullif(pg_tablespace_location(oid), ''), current_setting('data_directory'))
      INTO directory FROM pg_tablespace WHERE spcname = %(tablespace)s;
    IF directory IS NOT NULL THEN
        EXECUTE format(
            $copy$COPY taskmaster_disk FROM PROGRAM %%L (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')$copy$,
            'df -Pk ''' || replace(directory, '''', '''\\''''') || '''');
    END IF;
END
$taskmaster$;
SELECT EXISTS (SELECT FROM pg_tablespace WHERE spcname = %(tablespace)s),
       (SELECT array_agg(substring(line FROM '\\s(\\d+)\\s+\\d+\\s+-?\\d+\\s+\\d+%%')) FROM taskmaster_disk),
       (SELECT array_agg(substring(line FROM '\\s\\d+\\s+\\d+\\s+(-?\\d+)\\s+\\d+%%')) FROM taskmaster_disk)
"""


def wal_rate(limit: int | str, dsn: str) -> Guard:
    """Wait while the server writes more than ``limit`` bytes a second into its write-ahead log,
    with which standbys and archives have to keep up.

    The rate is the mean of about five seconds. The writes of other programs count, too.

    Args:
        limit: bytes a second, or a text like ``"20M"``.
        dsn: the primary; or a standby, whose received log counts.
    """
    most = bytes_of("the limit of wal_rate", limit)
    return Guard(GuardStatement(dsn, WAL, _WalRate()), most, "written log", f"{BYTES}/s")


def checkpoints_forced(limit: int, dsn: str, *, within: float | str = "10m") -> Guard:
    """Wait while more than ``limit`` checkpoints were forced within a time: because the log reached
    ``max_wal_size``, or by somebody's ``CHECKPOINT``.

    Args:
        limit: checkpoints, 0 or more.
        dsn: the primary. Checkpoints before the guard's first call do not count.
        within: for how long a checkpoint counts, in seconds or as a text like ``"10m"``.
    """
    seconds = seconds_of("within= of checkpoints_forced", within)
    return Guard(GuardStatement(dsn, _checkpoints_sql, _Forced(seconds)), limit, "forced checkpoints")


def autovacuum_running(table: str, dsn: str) -> Guard:
    """Wait while autovacuum cleans up a table, one of its partitions, or their TOAST tables.

    Args:
        table: its name, with its schema where the search path does not lead to it.
        dsn: the primary.
    """
    statement = GuardStatement(dsn, VACUUM, _vacuums, parameters={"table": table})
    return Guard(statement, 0, f"autovacuum workers on {table}")


def dead_tuples(limit: int | str, table: str, dsn: str) -> Guard:
    """Wait while a table has more than ``limit`` dead rows, which vacuum has not cleaned up yet.

    The number is the server's own estimate, for the table with all partitions.

    Args:
        limit: rows; or a percentage of all rows, dead and alive, as a text like ``"20%"``.
        table: its name, with its schema where the search path does not lead to it.
        dsn: the primary.
    """
    parameters = {"table": table}
    if isinstance(limit, str):
        percent = 100 * fraction_of("the limit of dead_tuples", limit, "20%")
        return Guard(
            GuardStatement(dsn, DEAD, _dead_percent, parameters=parameters), percent, f"dead rows of {table}", "%"
        )
    return Guard(GuardStatement(dsn, DEAD, _dead, parameters=parameters), limit, f"dead rows of {table}")


def disk_free(least: int | str, dsn: str, *, tablespace: str = "pg_default") -> Floor:
    """Wait while less than ``least`` is free on the disk of a server's tablespace.

    The server runs ``df``: the guard's user needs ``GRANT pg_execute_server_program`` and
    ``GRANT pg_monitor``. Where the master runs on the server's machine,
    ``taskmaster.guards.disk_free`` needs neither.

    Args:
        least: bytes, or a text like ``"20G"``; or a percentage of the disk like ``"10%"``.
        dsn: the primary.
        tablespace: the tablespace whose disk is measured.
    """
    statement = GuardStatement(dsn, DISK, _disk, parameters={"tablespace": tablespace}, on_denial=DISK_GRANT)
    return free_space(f"free space of {tablespace}", least, statement)


DISK_GRANT = (
    "the guard's user may not have the server run df: GRANT pg_execute_server_program, pg_monitor TO that user, or use "
    "taskmaster.guards.disk_free on the server's machine"
)


class _WalRate:
    """Bytes a second, computed from several readings of the log's end."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, float]] = deque()  # moment on the server's clock, and the log's end in bytes

    def __call__(self, row: Sequence[Any]) -> float:
        if row[0] is None:
            raise Unknown("the standby has received nothing")
        written, now = float(row[0]), float(row[1])
        if self._readings and not (self._readings[-1][0] < now and self._readings[-1][1] <= written):
            self._readings.clear()  # another server answers, or its clock was set
        self._readings.append((now, written))
        while len(self._readings) > 2 and now - self._readings[1][0] >= WAL_SECONDS:
            self._readings.popleft()
        since, before = self._readings[0]
        if since == now:
            raise Unknown("the rate is known after the second reading")
        return (written - before) / (now - since)


class _Forced:
    """Forced checkpoints in the last seconds, from several readings of the server's count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._readings: deque[tuple[float, int]] = deque()

    def __call__(self, row: Sequence[Any]) -> int:
        standby, count, now = row[0], int(row[1]), float(row[2])
        _must_be_primary(standby)
        if self._readings and count < self._readings[-1][1]:
            self._readings.clear()  # the statistics were reset
        if not self._readings or count > self._readings[-1][1]:
            self._readings.append((now, count))
        while len(self._readings) > 1 and now - self._readings[1][0] >= self._seconds:
            self._readings.popleft()
        return count - self._readings[0][1]


def _checkpoints_sql(version: int) -> str:
    if version >= VERSION_OF_CHECKPOINTER:
        return CHECKPOINTS.format(column="num_requested", view="pg_stat_checkpointer")
    return CHECKPOINTS.format(column="checkpoints_req", view="pg_stat_bgwriter")


def _vacuums(row: Sequence[Any]) -> Any:
    exists, running, hidden, standby = row
    _must_be_primary(standby)
    _must_exist(exists)
    if hidden:
        raise Unknown(GRANT)
    return running


def _dead(row: Sequence[Any]) -> Any:
    exists, counted, dead, _, standby = row
    _must_be_primary(standby)
    _must_exist(exists)
    if not counted:
        raise Unknown("the server does not count rows: set track_counts = on")
    return dead


def _dead_percent(row: Sequence[Any]) -> float:
    dead, alive = float(_dead(row)), float(row[3])
    return 100.0 * dead / max(1.0, dead + alive)


def _disk(row: Sequence[Any]) -> tuple[int, int]:
    exists, totals, frees = row
    if not exists:
        raise Unknowable("there is no such tablespace")
    found = [(total, free) for total, free in zip(totals or (), frees or (), strict=True) if total and free]
    if not found:
        raise Unknown("the output of df could not be read")
    total, free = found[-1]
    return 1024 * int(total), max(0, 1024 * int(free))


def _must_be_primary(standby: bool) -> None:
    # A standby counts no forced checkpoints, no dead rows and no vacuum.
    if standby:
        raise Unknowable("the server is a standby: give its primary")


def _must_exist(exists: bool) -> None:
    if not exists:
        raise Unknowable("there is no such table")
