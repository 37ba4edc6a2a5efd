"""One statement at a time, tried again until it goes through.

Called by the sources of this package, each in one thread. A page or a border is a short read-only transaction of its
own: nothing stays open between two of them, no cursor lives on the server, and a connection pooler may stand between.
What passes by itself (a lost connection, a server that restarts, a standby that is in the way) is waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster.errors import SourceError

__all__ = ["Connect", "Dsn", "Reading", "TooSlow", "connector"]

logger = logging.getLogger(__name__)

Connect = Callable[[], Any]
Dsn = str | Connect

FIRST, LONGEST = 0.5, 10.0  # seconds between two attempts: at first, and at most
CONNECTING = 10  # seconds for a connection
DEFAULT_NAME = "taskmaster/master"  # of a connection, where the DSN gives it none

# https://www.postgresql.org/docs/current/errcodes-appendix.html
CANCELED = "57014"  # statement_timeout, or somebody's pg_cancel_backend
PASSING = (
    "08",  # connection exceptions
    "40001",  # a standby had to go on (conflict with recovery), or a serialization failure
    "40P01",  # deadlock
    "53",  # out of connections, memory or disk
    "57P01",  # the server shuts down,
    "57P02",  # has crashed,
    "57P03",  # or starts
    "55P03",  # a lock was not to be had within lock_timeout
)


class TooSlow(Exception):
    """A statement took longer than it may."""


def connector(dsn: Dsn) -> Connect:
    """What opens a connection: the user's own function, or psycopg2 with a DSN."""
    if callable(dsn):
        return dsn

    def connect() -> Any:
        import psycopg2

        # What the DSN itself says of these takes precedence.
        return psycopg2.connect(_with_defaults(psycopg2.extensions.parse_dsn(dsn)))

    return connect


def _with_defaults(known: dict[str, str]) -> str:
    import psycopg2

    defaults = {"connect_timeout": str(CONNECTING), "fallback_application_name": DEFAULT_NAME}
    return str(psycopg2.extensions.make_dsn(**{**defaults, **known}))


class Reading:
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
        self._connect = connector(dsn)
        self._patience = patience
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock
        self._connection: Any = None

    def fetch(self, sql: str, values: Sequence[Any] = (), *, may_be_slow: bool = False) -> list[tuple[Any, ...]]:
        """The rows of a query, in a transaction of its own.

        Args:
            sql: with ``%s`` for each value.
            values: for these.
            may_be_slow: a statement that takes too long is tried again as it is.

        Raises:
            TooSlow: the statement took longer than it may.
            SourceError: it failed again and again, for longer than ``patience``.
            Exception: the driver's own, for whatever does not pass by itself.
        """
        began, pause = self._clock(), FIRST
        while True:
            try:
                return self._fetch(sql, values)
            except Exception as exc:
                self.close()
                code = sqlstate(exc)
                if code == CANCELED and not may_be_slow:
                    raise TooSlow(str(exc).strip()) from exc
                if not _passes(exc, code):
                    raise
                away = self._clock() - began
                why = " ".join(str(exc).split())
                if away > self._patience:
                    raise SourceError(
                        f"The database could not be read for {away:.0f} s: {why} The run can be resumed when it can."
                    ) from exc
                logger.warning("the database cannot be read, which is tried again: %s", why)
            self._sleep(pause)
            pause = min(2 * pause, LONGEST)

    def close(self) -> None:
        """Give the connection up; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception:
                logger.debug("the connection could not be closed", exc_info=True)

    def _fetch(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            # In one round trip, and gone with the transaction: behind a pooler, the next one is somebody else's.
            cursor.execute(
                f"BEGIN READ ONLY; SET LOCAL statement_timeout = {int(1000 * self._timeout)}; "
                "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'"
            )
            # With values, also if there are none: only then is %% a percent sign.
            cursor.execute(sql, tuple(values))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            cursor.execute("COMMIT")
        return rows


def sqlstate(exc: BaseException) -> str:
    """The server's five letters for an error; "" where it said none."""
    return str(getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None) or "")


def _passes(exc: BaseException, code: str) -> bool:
    """Whether the same statement may go through later."""
    if code:
        return code == CANCELED or code.startswith(PASSING)
    # The driver's own: the connection was lost, or could not be made.
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(exc).__mro__)
