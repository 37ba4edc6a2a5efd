"""Connection strings: whether one can be read, and what it gets where it says nothing.
``taskmaster.redaction`` hides their passwords.
"""

from __future__ import annotations

from taskmaster.errors import UsageError

__all__ = ["check", "complete", "readable"]

# A server whose machine or network is gone does not say so: it is noticed within a minute, instead
# of hours. None of this cuts off a statement that takes long: the other machine's kernel answers
# each probe.
DEFAULTS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def check(option: str, dsn: str) -> None:
    """See that a DSN can be read.

    Args:
        option: what was given, for the message.
        dsn: it connects nowhere yet.

    Raises:
        UsageError: it cannot; what the driver says of it is not repeated, because it may repeat the
            password.
    """
    if not readable(dsn):
        raise UsageError(
            f"{option} has a DSN that cannot be read: write it as postgresql://USER@HOST:PORT/DATABASE (with special "
            "characters as %40 and the like, and the port as a number) or as 'host=HOST dbname=DATABASE'; a password "
            "is better kept in ~/.pgpass or PGPASSWORD."
        )


def complete(dsn: str, **defaults: str | int) -> str:
    """Return a DSN with what it does not say itself.

    Args:
        dsn: one that can be read.
        defaults: more of libpq's options, or others than are the same for all.
    """
    import psycopg2.extensions

    known = psycopg2.extensions.parse_dsn(dsn)
    return str(psycopg2.extensions.make_dsn(**{**DEFAULTS, **defaults, **known}))


def readable(dsn: str) -> bool:
    """Return whether a text has the form of a DSN. What the driver says of one that has not may
    repeat the password.
    """
    import psycopg2.extensions

    try:
        ports = psycopg2.extensions.parse_dsn(dsn).get("port", "")
    except psycopg2.Error:
        return False
    # In a URL, this may be the beginning of a password with an unquoted slash, and libpq would
    # repeat it.
    return all(port.strip().isdecimal() for port in ports.split(",") if port.strip())
