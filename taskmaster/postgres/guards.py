"""Guards for PostgreSQL: hold a run back while the database suffers.

Made by the user's module and by ``--guard``; called by the master's throttle, each in a thread of
its own and over a connection of its own, which is opened when the guard is called first and again
when it was lost. Making one costs nothing and imports no driver.

Guarantee: what cannot be read, or may be only a part of the truth because of missing rights, is
unknown, and the run waits. No password is ever shown.
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

# On a standby: how old the newest transaction is that it has replayed; nothing, if it is connected
# and has replayed all that it has received. With it, for how long it has heard nothing from the
# primary, where even a quiet one would have answered the question that is asked after half of
# wal_receiver_timeout.
# On a primary: of the standbys that are connected, what the slowest one needs to replay; for how
# long the one that is silent for longest has answered nothing although it has something to answer;
# and who they are. The column reply_time is there from PostgreSQL 12 on. What replays nothing is no
# standby: a backup, or pg_receivewal. A logical subscriber answers when it likes, and one that
# copies a table (pg_SUBSCRIPTION_sync_TABLE_SYSTEM) goes when it has.
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

# That a standby may take to answer; in quiet times its last answer may be ten seconds old.
STANDBY_SILENCE_SECONDS = 1.0

UNTRACKED = "the server does not say what its sessions do: set track_activities = on"


def replication_lag(limit: float | str, dsn: str) -> Guard:
    """Wait while a standby is more than ``limit`` behind its primary.

    Args:
        limit: seconds, or a text like ``"5s"``.
        dsn: the standby, which knows best; or a primary, which is asked for the slowest of its
            standbys. A primary that has no standby connected does not know: the run waits, as it
            does for one that has stopped answering, or was connected during this run and is gone.

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
        sql: gives the number, as the first column of its first row.
        below: the limit, above 0.
        dsn: the database.
        what: what it is a number of, for people; the statement itself if it is not said.

    Example::

        query("SELECT count(*) FROM outbox", below=10_000, dsn="dbname=blog", what="outbox")
    """
    return Guard(GuardStatement(dsn, sql, first), below, what or " ".join(sql.split())[:60], strict=True)


class _Lag:
    """What a row of ``LAG`` comes to, and which standbys were seen before."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def seems_silent(self, row: Sequence[Any]) -> bool:
        """Return whether a standby has not answered for long; it may just have got something."""
        return not row[0] and row[7] > STANDBY_SILENCE_SECONDS

    def __call__(self, row: Sequence[Any]) -> Any:
        """Return the seconds.

        Raises:
            Unknown: nobody can tell.
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
