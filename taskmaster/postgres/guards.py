"""Guards for PostgreSQL: they hold a run back while the database is overloaded.

The user's module and ``--guard`` make them. The master's throttle calls each in a thread of its
own, over a connection of its own, which is opened at the first call and again after it was lost.
Making a guard costs nothing and imports no driver.

Guarantee: a number that cannot be read, or may be too low because of missing rights, is unknown,
and the run waits. No password is ever shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmaster.guards import Guard, Unknown
from taskmaster.guards.guard import Backlog
from taskmaster.postgres.guard_statement import GRANT, GuardStatement, first
from taskmaster.postgres.write_guards import autovacuum_running, checkpoints_forced, dead_tuples, disk_free, wal_rate
from taskmaster.units import seconds_of

__all__ = [
    "active_connections",
    "autovacuum_running",
    "checkpoints_forced",
    "dead_tuples",
    "disk_free",
    "locks_waiting",
    "long_transactions",
    "query",
    "replication_lag",
    "wal_rate",
]

# On a standby: the age of the newest transaction that it has replayed; 0 if it is connected and has
# replayed all that it has received. With it, the seconds since it last heard from the primary, if
# these are too many: it asks after half of wal_receiver_timeout, which even an idle primary
# answers.
# On a primary, of the standbys that are connected: the highest replay lag; the longest time for
# which one has not answered although log was sent to it; and their names. The column reply_time is
# there from PostgreSQL 12 on. A connection that replays nothing, as of a backup or pg_receivewal,
# is no standby. A logical subscriber answers when it likes, and one that copies a table
# (pg_SUBSCRIPTION_sync_TABLE_SYSTEM) disconnects when it is done.
LAG = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
             AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,
       (SELECT extract(epoch FROM clock_timestamp() - last_msg_receipt_time)
          FROM pg_stat_wal_receiver, pg_settings
         WHERE name = 'wal_receiver_timeout' AND setting::int > 0
           AND extract(epoch FROM clock_timestamp() - last_msg_receipt_time) > setting::int / 2000 + 5),
       count(*) FILTER (WHERE follows),
       count(*) FILTER (WHERE state IS NULL),
       count(*) FILTER (WHERE follows AND state = 'catchup' AND replay_lag IS NULL),
       coalesce(extract(epoch FROM max(replay_lag) FILTER (WHERE follows)), 0),
       coalesce(extract(epoch FROM clock_timestamp() - min((to_jsonb(s) ->> 'reply_time')::timestamptz)
                FILTER (WHERE follows AND NOT logical AND flush_lsn < written)), 0),
       array_agg(application_name || coalesce(' at ' || host(client_addr), ''))
           FILTER (WHERE follows AND application_name !~ '^pg_[0-9]+_sync_[0-9]+_[0-9]+$')
  FROM (SELECT *, state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL AS follows,
               EXISTS (SELECT FROM pg_replication_slots WHERE active_pid = pid AND slot_type = 'logical') AS logical
          FROM pg_stat_replication) s,
       (SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn() END AS written) w
"""
CONNECTIONS = """
SELECT count(*) FILTER (WHERE state = 'active' AND backend_type = 'client backend'),
       count(*) FILTER (WHERE query = '<insufficient privilege>' AND usesysid IS NOT NULL),
       count(*) FILTER (WHERE state = 'disabled' AND backend_type = 'client backend')
  FROM pg_stat_activity WHERE pid <> pg_backend_pid()
"""
TRANSACTIONS = """
SELECT coalesce(extract(epoch FROM clock_timestamp()
                                   - min(xact_start) FILTER (WHERE backend_type = 'client backend')), 0),
       count(*) FILTER (WHERE query = '<insufficient privilege>' AND usesysid IS NOT NULL),
       count(*) FILTER (WHERE state = 'disabled' AND backend_type = 'client backend')
  FROM pg_stat_activity WHERE pid <> pg_backend_pid()
"""
LOCKS = "SELECT count(*) FROM pg_locks WHERE NOT granted"

