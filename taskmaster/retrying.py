"""What a database refuses for now is asked again: a lost connection, a server that restarts, a standby in the way.

Called by the sources of ``taskmaster.postgres`` and ``taskmaster.django_orm``. No driver is imported: errors are known
by the server's five letters, and by what the DB-API calls their classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from taskmaster.errors import SourceError

__all__ = ["TooSlow", "passes", "persistently", "sqlstate"]

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FIRST, LONGEST = 0.5, 10.0  # seconds between two attempts: at first, and at most

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


def persistently(
    attempt: Callable[[], Answer],
    recover: Callable[[], None],
    *,
    patience: float,
    may_be_slow: bool = False,
    passing: Callable[[BaseException], bool] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """What an attempt returns; one that fails for a reason that passes is made again.

    Args:
        attempt: asks the database.
        recover: called after each failure, before anything else: gives the connection up.
        patience: seconds for which it is tried.
        may_be_slow: one that takes too long is made again as it is.
        passing: whether an error passes by itself; default: as PostgreSQL's drivers tell.
        sleep: waits.
        clock: monotonic seconds.

    Raises:
        TooSlow: the statement took longer than it may.
        SourceError: it failed again and again, for longer than ``patience``.
        Exception: the driver's own, for whatever does not pass by itself.
    """
    began, pause = clock(), FIRST
    while True:
        try:
            return attempt()
        except Exception as exc:
            recover()
            if sqlstate(exc) == CANCELED and not may_be_slow:
                raise TooSlow(str(exc).strip()) from exc
            if not (passing or passes)(exc):
                raise
            away = clock() - began
            why = " ".join(str(exc).split())
            if away > patience:
                raise SourceError(
                    f"The database could not be read for {away:.0f} s: {why} The run can be resumed when it can."
                ) from exc
            logger.warning("the database cannot be read, which is tried again: %s", why)
        sleep(pause)
        pause = min(2 * pause, LONGEST)


def sqlstate(exc: BaseException) -> str:
    """The server's five letters for an error, or for its cause; "" where it said none."""
    found = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if not found and exc.__cause__ is not None:
        return sqlstate(exc.__cause__)  # Django's errors have the driver's as their cause
    return str(found or "")


def passes(exc: BaseException) -> bool:
    """Whether the same statement may go through later."""
    code = sqlstate(exc)
    if code:
        return code == CANCELED or code.startswith(PASSING)
    # The driver's own: the connection was lost, or could not be made.
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(exc).__mro__)
