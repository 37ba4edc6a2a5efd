"""One statement at a time, tried again until it goes through.

For the sources of this package, each in one thread. A page or a border is a short read-only
transaction of its own: nothing stays open between two of them, no cursor and no prepared statement
lives on the server, and a connection pooler may stand between. What passes by itself (a lost
connection, a server that restarts, a standby that is in the way) is waited for.
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

# How long what was sent may be without an acknowledgement; how long the answer takes does not
# matter. Not for workers: Linux counts it also while a server that is well has no room for the data
# of a COPY, whose first row may wait for a lock. See taskmaster.postgres.dead_links for theirs.
UNACKNOWLEDGED_MILLISECONDS = 30_000
# One statement sees the same in any; and a standby refuses a serializable one, which may be the
# default of its database.
READ_COMMITTED = "ISOLATION LEVEL READ COMMITTED"
DEFAULT_NAME = "taskmaster/master"  # of a connection, where the DSN gives it none


# How far a server is in what was written; a standby, in what it has replayed.
POSITION = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn
"""


class Unreadable(SourceError):
    """The driver cannot turn what the server has answered into values of Python."""


class StandbyBehind(Exception):
    """A standby has not replayed what was there when the run began."""


def durations(**given: float | None) -> None:
    """Check that what was given under these names is a number of seconds, or None.

    Raises:
        UsageError: names it, and the value.
    """
    for name, value in given.items():
        if value is not None and (type(value) not in (int, float) or not 0 <= value < math.inf):
            raise UsageError(f"{name}={value!r}: give a number of seconds; convert text with float().")


def connector(dsn: Dsn, **defaults: int) -> Connect:
    """Return what opens a connection: the user's own function, or psycopg2 with a DSN.

    Args:
        dsn: the function, or libpq's connection string or URL.
        defaults: options of libpq's where the DSN says nothing of them.
    """
    if callable(dsn):
        return dsn
    if not isinstance(dsn, str):
        # Not what it is: there may be a password in it.
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
    """A connection for reading, opened when it is needed and whenever it was lost.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a DB-API connection.
        patience: seconds for which what passes by itself is tried again.
        timeout: seconds that a statement may take; 0: as long as it likes.
        sleep: waits.
        clock: monotonic seconds.
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
        self._answered = False  # the server has; what goes wrong now is the driver's
        self._position = Decimal(0)  # how far the server was, at least, of whose rows is spoken
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
            sql: with ``%s`` for each value.
            values: for these.
            may_be_slow: a statement that takes too long is tried again as it is: it may have waited
                for a lock.
            local: settings of the transaction, as SQL.

        Raises:
            TooSlow: the statement took longer than it may, and is not to be tried again.
            Unreadable: the driver cannot turn a value into one of Python's.
            StatementRefused: the statement is wrong or not allowed.
            UsageError: the server lets nobody in under that name.
            SourceError: it failed again and again, for longer than ``patience``.
            Exception: whatever the user's own function raises.
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
        """Return a part of a statement with its values in it, as a person can give it to the
        server.

        Args:
            sql: with ``%s`` for each value, and ``%%`` for a percent sign.
            values: for these.
        """
        if self._connection is None:
            self.fetch("SELECT")
        with self._connection.cursor() as cursor:
            if hasattr(cursor, "mogrify"):
                found = cursor.mogrify(sql, tuple(values))
                return found.decode() if isinstance(found, bytes) else str(found)
        # A driver that leaves it to the server to bring them together.
        return sql % tuple(self.fetch("SELECT quote_nullable(%s::text)", (value,))[0][0] for value in values)

    def note_position(self) -> None:
        """Note how far the server is: a standby that is not as far is waited for from now on, as it
        would hide rows without a word.
        """
        with suppress(Exception):  # a connection that is lost is opened again when it is needed
            self._check_position()

    def close(self) -> None:
        """Give the connection up; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            dead_links.forget(connection)
            try:
                connection.close()
            except Exception:
                logger.debug("the connection could not be closed", exc_info=True)

    def _give_up(self) -> None:
        """Close the connection after an error; note whether it was lost already."""
        self._was_lost = bool(getattr(self._connection, "closed", False))
        self.close()

    def _explained(self, exc: Exception, sql: str, *, may_be_slow: bool) -> str:
        """Return what has happened, if it passes by itself.

        Raises:
            TooSlow: the statement took longer than it may.
            Unreadable: the driver cannot turn a value into one of Python's.
            UsageError: somebody has to mend the statement, or how the server is reached.
            Exception: what it was, if that is neither the server's nor the connection's.
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
        # Once it has let us in, such an answer is a server's that is just being replaced.
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
            # The user's function may have left a transaction open in which it has set something.
            self._connection.commit()
            self._connection.autocommit = True
            if hasattr(self._connection, "prepare_threshold"):
                # psycopg 3: behind a pooler, the next transaction is in another session, which has
                # not prepared the statement.
                self._connection.prepare_threshold = None
            read_exactly(self._connection)
            dead_links.watch(self._connection)
            self._check_position()
        # The server itself ends what takes longer, unless nothing comes through to it.
        within = dead_links.answer_within(self._connection, self._timeout or math.inf)
        with within, self._connection.cursor() as cursor:
            # In one round trip, and gone with the transaction: behind a pooler, the next one is
            # somebody else's.
            cursor.execute(
                f"BEGIN READ ONLY, {READ_COMMITTED}; SET LOCAL statement_timeout = {int(1000 * self._timeout)}; "
                "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'; "
                "SET LOCAL extra_float_digits = 3;" + local
            )
            # With values, also if there are none: only then is %% a percent sign.
            cursor.execute(sql, tuple(values))
            self._answered = True
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            self._answered = False
            cursor.execute("COMMIT")
        return rows

    def _check_position(self) -> None:
        """See that a server has all that was there before, at the other end of another connection.

        Raises:
            StandbyBehind: it is a standby, and has not.
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
                logger.debug("the server does not say how far it is: %s", exc)
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
