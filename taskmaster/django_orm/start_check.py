"""Checks at the start of a run, whose rows are read and written over other connections than the
script's.

Those have no part in an open transaction, a database in memory, or a setting made with SET. Each of
these is refused with what to do instead; mostly that is ``processes=0``, which runs the jobs in the
script's own process.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskmaster.django_orm.connections import has_begun
from taskmaster.errors import UsageError
from taskmaster.runtime.log import clean_logger

__all__ = ["check", "check_threads"]

logger = clean_logger(__name__)

IN_THIS_PROCESS = "processes=0 runs the jobs in this process, with its own connection"
# Settings that decide which rows a statement sees, or what it does to them.
DECISIVE = ("user", "database", "search_path", "row_security", "session_replication_role",
            "default_transaction_read_only", "attached", "temporary tables")  # fmt: skip
QUERIES = {
    "postgresql": (
        "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name = 'search_path' "
        "UNION ALL SELECT 'user', current_user::text UNION ALL SELECT 'database', current_database()::text "
        "UNION ALL SELECT 'temporary tables', string_agg(relname, ', ') FROM pg_class "
        "WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'v') "
        # A project's own settings are in no list; those that decide on rows are named in policies.
        "UNION SELECT said[1], current_setting(said[1], true) FROM pg_policies, "
        r"regexp_matches(concat(qual, with_check), 'current_setting\(''([\w.]+)''', 'g') AS said"
    ),
    "mysql": "SELECT 'database', DATABASE() UNION ALL SELECT 'sql_mode', @@SESSION.sql_mode",
    "sqlite": "SELECT 'attached', group_concat(name || ' ' || file, ', ') FROM pragma_database_list "
    "WHERE name NOT IN ('main', 'temp') "
    "UNION ALL SELECT 'temporary tables', group_concat(name, ', ') FROM sqlite_temp_master WHERE type <> 'index'",
}


def check() -> None:
    """Check that other connections see the same rows as this thread's connections.

    Raises:
        UsageError: they would see other rows.
    """
    _check_wrappers()
    for connection in _opened():
        alias = connection.alias
        if connection.in_atomic_block or _is_begun(connection):
            raise UsageError(
                f"The run was started inside of a transaction of the database {alias!r} (transaction.atomic(), a "
                "TestCase, ATOMIC_REQUESTS or set_autocommit(False)). Its rows are seen by no other connection, and "
                f"what it has locked waits for its end. Start the run after it; or {IN_THIS_PROCESS}."
            )
        _check_memory(connection)
        _check_session(connection)


def check_threads(*, here: bool) -> None:
    """Check, outside of the main thread, that no other thread has written rows for this run in an
    open transaction: this thread has connections of its own, which do not see them.

    Args:
        here: Whether the jobs run in this process.

    Raises:
        UsageError: One may have.
    """
    if threading.current_thread() is threading.main_thread():
        return
    me = threading.get_ident()
    # issubclass() of the types: isinstance() would evaluate Django's lazy objects, which may fail.
    for connection in [one for one in gc.get_objects() if issubclass(type(one), BaseDatabaseWrapper)]:
        if connection.connection is None or connection._thread_ident == me:  # has no public name
            continue
        if not here:
            _check_memory(connection)
        if _is_of_testcase(connection) or (connection.in_atomic_block and _joins(connection._thread_ident)):
            raise UsageError(
                f"The run was started in a thread of its own, while another one is inside of a transaction of the "
                f"database {connection.alias!r} (a TestCase, or transaction.atomic()): this thread has another "
                "connection, which finds none of the rows written there. Start the run in the thread that began the "
                "transaction, with processes=0, or use a TransactionTestCase."
            )


def _check_wrappers() -> None:
    """Refuse a connection with an execute wrapper that new connections do not have, as one of the
    project's own dry run, which stops statements that write.

    Raises:
        UsageError: there is one.
    """
    for connection in _made():
        wrappers = list(connection.execute_wrappers)
        if not wrappers:
            continue
        new = _new(connection)
        try:
            new.ensure_connection()  # a receiver of connection_created may give them to each connection
        except Exception as exc:
            logger.debug("the execute wrappers of the database %r cannot be compared: %s", connection.alias, exc)
        finally:
            new.close()
        everywhere = [_name_of(one) for one in new.execute_wrappers]
        own = next((name for name in map(_name_of, wrappers) if name not in everywhere), None)
        if own is not None:
            raise UsageError(
                f"The run was started inside of execute_wrapper({own}) of the connection {connection.alias!r}, and it "
                "reads and writes with connections of its own, whose statements do not go through that wrapper. Give "
                "it to each connection (the signal connection_created), or use it in get_jobs and in the callback, and "
                f"start the run without it; or {IN_THIS_PROCESS}."
            )


def _name_of(wrapper: Any) -> str:
    return str(getattr(wrapper, "__qualname__", type(wrapper).__qualname__))


def _check_memory(connection: Any) -> None:
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise UsageError(
            f"The database {connection.alias!r} is SQLite's in memory, which other processes do not have: what they "
            f"write would be lost: {IN_THIS_PROCESS}. Or use a file; in tests, say TEST={{'NAME': 'test.sqlite3'}} in "
            "DATABASES."
        )


def _is_of_testcase(connection: Any) -> bool:
    """Return whether a connection is in the transaction of Django's TestCase."""
    return any(getattr(block, "_from_testcase", False) for block in getattr(connection, "atomic_blocks", ()))


