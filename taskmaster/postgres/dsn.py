"""Connection strings: whether one can be read, and what it gets where it says nothing.
``taskmaster.redaction`` hides their passwords.
"""

from __future__ import annotations

import re

from taskmaster.errors import UsageError
from taskmaster.redaction import HIDDEN

__all__ = ["check", "complete", "fault"]

# A server whose machine or network is gone does not say so: it is noticed within a minute, instead
# of hours. None of this cuts off a statement that takes long: the other machine's kernel answers
# each probe.
DEFAULTS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

WORDS = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "service", "options", "passfile")
"""Those of libpq's options that people write most."""

UNREADABLE = (
    "has a DSN that cannot be read: write it as postgresql://USER@HOST:PORT/DATABASE (with special characters, as an @ "
    "or a / in a password, as %40 and %2F, and the port as a number) or as 'host=HOST dbname=DATABASE'; a password is "
    "better kept in ~/.pgpass or PGPASSWORD."
)


def check(option: str, dsn: str) -> None:
    """See that a DSN can be read.

    Args:
        option: what messages call the place where the DSN was given.
        dsn: the text; nothing is connected to.

    Raises:
        UsageError: it cannot; what the driver says of it is not repeated, because it may repeat the
            password.
    """
    if found := fault(dsn):
        raise UsageError(f"{option} {found}")


def complete(dsn: str, **defaults: str | int) -> str:
    """Return a DSN with what it does not say itself.

    Args:
        dsn: one that can be read.
        defaults: more of libpq's options, or others than are the same for all.
    """
    import psycopg2.extensions

    known = psycopg2.extensions.parse_dsn(dsn)
    return str(psycopg2.extensions.make_dsn(**{**DEFAULTS, **defaults, **known}))


def fault(dsn: str) -> str:
    """Return why nothing can be connected to with a text, in words that follow what it was given
    as; "" if it can be read. The driver's message may repeat the password.
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
    # What libpq would repeat may be the end of a password with an unquoted character: of one with a
    # slash, as the port or the database; of one with an @, as the host or the database.
    ports = known.get("port", "").split(",")
    if any(port.strip() and not port.strip().isdecimal() for port in ports):
        return UNREADABLE
    where = (known.get("host", ""), known.get("dbname", ""))
    is_url = dsn.lstrip().startswith(("postgresql://", "postgres://"))
    return UNREADABLE if is_url and any("@" in part and part in dsn for part in where) else ""


def _misnamed(dsn: str, said: str) -> str:
    """Return that an option of a DSN is misspelled, with its name; "" if that is not it, or if the
    name may be a part of a password.

    Args:
        dsn: The DSN.
        said: What libpq says of it.
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
