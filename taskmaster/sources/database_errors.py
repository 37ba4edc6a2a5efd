"""Errors of a database that do not pass by themselves, and their text in one line.

No driver is imported: psycopg2 and psycopg 3 name their classes alike, and all drivers have the
server's code (SQLSTATE). ``taskmaster.sources.database_retry`` recognises errors that pass.
"""

from __future__ import annotations

import re

from taskmaster.errors import UsageError
from taskmaster.sources.database_retry import is_lost, passes, sqlstate

__all__ = ["StatementRefused", "is_final", "is_of_a_row", "is_refused", "said"]

# https://www.postgresql.org/docs/current/errcodes-appendix.html
WRONG = (
    "0A",  # a feature that the server does not have
    "22",  # a value that does not fit, or a division by zero
    "42",  # syntax, names and rights
)
OF_A_ROW = (
    "22",  # a value that does not fit, as a character that the connection's encoding does not have
    "XX001",  # data that is damaged on the server's disk
)
ACCESS_DENIED = (
    "28",  # a wrong user, password or method of authentication
    "3D",  # a database that does not exist
)
# psycopg2 and psycopg 3 have no code for a connection that failed, only a text. A server whose
# messages are in another language is tried again.
FINAL = re.compile(
    # The server or a pooler refuses a name, a password or a right.
    r"does not exist|authentication failed|no pg_hba\.conf entry|pg_hba\.conf rejects|[Pp]ermission denied|"
    r"not permitted|no password supplied|no such (?:database|user)|is not currently accepting connections|"
    # An option that makes no sense.
    r"invalid (?:port number|\w+ value|value for|connection option|command-line)|unrecognized configuration parameter|"
    r"cannot be changed|not compiled in|socket path .* is too long|definition of service|service file .* not found|"
    r'unsupported startup parameter|invalid "\w+" value|could not (?:match \d+|parse network address)|'
    # The two sides do not agree on encryption or authentication.
    r"certificate|private key|does not support (?:SSL|GSSAPI|channel)|channel binding|authentication method|"
    r"(?:SSL|TLS|GSSAPI encryption) required|[Nn]o (?:\w+ )?credential|weak sslmode|bouncer config error|"
    r"(?:wrong|unsupported) (?:SSL )?(?:version|protocol)|alert protocol version|unknown ca|"
    # Something else than PostgreSQL listens there.
    r"invalid response to (?:SSL|GSSAPI) negotiation|expected authentication request"
)


class StatementRefused(UsageError):
    """A statement is wrong, or not allowed.

    Args:
        sql: The statement.
        why: The server's message.
    """

    def __init__(self, sql: str, why: str) -> None:
        super().__init__(f"The server refuses the statement {' '.join(sql.split()):.400}: {why}")
        self.why = why


def said(exc: BaseException) -> str:
    """Return an error's text in one line, without the statement that the server repeats in it."""
    diagnosis = getattr(exc, "diag", None)
    parts = [getattr(diagnosis, f"message_{part}", None) for part in ("primary", "hint")]
    return " ".join(" ".join(filter(None, parts)).split() if parts[0] else str(exc).split())


def is_refused(exc: BaseException) -> bool:
    """Return whether a statement is wrong, or not allowed."""
    return sqlstate(exc).startswith(WRONG) and not passes(exc)


def is_of_a_row(exc: BaseException) -> bool:
    """Return whether an error may be about a single row that the server cannot send."""
    return sqlstate(exc).startswith(OF_A_ROW)


def is_final(exc: BaseException) -> bool:
    """Return whether a connection was refused for a reason that stays: a wrong name, password,
    right or option.
    """
    code = sqlstate(exc)
    return code.startswith(ACCESS_DENIED) if code else is_lost(exc) and FINAL.search(str(exc)) is not None