def _joins(ident: int) -> bool:
    """Return whether a thread waits in ``join`` for this one."""
    frame = sys._current_frames().get(ident)  # as documented for debuggers
    while frame is not None:
        if frame.f_code.co_name == "join" and frame.f_locals.get("self") is threading.current_thread():
            return True
        frame = frame.f_back
    return False


def _is_begun(connection: Any) -> bool:
    """Return whether a transaction was begun outside of ``atomic()``."""
    if connection.autocommit:
        return has_begun(connection.connection)
    # Without autocommit in the settings, each use of the connection begins a transaction.
    return bool(connection.settings_dict["AUTOCOMMIT"])


def _check_session(connection: Any) -> None:
    """Refuse a connection with settings in its session that decide on rows and that a new
    connection does not have; warn of others.

    Raises:
        UsageError: there is one.
    """
    query = QUERIES.get(connection.vendor)
    if query is None:
        return
    new = _new(connection)
    try:
        told, plain = _asked(connection, query), _asked(new, query)
    except Exception as exc:  # as when the server has too many connections
        logger.debug("the session of the database %r cannot be compared: %s", connection.alias, exc)
        return
    finally:
        new.close()
    changed = [name for name in sorted({*told, *plain}) if told.get(name) != plain.get(name)]
    # With a dot in its name: a setting of an extension, or one for a policy of row-level security.
    decisive = next((name for name in changed if name in DECISIVE or "." in name), None)
    if decisive is not None:
        raise UsageError(
            f"The connection {connection.alias!r} has {decisive} = {told.get(decisive)!r}, and a new one has "
            f"{plain.get(decisive)!r}: the run reads and writes with connections of its own, which would see other "
            "rows. Set it for each connection (OPTIONS, or the signal connection_created), or in get_jobs and in the "
            f"callback, and start the run without it; or {IN_THIS_PROCESS}."
        )
    if changed:
        logger.warning(
            "the connection %r has %s, which the run's own connections do not have: set it in OPTIONS, or in the "
            "callback, if they need it",
            connection.alias,
            ", ".join(f"{name} = {told.get(name)!r}" for name in changed),
        )


def _asked(connection: Any, query: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return dict(cursor.fetchall())


def _new(connection: Any) -> Any:
    """Return another connection to the same database, not opened, and not of a pool."""
    new = connection.copy()
    new.settings_dict["OPTIONS"] = {
        name: value for name, value in (new.settings_dict.get("OPTIONS") or {}).items() if name != "pool"
    }
    return new


def _made() -> list[Any]:
    """Return this thread's connections, whether they are open or not."""
    return list(connections.all(initialized_only=True)) if settings.configured else []


def _opened() -> Iterator[Any]:
    yield from (one for one in _made() if one.connection is not None)
