"""The connection of a source: runs one statement at a time, and tries it again until it succeeds.

A source uses it from one thread. Each statement is a short read-only transaction of its own:
between two of them, no transaction, cursor or prepared statement is left on the server, so that a
connection pooler may be in between. Errors that pass by themselves (a lost connection, a server
that restarts, a standby that is behind) are waited out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from taskmaster.errors import SourceError, UsageError
from taskmaster.postgres import dead_links
from taskmaster.postgres.dsn import check, complete
from taskmaster.postgres.values import read_exactly
from taskmaster.redaction import without_password
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_errors import StatementRefused, is_final, is_refused, said
from taskmaster.sources.database_retry import TooSlow, is_cancelled, passes, persistently, sqlstate
from taskmaster.units import show_count

__all__ = ["Connect", "Dsn", "SourceConnection", "Unreadable", "connector", "durations"]

logger = clean_logger(__name__)

Connect = Callable[[], Any]
Dsn = str | Connect

# tcp_user_timeout: how long sent data may stay unacknowledged, however long the answer takes. Not
# for workers: Linux also counts the time in which a healthy server has no room for the data of a
# COPY, whose first row may wait for a lock. Their connections are watched by ``dead_links``.
UNACKNOWLEDGED_MILLISECONDS = 30_000
# A single statement sees the same rows at every isolation level; and a standby refuses the level
# SERIALIZABLE, which may be the default of the database.
READ_COMMITTED = "ISOLATION LEVEL READ COMMITTED"
DEFAULT_NAME = "taskmaster/master"  # application_name, unless the DSN has one


# A server's position in the write-ahead log, as a number; on a standby, that of what it has
# replayed.
POSITION = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn
"""


class Unreadable(SourceError):
    """The driver cannot turn the server's answer into Python values."""


class StandbyBehind(Exception):
    """A standby has not yet replayed rows that the run has seen on another server."""


def durations(**given: float | None) -> None:
    """Check that each argument is a number of seconds, or None.

    Raises:
        UsageError: one is not; the message has its name and value.
    """
    for name, value in given.items():
        if value is not None and (type(value) not in (int, float) or not 0 <= value < math.inf):
            raise UsageError(f"{name}={value!r}: give a number of seconds; convert text with float().")


def connector(dsn: Dsn, **defaults: int) -> Connect:
    """Return a function that opens a connection: the user's own, or one that calls psycopg2.

    Args:
        dsn: the user's function, or libpq's connection string or URL.
        defaults: options of libpq for a DSN that does not have them.
    """
    if callable(dsn):
        return dsn
    if not isinstance(dsn, str):
        # The message names the type alone: the value may have a password in it.
        raise UsageError(
            f"A {type(dsn).__name__} is not a DSN: give a text like 'host=... dbname=...' or a URL, or a function that "
            "returns a connection."
        )

    def connect() -> Any:
        import psycopg2

        check("What connects to PostgreSQL", dsn)
        return psycopg2.connect(complete(dsn, fallback_application_name=DEFAULT_NAME, **defaults))

    return connect


