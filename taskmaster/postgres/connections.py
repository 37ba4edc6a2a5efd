"""``connect``: the one connection of a worker to a database, for the user's callback.

It is opened when it is first asked for, in the process and thread that uses it; tested after it has
been idle for a while; and opened again after it was lost. A statement does not outlive its worker:
the server is set to notice by itself when the worker is gone. A worker does not wait for a server
whose machine is gone: ``taskmaster.postgres.dead_links`` cuts the connection.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.postgres import dead_links
from taskmaster.postgres.statements import DEFAULT_NAME, Dsn, connector
from taskmaster.redaction import without_password
from taskmaster.runtime.backoff import Backoff
from taskmaster.runtime.context import HERE
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_errors import is_final, said
from taskmaster.sources.database_retry import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, is_lost, passes, sqlstate

__all__ = ["connect"]

logger = clean_logger(__name__)

READ_ONLY = "25006"  # SQLSTATE of a write in a transaction that can only read
INERROR = 3  # libpq's, psycopg2's and psycopg 3's status of a transaction in which a statement has failed
UNTESTED_SECONDS = 2.0  # a connection unused for longer is tested before it is used
TEST_SECONDS = 10.0  # longest time that the server may take to answer the test
STATEMENT_FRACTION = 0.9  # of the job's time-out: the server ends a statement before the worker is killed
NAME_BYTES = 63  # longest application_name that PostgreSQL keeps
PREPARED_BY_DEFAULT = 5  # psycopg 3's default prepare_threshold


class _Kept:
    """An open connection, with its process, its settings and when it was last used."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.process = os.getpid()
        self.settings = {"application_name": DEFAULT_NAME}  # those that Taskmaster made
        self.used = time.monotonic()
        self.busy = False
        if getattr(connection, "prepare_threshold", None) == PREPARED_BY_DEFAULT:
            # psycopg 3 prepares a statement that it has run five times; behind a pooler, the next
            # transaction may be in a session that does not have the prepared statement.
            connection.prepare_threshold = None
        dead_links.watch(connection)


# Tables in which row-level security may hide rows from this role, unless row_security was set by
# hand: then that is wanted.
_FILTERED = """
SELECT string_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname), ', ' ORDER BY c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND row_security_active(c.oid) AND has_table_privilege(c.oid, 'SELECT')
AND EXISTS (SELECT FROM pg_settings s WHERE s.name = 'row_security' AND s.source IN ('default', 'configuration file'))
"""
_said_filtered: set[str] = set()  # lists of tables of which this process has warned

_local = threading.local()
# Connections of the parent process. They are neither used nor closed in a child: closing one here
# would end the parent's session on the server.
_inherited: list[_Kept] = []


@contextmanager
def connect(dsn: Dsn, *, patience: float = 300.0) -> Iterator[Any]:
    """Give the worker's connection to a database for one transaction: committed at the end of the
    block, rolled back when an exception leaves it.

    One connection is opened for each process, thread and ``dsn``, and kept. Its application_name is
    "taskmaster/RUN/SLAVE", its statement_timeout is nine tenths of ``--job-timeout``, and the
    server checks every second whether the worker is still there. A setting of the DSN, the role or
    the database takes precedence.

    Args:
        dsn: libpq's connection string or URL, for psycopg2; or a function that returns a connection
            of any DB-API driver, the same function each time.
        patience: seconds to wait for a server that cannot be reached, at most half of
            ``--job-timeout``: a restart of the server costs a job no attempt.

    Raises:
        UsageError: the connection is in use by an outer block, or by another coroutine of this
            thread; or a statement has failed, and the block ended without an exception (noticed
            with psycopg2 and psycopg 3).
        Exception: the driver's own.

    Example::

        def handle_job(post_id):
            with postgres.connect("dbname=blog") as connection, connection.cursor() as cursor:
                cursor.execute("UPDATE posts SET seen = true WHERE id = %s", (post_id,))
    """
    known: dict[Dsn, _Kept] = _local.__dict__.setdefault("known", {})
    kept = _usable(known, dsn)
    if kept is None:
        kept = known[dsn] = _Kept(_opened(dsn, patience))
        # The user's function may have changed a setting in a transaction that it left open: the
        # rollback below would undo that.
        kept.connection.commit()
        _warn_of_hidden_rows(kept.connection)
    if kept.busy:
        raise UsageError(
            "The worker's connection is in use: connect() was called again inside its block, or by another coroutine. "
            "Use the outer connection, or open one of your own where several are needed."
        )
    if kept.settings != (wanted := _settings()):
        _settle(kept, wanted)
    kept.busy = True
    try:
        yield kept.connection
        _refuse_failed(kept.connection)
        kept.connection.commit()
    except BaseException as exc:
        _clear_up(known, dsn, exc)
        raise
    finally:
        kept.busy, kept.used = False, time.monotonic()


