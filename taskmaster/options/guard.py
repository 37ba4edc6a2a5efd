"""How a guard is written on the command line: ``NAME=LIMIT@DSN``; some look at no database.

No message repeats any part of a DSN or address, because there may be a password in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from taskmaster.errors import UsageError
from taskmaster.guards import cpu_load, disk_free, http
from taskmaster.postgres import guards as postgres
from taskmaster.postgres.dsn import check

__all__ = ["SHOWN_LIMIT", "parse_guard"]

_EXAMPLES = (
    ", as in --guard='replication_lag=5s@host=replica dbname=blog' or "
    "--guard=active_connections=50@postgresql://replica/blog."
)
# A limit that a message may repeat. If the limit was forgotten, a part of the DSN is read as one,
# which no message may repeat.
SHOWN_LIMIT = re.compile(r"[\w.+%-]{1,20}")


class _Kind(NamedTuple):
    """How a guard is written.

    Attributes:
        make: Function that makes the guard of its limit and the text behind the @.
        where: The name of the text behind the @; "" if there is none.
        what: The name of the limit in messages.
    """

    make: Callable[[str, str], Callable[[], str]]
    where: str = "DSN"
    what: str = "LIMIT"


def _kinds() -> dict[str, _Kind]:
    return {
        "replication_lag": _Kind(postgres.replication_lag),
        "active_connections": _Kind(lambda limit, dsn: postgres.active_connections(_number(limit), dsn)),
        "long_transactions": _Kind(postgres.long_transactions),
        "locks_waiting": _Kind(lambda limit, dsn: postgres.locks_waiting(_number(limit), dsn)),
        "wal_rate": _Kind(postgres.wal_rate),
        "checkpoints_forced": _Kind(lambda limit, dsn: postgres.checkpoints_forced(_number(limit), dsn)),
        "dead_tuples": _Kind(_dead_tuples, what="TABLE:LIMIT"),
        "autovacuum_running": _Kind(postgres.autovacuum_running, what="TABLE"),
        "disk_free": _Kind(disk_free, where="PATH"),
        "cpu_load": _Kind(lambda limit, _: cpu_load(limit), where=""),
        "http": _Kind(lambda url, _: http(url), where="", what="URL"),
    }


def parse_guard(given: str) -> Callable[[], str]:
    """Return the guard that a text describes.

    Raises:
        UsageError: it describes none; the message says how one is written.
    """
    known = _kinds()
    name, equals, rest = given.partition("=")
    name = name.strip()
    # If the parts are in a wrong order, one may be the password: a message repeats only a part that
    # is known to be none.
    if name not in known:
        shown = (
            f"names {name!r}" if name.isidentifier() and (equals or "@" not in rest) else "does not begin with the name"
        )
        forms = ", ".join(_form(*one) for one in known.items())
        raise UsageError(f"--guard {shown}, and no such guard is known. There are {forms}{_EXAMPLES}")
    kind = known[name]
    limit, at, where = rest.partition("@") if kind.where else (rest, "", "")
    limit, where = limit.strip(), where.strip()
    written = f"It is written {_form(name, kind)}{_EXAMPLES if kind.where == 'DSN' else '.'}"
    if not limit or (kind.where and not where):
        lacks = f"its {kind.what}" if not limit else f"what it looks at, @ and a {kind.where}"
        raise UsageError(f"--guard {name} lacks {lacks}. {written}")
    try:
        if kind.where == "DSN":
            check("--guard", where)
        elif kind.where == "PATH" and not Path(where).exists():
            raise UsageError(f"the path {where!r} does not exist on this machine.")
        return kind.make(limit, where)
    except UsageError as exc:
        if kind.where == "DSN" and not (at and SHOWN_LIMIT.fullmatch(limit)):
            raise UsageError(f"--guard {name} has a limit that cannot be read. {written}") from None
        raise UsageError(f"--guard {name}: {exc} {written}") from None


def _dead_tuples(given: str, dsn: str) -> Callable[[], str]:
    table, _, limit = given.rpartition(":")
    if not table:
        raise UsageError("the limit of dead_tuples is TABLE:LIMIT, like posts:100000 or public.posts:20%.")
    return postgres.dead_tuples(limit if limit.endswith("%") else _number(limit), table, dsn)


def _number(limit: str) -> int:
    if not limit.isdecimal():
        raise UsageError(f"the limit is {limit!r}: give a whole number, 0 or more.")
    return int(limit)


def _form(name: str, kind: _Kind) -> str:
    return f"{name}={kind.what}{kind.where and '@'}{kind.where}"