class SourceConnection:
    """A connection for reading, opened at the first statement and again after it was lost.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a DB-API connection.
        patience: seconds for which a statement is tried again after errors that pass by themselves.
        timeout: seconds that a statement may take; 0: no limit.
        sleep: function that waits for seconds.
        clock: function that returns monotonic seconds.
    """

    def __init__(
        self,
        dsn: Dsn,
        patience: float = 3600.0,
        timeout: float = 60.0,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn = dsn
        self._connect = connector(dsn, tcp_user_timeout=UNACKNOWLEDGED_MILLISECONDS)
        self._was_connected = False
        self._was_lost = False
        self._answered = False  # whether the server has answered, so that an error is the driver's
        self._position = Decimal(0)  # highest position in the write-ahead log that was seen
        self._patience = patience
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock
        self._connection: Any = None

    def fetch(
        self, sql: str, values: Sequence[Any] = (), *, may_be_slow: bool = True, local: str = ""
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in a transaction of its own.

        Args:
            sql: the query, with ``%s`` for each value.
            values: the values.
            may_be_slow: whether a statement that takes too long is tried again unchanged: it may
                have waited for a lock.
            local: settings of the transaction, as SQL.

        Raises:
            TooSlow: the statement took longer than it may, and ``may_be_slow`` is false.
            Unreadable: the driver cannot turn a value into one of Python's.
            StatementRefused: the statement is wrong or not allowed.
            UsageError: the server refuses the user or the password.
            SourceError: the statement failed for longer than ``patience``.
            Exception: an error of the user's own function.
        """
        return persistently(
            lambda: self._fetch(sql, values, local),
            self._give_up,
            lambda exc: self._explained(exc, sql, may_be_slow=may_be_slow),
            patience=self._patience,
            sleep=self._sleep,
            clock=self._clock,
        )

    def written_out(self, sql: str, values: Sequence[Any]) -> str:
        """Return a part of a statement with its values filled in, for a person to copy.

        Args:
            sql: SQL with ``%s`` for each value, and ``%%`` for a percent sign.
            values: the values.
        """
        if self._connection is None:
            self.fetch("SELECT")
        with self._connection.cursor() as cursor:
            if hasattr(cursor, "mogrify"):
                found = cursor.mogrify(sql, tuple(values))
                return found.decode() if isinstance(found, bytes) else str(found)
        # This driver sends statement and values apart: the server quotes the values.
        return sql % tuple(self.fetch("SELECT quote_nullable(%s::text)", (value,))[0][0] for value in values)

    def note_position(self) -> None:
        """Note the server's position in its log. From now on, a standby that is behind it is waited
        for: it would lack rows without an error.
        """
        with suppress(Exception):  # a connection that is lost is opened again when it is needed
            self._check_position()

    def close(self) -> None:
        """Close the connection; the next statement opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            dead_links.forget(connection)
            try:
                connection.close()
            except Exception:
                logger.debug("the connection could not be closed", exc_info=True)

    def _give_up(self) -> None:
        """Close the connection after an error; note whether it had been lost before."""
        self._was_lost = bool(getattr(self._connection, "closed", False))
        self.close()

    def _explained(self, exc: Exception, sql: str, *, may_be_slow: bool) -> str:
        """Return a description of an error that passes by itself; raise for any other.

        Raises:
            TooSlow: the statement took longer than it may.
            Unreadable: the driver cannot turn a value into one of Python's.
            StatementRefused: the statement is wrong or not allowed.
            UsageError: the server refuses the user or the password.
            Exception: the error itself, if it comes neither from the server nor the connection.
        """
        why = without_password(said(exc), self._dsn if isinstance(self._dsn, str) else "")
        if isinstance(exc, StandbyBehind):
            return why
        if is_cancelled(exc):
            if not may_be_slow:
                raise TooSlow(f"{why}.") from exc
            return (
                f"{why}: {' '.join(sql.split()):.400}. If it waits for a lock, pg_stat_activity shows it; if there is "
                "much to look at, vacuum the table (dead rows count, too) or raise "
                f"statement_timeout={self._timeout:g}."
            )
        if is_refused(exc):
            raise StatementRefused(sql, why) from exc
        # A server that has accepted the connection before is just being replaced: that passes.
        if is_final(exc):
            if not self._was_connected:
                raise UsageError(f"The server refuses the connection: {why}") from exc
            return why
        if passes(exc) or (self._was_lost and not sqlstate(exc)):
            return why
        if sqlstate(exc) or not self._answered:
            raise exc
        cure = ""
        if isinstance(exc, UnicodeDecodeError):
            cure = (
                " The text is in another encoding than the connection is told: put client_encoding=LATIN1, or "
                "whichever it is in, into the DSN."
            )
        raise Unreadable(
            f"The driver cannot read what the server has answered: {type(exc).__name__}: {why}.{cure}"
        ) from exc

    def _fetch(self, sql: str, values: Sequence[Any], local: str) -> list[tuple[Any, ...]]:
        self._answered = False
        if self._connection is None:
            self._connection = self._connect()
            self._was_connected = True
            # The user's function may have left a transaction open, with settings in it.
            self._connection.commit()
            self._connection.autocommit = True
            if hasattr(self._connection, "prepare_threshold"):
                # psycopg 3: behind a pooler, the next transaction is in another session, which has
                # not prepared the statement.
                self._connection.prepare_threshold = None
            read_exactly(self._connection)
            dead_links.watch(self._connection)
            self._check_position()
        # The server itself ends a statement that takes longer; this cuts a connection through which
        # nothing gets to the server any more.
        within = dead_links.answer_within(self._connection, self._timeout or math.inf)
        with within, self._connection.cursor() as cursor:
            # The settings go in one round trip with BEGIN, and end with the transaction: behind a
            # pooler, the next one may be another client's.
            cursor.execute(
                f"BEGIN READ ONLY, {READ_COMMITTED}; SET LOCAL statement_timeout = {int(1000 * self._timeout)}; "
                "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'; "
                "SET LOCAL extra_float_digits = 3;" + local
            )
            # The empty tuple counts: a driver reads %% as a percent sign only if it is given
            # values.
            cursor.execute(sql, tuple(values))
            self._answered = True
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            self._answered = False
            cursor.execute("COMMIT")
        return rows

    def _check_position(self) -> None:
        """Check that a server has all rows that were seen over earlier connections.

        Raises:
            StandbyBehind: it is a standby, and has not replayed them yet.
            Exception: the connection is lost.
        """
        with self._connection.cursor() as cursor:
            cursor.execute(f"BEGIN READ ONLY, {READ_COMMITTED}")
            try:
                cursor.execute(POSITION)
                in_recovery, found = cursor.fetchone()
            except Exception as exc:
                if passes(exc):
                    raise
                logger.debug("the server does not tell its position in the log: %s", exc)
                found = None
            cursor.execute("ROLLBACK")
        if found is None:
            return
        if in_recovery and found < self._position:
            raise StandbyBehind(
                f"this standby has {show_count(int(self._position - found), 'byte', form=',')} of the log still to "
                "replay, of which the run has seen rows at another server"
            )
        self._position = max(self._position, found)