STANDBY_SILENCE_SECONDS = 1.0  # longest time that a standby may take to answer when log was sent to it

UNTRACKED = "the server does not say what its sessions do: set track_activities = on"


def replication_lag(limit: float | str, dsn: str) -> Guard:
    """Wait while a standby is more than ``limit`` behind its primary.

    Args:
        limit: seconds, or a text like ``"5s"``.
        dsn: the standby, whose answer is the most exact; or a primary, whose slowest standby
            counts. With a primary, the run also waits while no standby is connected, while one does
            not answer, and after one that was connected during this run is gone.

    Example::

        throttle = replication_lag("5s", "host=replica dbname=blog")
    """
    lag = _Lag()
    seconds = seconds_of("the limit of replication_lag", limit)
    return Backlog(GuardStatement(dsn, LAG, lag, lag.seems_silent), seconds, "replication lag", "s")


def active_connections(limit: int, dsn: str) -> Guard:
    """Wait while more than ``limit`` connections to the server are running a statement."""
    return Guard(GuardStatement(dsn, CONNECTIONS, _seen), limit, "active connections")


def long_transactions(limit: float | str, dsn: str) -> Guard:
    """Wait while a client's transaction has been open for longer than ``limit``, in seconds or as a
    text like ``"60s"``.
    """
    seconds = seconds_of("the limit of long_transactions", limit)
    return Guard(GuardStatement(dsn, TRANSACTIONS, _seen), seconds, "oldest transaction", "s")


def locks_waiting(limit: int, dsn: str) -> Guard:
    """Wait while more than ``limit`` sessions of the server wait for a lock."""
    return Guard(GuardStatement(dsn, LOCKS, first), limit, "waiting locks")


def query(sql: str, *, below: float, dsn: str, what: str = "") -> Guard:
    """Wait unless a number is below a limit.

    Args:
        sql: a statement with the number in the first column of its first row.
        below: the limit, above 0.
        dsn: the database.
        what: the number's name in messages; by default the statement itself.

    Example::

        query("SELECT count(*) FROM outbox", below=10_000, dsn="dbname=blog", what="outbox")
    """
    return Guard(GuardStatement(dsn, sql, first), below, what or " ".join(sql.split())[:60], strict=True)


class _Lag:
    """The lag in seconds from a row of ``LAG``, with the standbys that were seen before."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def seems_silent(self, row: Sequence[Any]) -> bool:
        """Return whether a standby has not answered for long: it may just have received something,
        so that it is worth a second look.
        """
        return not row[0] and row[7] > STANDBY_SILENCE_SECONDS

    def __call__(self, row: Sequence[Any]) -> Any:
        """Return the seconds.

        Raises:
            Unknown: the row does not tell them.
        """
        is_standby, behind, unheard, standbys, hidden, unmeasured, slowest, silent, names = row
        if is_standby:
            if unheard is not None:
                raise Unknown(f"the standby has heard nothing from its primary for {unheard:.0f} s")
            if behind is None:
                raise Unknown("the standby has not replayed a transaction since it was started")
            return behind
        if hidden:
            raise Unknown(GRANT)
        gone = self._known.difference(names or ())
        self._known.update(names or ())
        if gone:
            raise Unknown(f"a standby that was connected is gone: {', '.join(sorted(gone))}")
        if not standbys:
            raise Unknown("the server is a primary, and no standby is connected to it")
        if silent > STANDBY_SILENCE_SECONDS:
            raise Unknown(f"a standby has not answered for {silent:.0f} s")
        if unmeasured:
            raise Unknown("a standby that was away is catching up")
        return slowest


def _seen(row: Sequence[Any]) -> Any:
    value, hidden, untracked = row
    if hidden:
        raise Unknown(GRANT)
    if untracked:
        raise Unknown(UNTRACKED)
    return value
