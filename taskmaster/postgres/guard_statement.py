"""The statement of a PostgreSQL guard, on a connection of its own, which is opened when the guard
is called for the first time, and again after it was lost.
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
AGAIN_SECONDS = 0.3  # pause before a doubtful row is asked for again: a standby may just have received something
NAMES_AND_RIGHTS = "42"  # first digits of the SQLSTATEs of wrong names and missing rights; other errors may pass
STATEMENT_SECONDS = 3  # longest time for connecting, and for a statement
# A guard's statement takes milliseconds: its connection is given up sooner than others.
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
        sql: The statement, or several, of which the last one's rows count; or a function that
            returns it for a version of the server, like 150000.
        number: Function that makes the guard's number of the first row.
        look_again: Function that returns whether a row is doubtful: the statement is then run once
            more.
        parameters: Values for ``%(name)s`` in the statement.
        on_denial: Message for a user without the right; "" for the server's own message.
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
            Unknown: the number cannot be found out now.
            Unknowable: it cannot be found out until somebody mends something.
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
        """Run the statement once, and close the connection. Errors that may pass by themselves are
        ignored.

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
            # Sent together, settings and statement are one transaction, with which the settings
            # end: behind a pooler, the server's connection is then given to other clients. Some
            # poolers refuse settings in the connection string.
            sql = self._sql if isinstance(self._sql, str) else self._sql(self._connection.server_version)
            cursor.execute(f"{settings()} {sql}", self._parameters)
            if cursor.description is None:
                return None
            row: Sequence[Any] | None = cursor.fetchone()
            return row


def settings(comment: str = "") -> str:
    """Return the settings for the transaction of a guard or a probe, as SQL.

    Args:
        comment: An SQL comment to put into each statement; "" for none.
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
    # Imported here: every worker imports the user's module, and so this one, but calls no guard.
    from taskmaster.sources.database_errors import is_final, is_refused
    from taskmaster.sources.database_retry import sqlstate

    return is_final(exc) or (is_refused(exc) and sqlstate(exc).startswith(NAMES_AND_RIGHTS))


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)
