"""Errors of a driver that stay until somebody mends something, and what they say; what passes:
``taskmaster.sources.database_retry``.

Called where this package talks to a server. Drivers are told apart by nothing but what the DB-API
says: psycopg2 and psycopg 3 name their classes alike, and both have the server's five letters.
"""

from __future__ import annotations

import re

from taskmaster.errors import UsageError
from taskmaster.sources.database_retry import is_operational, sqlstate

__all__ = ["Refused", "is_final", "is_refused", "said"]

# https://www.postgresql.org/docs/current/errcodes-appendix.html
WRONG = (
    "0A",  # what the server cannot do
    "22",  # a value that does not fit, or a division by zero
    "42",  # syntax, names and rights
)
# Of a failed connection there is no code, only what the server has said. In another language it is
# tried again.
FINAL = re.compile(
    r"does not exist|authentication failed|no pg_hba\.conf entry|permission denied|not permitted|no password supplied|"
    # An option that makes no sense.
    r"invalid (?:port number|\w+ value|value for)|unrecognized configuration parameter"
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


def said(exc: BaseException) -> str:
    """An error in one line, without the statement that the server repeats."""
    diagnosis = getattr(exc, "diag", None)
    parts = [getattr(diagnosis, f"message_{part}", None) for part in ("primary", "hint")]
    return " ".join(" ".join(filter(None, parts)).split() if parts[0] else str(exc).split())


def is_refused(exc: BaseException) -> bool:
    """Whether a statement is wrong, or not allowed."""
    return sqlstate(exc).startswith(WRONG)


def is_final(exc: BaseException) -> bool:
    """Whether a connection was refused for a reason that stays: a wrong name, password or right."""
    return not sqlstate(exc) and is_operational(exc) and FINAL.search(str(exc)) is not None
