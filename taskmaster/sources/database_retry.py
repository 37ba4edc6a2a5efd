"""What a database refuses for now is asked again: a lost connection, a server that restarts, a
standby in the way.

Called by the sources of ``taskmaster.postgres`` and ``taskmaster.django_orm``. No driver is
imported: errors are known by the server's five letters, and by what the DB-API calls their classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from taskmaster.errors import SourceError
from taskmaster.runtime.backoff import Backoff

__all__ = ["TooSlow", "is_cancelled", "is_operational", "passes", "persistently", "sqlstate"]

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0  # between two attempts

# https://www.postgresql.org/docs/current/errcodes-appendix.html
CANCELED = (
    "57014",  # statement_timeout, or somebody's pg_cancel_backend
    "25P04",  # transaction_timeout
)
PASSING = (
    *CANCELED,
    "08",  # connection exceptions
    "40001",  # a standby had to go on (conflict with recovery), or a serialization failure
    "40P01",  # deadlock
    "53",  # out of connections, memory or disk
    "57P01",  # the server shuts down,
    "57P02",  # has crashed,
    "57P03",  # or starts
    "57P05",  # the connection was idle for longer than idle_session_timeout,
    "25P03",  # or idle_in_transaction_session_timeout, lets it
    "55P03",  # a lock was not to be had within lock_timeout
)


class TooSlow(SourceError):
    """A statement took longer than it may."""


def persistently(
    attempt: Callable[[], Answer],
    recover: Callable[[], None],
    why: Callable[[Exception], str],
    *,
    patience: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """What an attempt returns; one that fails for a reason that passes is made again.

    Args:
        attempt: asks the database.
        recover: called after each failure, before anything else: gives the connection up.
        why: says of an error that passes by itself what has happened, and raises where it does not.
        patience: seconds for which it is tried.
        sleep: waits.
        clock: monotonic seconds.

    Raises:
        SourceError: it failed again and again, for longer than ``patience``.
        Exception: whatever ``why`` raises.
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
                    "resumed when it can."
                ) from exc
            logger.warning("the database cannot be read, which is tried again: %s", reason)
        sleep(backoff.next())


def sqlstate(exc: BaseException) -> str:
    """The server's five letters for an error, or for its cause; "" where it said none."""
    found = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if not found and exc.__cause__ is not None:
        return sqlstate(exc.__cause__)  # Django's errors have the driver's as their cause
    return str(found or "")


def is_cancelled(exc: BaseException) -> bool:
    """Whether a statement was ended because it took too long, or because somebody wanted so."""
    return sqlstate(exc) in CANCELED


def passes(exc: BaseException) -> bool:
    """Whether the same statement may go through later."""
    code = sqlstate(exc)
    if code:
        return code.startswith(PASSING)
    # The driver's own: the connection was lost, or could not be made.
    return is_operational(exc)


def is_operational(exc: BaseException) -> bool:
    """Whether a driver blames what is between it and the server."""
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(exc).__mro__)
