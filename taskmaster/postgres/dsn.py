"""Connection strings: what each gets where it says nothing, and the passwords in them, which are never shown.

Called wherever a DSN is connected to, or where it, or what a driver says of it, could come before a person's eyes.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from taskmaster.errors import UsageError

__all__ = ["check", "complete", "readable", "without_password"]

# A server whose machine or network is gone does not say so: it is noticed within a minute, instead of hours. None of
# this cuts off a statement that takes long: the other machine's kernel answers each probe.
DEFAULTS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
HIDDEN = "***"
# postgresql://USER:PASSWORD@..., also where it holds characters that it must not hold; and password=..., quoted or not,
# between other words or in a URL.
_IN_URL = re.compile(r"(\w://[^\s:/@]*:).*(?=@)")
_AS_WORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'?|(?:[^\s&\\]|\\.)+)")


def without_password(text: str, dsn: str = "") -> str:
    """A text in which every password of a DSN is hidden.

    Args:
        text: a DSN, or something that has been said of one.
        dsn: also the password of this one is hidden, however it is written there.
    """
    for secret in sorted(_secrets(dsn), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _AS_WORD.sub(rf"\g<1>{HIDDEN}", _IN_URL.sub(rf"\g<1>{HIDDEN}", text))


def check(option: str, dsn: str) -> None:
    """See that a DSN can be read.

    Args:
        option: what was given, for the message.
        dsn: it connects nowhere yet.

    Raises:
        UsageError: it cannot; what the driver says of it is not repeated, because it may repeat the password.
    """
    if not readable(dsn):
        raise UsageError(
            f"{option} has a DSN that cannot be read: write it as postgresql://USER@HOST:PORT/DATABASE (with special "
            "characters as %40 and the like, and the port as a number) or as 'host=HOST dbname=DATABASE'; a password "
            "is better kept in ~/.pgpass or PGPASSWORD."
        )


def complete(dsn: str, **defaults: str | int) -> str:
    """A DSN with what it does not say itself.

    Args:
        dsn: one that can be read.
        defaults: more of libpq's options, or others than are the same for all.
    """
    import psycopg2.extensions

    known = psycopg2.extensions.parse_dsn(dsn)
    return str(psycopg2.extensions.make_dsn(**{**DEFAULTS, **defaults, **known}))


def readable(dsn: str) -> bool:
    """Whether it has the form of a DSN. What the driver says of one that has not may repeat the password."""
    import psycopg2.extensions

    try:
        ports = psycopg2.extensions.parse_dsn(dsn).get("port", "")
    except psycopg2.Error:
        return False
    # In a URL, this may be the beginning of a password with an unquoted slash, and libpq would repeat it.
    return all(port.strip().isdecimal() for port in ports.split(",") if port.strip())


def _secrets(dsn: str) -> set[str]:
    found = {match[0][len(match[1]) :] for match in _IN_URL.finditer(dsn)}
    found |= {match[2].strip("'") for match in _AS_WORD.finditer(dsn)}
    return {form for one in found for form in (one, unquote(one), quote(unquote(one), safe="")) if form}
