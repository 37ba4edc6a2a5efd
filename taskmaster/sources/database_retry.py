"""Retries of a query after errors that pass by themselves: a lost connection, a server that
restarts, a standby that is behind.

No driver is imported. Errors are recognised by the server's code (SQLSTATE, five characters), by
the class names of the DB-API, and by the operating system's error numbers.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

from taskmaster.errors import SourceError
from taskmaster.runtime.backoff import Backoff
from taskmaster.runtime.log import clean_logger

__all__ = ["TooSlow", "is_cancelled", "is_lost", "is_operational", "passes", "persistently", "sqlstate"]

logger = clean_logger(__name__)

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0  # between two attempts

# https://www.postgresql.org/docs/current/errcodes-appendix.html
CANCELED = (
    "57014",  # statement_timeout, or somebody's pg_cancel_backend
    "25P04",  # transaction_timeout
)
LOST = (
    "08",  # connection exceptions, also of a pooler's connection to the server
    "57P01",  # the server shuts down,
    "57P02",  # has crashed,
    "57P03",  # or starts
    "57P05",  # the connection was idle for longer than idle_session_timeout,
    "25P03",  # or idle_in_transaction_session_timeout, allows
)
PASSING = (
    *CANCELED,
    *LOST,
    "40001",  # a standby cancelled it to replay the log (conflict with recovery), or a serialization failure
    "40003",  # the statement's outcome is unknown; a statement that only reads is repeated
    "40P01",  # deadlock
    "53",  # out of connections, memory or disk
    "55P03",  # a lock was not available within lock_timeout
    "26000",  # a pooler gave another session than the one in which the statement was prepared,
    "42P05",  # or one in which the prepared statement's name is taken
)
# Texts of driver errors that have neither a code nor a class of their own.
LOST_IN_WORDS = re.compile(
    r"server closed the connection|terminating connection|connection (?:\w+ )*(?:closed|lost|reset|broken|timed out)|"
    r"(?:no|lost) connection to the server|lost synchronization with server|SSL SYSCALL|EOF detected|"
    r"could not (?:receive|send) (?:data|\w+ data) (?:from|to) (?:the )?server|no message from the libpq|"
    r"network error|Broken pipe|server login has been failing",
    re.IGNORECASE,
)
# The operating system's errors of a connection, which drivers without libpq pass on.
OF_THE_SYSTEM = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLEOFError, ssl.SSLZeroReturnError)
UNREACHABLE_ERRORS = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


class TooSlow(SourceError):
    """A statement took longer than it may."""


def persistently(
    attempt: Callable[[], Result],
    recover: Callable[[], None],
    why: Callable[[Exception], str],
    *,
    patience: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Call ``attempt`` until it succeeds or fails with an error that does not pass; return its
    result.

    Args:
        attempt: Function that asks the database.
        recover: Function that is called first after each failure, to close the connection.
        why: Function that returns a description of an error that passes, and raises for any other.
        patience: Seconds for which attempts are made.
        sleep: Function that waits for seconds.
        clock: Function that returns monotonic seconds.

    Raises:
        SourceError: Every attempt failed, for longer than ``patience``.
        Exception: Raised by ``why``.
    """
    began, backoff = clock(), Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        try:
            return attempt()
        except Exception as exc:
            recover()
            reason = why(exc)
            away = clock() - began
            if away > patience:
                raise SourceError(
                    f"The database could not be read for {away:.0f} s: {reason.removesuffix('.')}. The run can be "
                    "resumed once it can be read again."
                ) from exc
            logger.warning("the database cannot be read, which is tried again: %s", reason)
        sleep(backoff.next())


def sqlstate(exc: BaseException) -> str:
    """Return the server's code (SQLSTATE) of an error or of its cause; "" if there is none."""
    found = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if not found and exc.args and isinstance(exc.args[0], dict):
        found = exc.args[0].get("C")  # pg8000 gives the fields of the server's message as they are
    if not found and exc.__cause__ is not None:
        return sqlstate(exc.__cause__)  # Django's errors have the driver's as their cause
    return found if isinstance(found, str) else ""


def is_cancelled(exc: BaseException) -> bool:
    """Return whether a statement was cancelled, by a time-out or by a person."""
    return sqlstate(exc) in CANCELED


def passes(exc: BaseException) -> bool:
    """Return whether the same statement may succeed later."""
    code = sqlstate(exc)
    return code.startswith(PASSING) if code else is_lost(exc)


def is_lost(exc: BaseException) -> bool:
    """Return whether an error means that the connection is gone, or could not be made."""
    code = sqlstate(exc)
    if code:
        return code.startswith(LOST)
    if isinstance(exc, OSError) and exc.errno in UNREACHABLE_ERRORS:
        return True
    return is_operational(exc) or isinstance(exc, OF_THE_SYSTEM) or _is_lost_in_words(exc)


def is_operational(exc: BaseException) -> bool:
    """Return whether an error is of a driver's class for connection trouble."""
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(exc).__mro__)


def _is_lost_in_words(exc: BaseException) -> bool:
    """Return whether a driver's error without a code is about a lost connection.

    psycopg2 raises a DatabaseError, and no class below it, when the server has closed the
    connection with a warning instead of an error: as after the crash of another session, over a
    Unix socket.
    """
    kinds = [kind.__name__ for kind in type(exc).__mro__]
    if kinds[0] == "DatabaseError" and not type(exc).__module__.startswith("django."):
        return True
    if exc.__cause__ is not None and kinds[0] == "DatabaseError":
        return is_lost(exc.__cause__)  # Django's errors have the driver's as their cause
    return "DatabaseError" in kinds and LOST_IN_WORDS.search(str(exc)) is not None