def _warn_of_hidden_rows(connection: Any) -> None:
    """Warn once of the tables in which row-level security may hide rows from this role: the
    callback's statements would leave them out without an error.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(_FILTERED)
            tables = (cursor.fetchone() or ("",))[0]
    except Exception as exc:
        logger.debug("it cannot be found out whether row-level security is active: %s", exc)
        tables = ""
    with suppress(Exception):
        connection.rollback()
    if tables and tables not in _said_filtered:
        _said_filtered.add(tables)
        logger.warning(
            "row-level security is active for this worker's role on %s: rows that its policies hide are left out "
            "silently; options='-c row_security=off' in the DSN makes that an error, and row_security=on says "
            "that it is wanted",
            tables,
        )


def _refuse_failed(connection: Any) -> None:
    """Check that a commit will keep what the block has written.

    Raises:
        UsageError: the server would roll back instead; drivers do not report that.
    """
    if getattr(getattr(connection, "info", None), "transaction_status", None) == INERROR:
        raise UsageError(
            "A statement has failed within the block of connect(), the exception did not leave the block, and so "
            "everything that the block has written is rolled back: PostgreSQL commits nothing of such a transaction. "
            "Put what may fail between SAVEPOINT and ROLLBACK TO SAVEPOINT, write INSERT ... ON CONFLICT DO NOTHING, "
            "or let the exception out."
        )


def _opened(dsn: Dsn, patience: float) -> Any:
    """Open a connection; wait up to ``patience`` seconds for a server that cannot be reached."""
    if HERE.job_timeout is not None:
        patience = min(patience, HERE.job_timeout / 2)
    open_, began = connector(dsn), time.monotonic()
    backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        try:
            return open_()
        except Exception as exc:
            first = backoff.pause == 0.0
            if is_final(exc) or not passes(exc) or time.monotonic() - began + backoff.next() > patience:
                raise
            if first:
                why = without_password(said(exc), dsn if isinstance(dsn, str) else "")
                logger.warning("the database cannot be reached, and is waited for, up to %g s: %s", patience, why)
        time.sleep(backoff.pause)


def _usable(known: dict[Dsn, _Kept], dsn: Dsn) -> _Kept | None:
    """Return the kept connection if it works, or is in use; else None."""
    kept = known.get(dsn)
    if kept is None or kept.busy:
        return kept
    if kept.process != os.getpid():
        _inherited.append(known.pop(dsn))
        return None
    if time.monotonic() - kept.used < UNTESTED_SECONDS and not getattr(kept.connection, "closed", False):
        return kept
    try:
        with dead_links.answer_within(kept.connection, TEST_SECONDS), kept.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            kept.connection.rollback()
        return kept
    except Exception as exc:
        logger.debug("the connection was lost, and is opened again: %s", exc)
        _close(known, dsn)
        return None


def _settle(kept: _Kept, wanted: dict[str, str]) -> None:
    """Make the settings that follow from the run, at first and whenever they have changed."""
    for name, value in wanted.items():
        try:
            with kept.connection.cursor() as cursor:
                # Only a setting that nobody else has made is changed. On a server without that
                # setting, the statement finds no row and changes nothing.
                cursor.execute(
                    "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s AND (source IN "
                    "('default', 'configuration file') OR setting = %s)",
                    (value, name, kept.settings.get(name, "")),
                )
            kept.connection.commit()
        except Exception as exc:
            kept.connection.rollback()
            logger.debug("the server does not take %s: %s", name, exc)
    kept.settings = wanted


def _settings() -> dict[str, str]:
    name = "/".join(filter(None, ("taskmaster", HERE.run, HERE.slave)))
    found = {
        "application_name": name.encode()[:NAME_BYTES].decode(errors="ignore"),
        # Ends the statement of a worker that was killed, and frees its locks (PostgreSQL 14, on
        # Linux and macOS): https://www.postgresql.org/docs/current/runtime-config-connection.html
        "client_connection_check_interval": "1000",
        # The same for a machine that went away without closing the connection.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    if HERE.job_timeout is not None:
        found["statement_timeout"] = str(max(1, int(1000 * STATEMENT_FRACTION * HERE.job_timeout)))
    return found


def _clear_up(known: dict[Dsn, _Kept], dsn: Dsn, exc: BaseException) -> None:
    """Roll back a block that failed; drop the connection if it was lost."""
    try:
        known[dsn].connection.rollback()
    except Exception:
        _close(known, dsn)
        return
    # The rollback may succeed on a lost connection, where the driver had nothing to send: the next
    # job would get the error. And after a write that a standby refused, as in a failover, the
    # address may lead to the new primary by now.
    if is_lost(exc) or sqlstate(exc) == READ_ONLY:
        _close(known, dsn)


def _close(known: dict[Dsn, _Kept], dsn: Dsn) -> None:
    connection = known.pop(dsn).connection
    dead_links.forget(connection)
    try:
        connection.close()
    except Exception:
        logger.debug("the connection could not be closed", exc_info=True)
