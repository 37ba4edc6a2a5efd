"""Connection strings (DSNs): whether one can be read, and defaults for what it leaves open.

``taskmaster.redaction`` hides their passwords.
"""

from __future__ import annotations

import re

from taskmaster.errors import UsageError
from taskmaster.redaction import HIDDEN

__all__ = ["check", "complete", "fault"]

# With these, the loss of a server's machine or network is noticed within a minute instead of hours.
# They do not cut off a long statement: the kernel of the server's machine answers each keepalive.
DEFAULTS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

WORDS = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "service", "options", "passfile")
"""Libpq's most frequent options, for the hint at a misspelled one."""

UNREADABLE = (
    "has a DSN that cannot be read: write it as postgresql://USER@HOST:PORT/DATABASE (with special characters, as an @ "
    "or a / in a password, as %40 and %2F, and the port as a number) or as 'host=HOST dbname=DATABASE'; a password is "
    "better kept in ~/.pgpass or PGPASSWORD."
)


def check(option: str, dsn: str) -> None:
    """Check that a DSN can be read; connect to nothing.

    Args:
        option: what messages call the option or the function that was given the DSN.
        dsn: the text.

    Raises:
        UsageError: it cannot be read. The driver's own message is not repeated, because it may have
            the password in it.
    """
    if found := fault(dsn):
        raise UsageError(f"{option} {found}")


def complete(dsn: str, **defaults: str | int) -> str:
    """Return a DSN with defaults for the options that it does not have.

    Args:
        dsn: one that can be read.
        defaults: options of libpq's beside ``DEFAULTS``, or in place of these.
    """
    import psycopg2.extensions

    known = psycopg2.extensions.parse_dsn(dsn)
    return str(psycopg2.extensions.make_dsn(**{**DEFAULTS, **defaults, **known}))


def fault(dsn: str) -> str:
    """Return why a DSN cannot be read, as the rest of a sentence that begins with its option; "" if
    it can. The password is never in it.
    """
    import psycopg2.extensions

    try:
        known = psycopg2.extensions.parse_dsn(dsn)
    except psycopg2.Error as exc:
        return _misnamed(dsn, str(exc)) or UNREADABLE
    if known.get("password") == HIDDEN:
        return (
            f"has a DSN whose password is {HIDDEN}, as in a command that was printed: the password was left out there. "
            "Put it in again, or better keep it in ~/.pgpass or PGPASSWORD."
        )
    # In a URL, a special character in the password that is not quoted ends it: what comes after a
    # slash is taken for the port or the database, what comes after an @ for the host or the
    # database, and libpq's errors would repeat it.
    ports = known.get("port", "").split(",")
    if any(port.strip() and not port.strip().isdecimal() for port in ports):
        return UNREADABLE
    where = (known.get("host", ""), known.get("dbname", ""))
    is_url = dsn.lstrip().startswith(("postgresql://", "postgres://"))
    return UNREADABLE if is_url and any("@" in part and part in dsn for part in where) else ""


def _misnamed(dsn: str, said: str) -> str:
    """Return a message about a misspelled option of a DSN; "" if none is misspelled, or if the name
    may be a part of a password.

    Args:
        dsn: The DSN.
        said: Libpq's error.
    """
    match = re.search(r'invalid (?:connection option|URI query parameter:) "([a-z_]+)"', said)
    if match is None:
        return ""
    name = match[1]
    before, _, after = dsn.partition(name)
    # A password without quotes ends at its first space, and one in a URL may have a ? in it.
    if "pass" in before.lower() or ("://" in before and "@" in after):
        return ""
    import difflib

    near = difflib.get_close_matches(name, WORDS, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(WORDS)}, and the others of libpq's."
    return f"has a DSN with {name!r}, and PostgreSQL has no such option; {hint}"
