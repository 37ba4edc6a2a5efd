"""What an error of a driver means: it passes by itself, or somebody has to mend something.

Called where this package talks to a server. Drivers are told apart by nothing but what the DB-API says: psycopg2 and
psycopg 3 name their classes alike, and both have the server's five letters.
"""

from __future__ import annotations

import re

from taskmaster.errors import UsageError

__all__ = ["Refused", "is_cancelled", "is_final", "is_refused", "passes", "said", "sqlstate"]

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
WRONG = (
    "0A",  # what the server cannot do
    "22",  # a value that does not fit, or a division by zero
    "42",  # syntax, names and rights
)
# Of a failed connection there is no code, only what the server has said. In another language it is tried again.
FINAL = re.compile(
    r"does not exist|authentication failed|no pg_hba\.conf entry|permission denied|not permitted|no password supplied"
)


class Refused(UsageError):
    """A statement is wrong, or not allowed.

    Args:
        sql: the statement.
        why: what the server has said.
    """

    def __init__(self, sql: str, why: str) -> None:
        super().__init__(f"The server refuses the statement {' '.join(sql.split()):.400}: {why}")
        self.why = why


def sqlstate(exc: BaseException) -> str:
    """The server's five letters for an error; "" where it said none."""
    return str(getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None) or "")


def said(exc: BaseException) -> str:
    """An error in one line, without the statement that the server repeats."""
    diagnosis = getattr(exc, "diag", None)
    parts = [getattr(diagnosis, f"message_{part}", None) for part in ("primary", "hint")]
    return " ".join(" ".join(filter(None, parts)).split() if parts[0] else str(exc).split())


def is_cancelled(exc: BaseException) -> bool:
    """Whether a statement was ended because it took too long, or because somebody wanted so."""
    return sqlstate(exc) == CANCELED


def is_refused(exc: BaseException) -> bool:
    """Whether a statement is wrong, or not allowed."""
    return sqlstate(exc).startswith(WRONG)


def is_final(exc: BaseException) -> bool:
    """Whether a connection was refused for a reason that stays: a wrong name, password or right."""
    return not sqlstate(exc) and _is_operational(exc) and FINAL.search(str(exc)) is not None


def passes(exc: BaseException) -> bool:
    """Whether the same may go through later."""
    code = sqlstate(exc)
    if code:
        return code == CANCELED or code.startswith(PASSING)
    # The driver's own: the connection was lost, or could not be made.
    return _is_operational(exc)


def _is_operational(exc: BaseException) -> bool:
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(exc).__mro__)
