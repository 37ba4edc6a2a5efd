"""What a guard of PostgreSQL asks, on a connection of its own. That is opened when the guard is
called for the first time, and again after it was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskmaster.guards import Unknown
from taskmaster.guards.guard import Unknowable
from taskmaster.postgres import dead_links
from taskmaster.postgres.dsn import complete, fault
from taskmaster.redaction import without_password

__all__ = ["GRANT", "GuardStatement", "first", "settings"]

GRANT = "the guard's user may not see it: GRANT pg_monitor TO that user"
AGAIN_SECONDS = 0.3  # after which a doubtful answer is asked for again: a standby may just have got something
NAMES_AND_RIGHTS = "42"  # codes of them; what a value makes wrong, as a division by zero, may pass
STATEMENT_SECONDS = 3  # seconds for connecting, and for a statement
# What a statement of a few milliseconds has no answer to is given up sooner than others.
SOON = {
    "connect_timeout": STATEMENT_SECONDS,
    "keepalives_idle": STATEMENT_SECONDS,
    "keepalives_interval": 1,
    "keepalives_count": STATEMENT_SECONDS,
    "tcp_user_timeout": 1000 * STATEMENT_SECONDS,
}


class GuardStatement:
    """A statement on a connection of its own.

    Args:
        dsn: The database.
        sql: The statement, or several, of which the last one's rows count; or a function that gives
            it for a version of the server, like 150000.
        number: Makes the number of its first row.
        look_again: Whether a row is doubtful, so that the statement is asked once more.
        parameters: What stands for ``%(name)s`` in the statement.
        on_denial: What to say where the user has not the right; the server's own words if "".
    """

    def __init__(
        self,
        dsn: str,
        sql: str | Callable[[int], str],
        number: Callable[[Sequence[Any]], Any],
        look_again: Callable[[Sequence[Any]], bool] | None = None,
        *,
        parameters: Mapping[str, str] | None = None,
        on_denial: str = "",
    ) -> None:
        self._dsn = dsn
        self._sql = sql
        self._number = number
        self._look_again = look_again
        self._parameters = parameters
        self._on_denial = on_denial
        self._connection: Any = None

    def __call__(self) -> Any:
        """Run the statement; return its number.

        Raises:
            Unknown: it cannot be told.
        """
        import psycopg2
        import psycopg2.errors

        try:
            row = self._row()
            if row is not None and self._look_again is not None and self._look_again(row):
                time.sleep(AGAIN_SECONDS)
                row = self._row()
        except psycopg2.Error as exc:
            self.close()
            if self._on_denial and isinstance(exc, psycopg2.errors.InsufficientPrivilege):
                raise Unknowable(self._on_denial) from None
            raise (Unknowable if _stays(exc) else Unknown)(without_password(_first_line(exc), self._dsn)) from None
        if row is None:
            raise Unknown("the statement gives no row")
        return self._number(row)

    def try_out(self) -> None:
        """Look once, and close the connection; what may pass by itself is let pass.

        Raises:
            Unknowable: Somebody has to mend something first.
        """
        try:
            self()
        except Unknowable:
            raise
        except Unknown:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            dead_links.forget(connection)
            connection.close()

    def _row(self) -> Sequence[Any] | None:
        import psycopg2

        if self._connection is None:
            if found := fault(self._dsn):
                raise Unknowable(f"it {found}")
            self._connection = psycopg2.connect(complete(self._dsn, **SOON), application_name="taskmaster/guard")
            self._connection.autocommit = True
            dead_links.watch(self._connection)
        with dead_links.answer_within(self._connection, STATEMENT_SECONDS), self._connection.cursor() as cursor:
            # Together they are one transaction, after which the setting is gone: behind a pooler,
            # others have the server's connection then. Some poolers refuse a setting in the
            # connection string.
            sql = self._sql if isinstance(self._sql, str) else self._sql(self._connection.server_version)
            cursor.execute(f"{settings()} {sql}", self._parameters)
            if cursor.description is None:
                return None
            row: Sequence[Any] | None = cursor.fetchone()
            return row


def settings(comment: str = "") -> str:
    """Return what is set for the transaction of a guard's statement, or of a probe's, as SQL.

    Args:
        comment: Stands in each statement.
    """
    # A standby refuses a serializable transaction, which may be the default of its database.
    return (
        f"SET LOCAL {comment} transaction_isolation = 'read committed'; "
        f"SET LOCAL {comment} statement_timeout = {1000 * STATEMENT_SECONDS};"
    )


def first(row: Sequence[Any]) -> Any:
    """Return the first column of a row."""
    return row[0]


def _stays(exc: Exception) -> bool:
    """Return whether an error stays until somebody mends something."""
    # Loaded here, as a driver is: each worker imports the module that makes a guard.
    from taskmaster.sources.database_errors import is_final, is_refused
    from taskmaster.sources.database_retry import sqlstate

    return is_final(exc) or (is_refused(exc) and sqlstate(exc).startswith(NAMES_AND_RIGHTS))


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)
