"""The options that hold a run back, ``--rate``, ``--nice``, ``--hours`` and ``--guard``, and how a
guard is written on the command line.

A guard is written ``NAME=LIMIT@DSN``. No message repeats any part of the DSN, because there may be
a password in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.guards import Guard
from taskmaster.options.hours import Hours, parse_hours
from taskmaster.options.option import Section, amount, ratio, text, texts
from taskmaster.units import rate_of

__all__ = ["ThrottleOptions"]

MOST_NICE = 100.0  # a hundredth of the time is worked; above it, a wrong unit is likelier than a wish
# A limit that a message may repeat. Where the limit was forgotten, a part of the DSN stands in its
# place, which no message may repeat.
_SHOWN_LIMIT = re.compile(r"[\w.+-]{1,20}")


def _check_hours(option: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{option} is {value!r}: give a text.")
    parse_hours(value)


def _check_guards(option: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{option} is given as something else than a list of texts: write guard=['NAME=LIMIT@DSN'].")
    for one in value:
        from taskmaster.postgres.dsn import check

        check(option, _parse_guard(one)[1])


@dataclass(frozen=True)
class ThrottleOptions:
    """What may hold a run back."""

    rate: float | None = amount(
        Section.PACE,
        "N",
        rate_of,
        "Most jobs a second, for all slaves together, like 100 or 0.5, or 30/m.",
        unset="no limit",
    )
    nice: float = ratio(
        Section.PACE,
        0.0,
        "Let each worker rest after a batch, for RATIO times as long as the batch took: with 0.5 it works two thirds "
        "of the time, with 1 half of it.",
        most=MOST_NICE,
    )
    hours: str | None = text(
        Section.PACE,
        None,
        "WINDOWS",
        "Hand jobs out only at these hours, like '22:00-06:00 Europe/Berlin' or "
        "'mon-fri 20:00-06:00, sat,sun 00:00-24:00'.",
        unset="always",
        check=_check_hours,
    )
    guard: tuple[str, ...] = texts(
        Section.PACE,
        "NAME=LIMIT@DSN",
        "Hand nothing out while replication_lag, active_connections, long_transactions or locks_waiting of a "
        "PostgreSQL database is above a limit, like replication_lag=5s@DSN. Can be given several times.",
        check=_check_guards,
    )

    def throttle_hooks(self) -> list[Callable[[], str]]:
        """Return what has to allow that jobs are handed out: the hours, and each guard."""
        hours = [] if self.hours is None else [_HoursHook(parse_hours(self.hours))]
        return [*hours, *(_parse_guard(one)[0] for one in self.guard)]


class _HoursHook:
    """Says whether now is one of the hours."""

    what = "the time of day"

    def __init__(self, hours: Hours) -> None:
        self._hours = hours

    def __call__(self) -> str:
        return self._hours.why(datetime.now(UTC))


def _parse_guard(given: str) -> tuple[Guard, str]:
    """Return the guard that a text describes, and its DSN."""
    from taskmaster.postgres import guards

    known: dict[str, Callable[[str, str], Guard]] = {
        "replication_lag": guards.replication_lag,
        "active_connections": lambda limit, dsn: guards.active_connections(_number(limit), dsn),
        "long_transactions": guards.long_transactions,
        "locks_waiting": lambda limit, dsn: guards.locks_waiting(_number(limit), dsn),
    }
    name, equals, rest = given.partition("=")
    limit, at, dsn = rest.partition("@")
    name = name.strip()
    # A text that was meant for another place may be the password: a message repeats only what
    # stands where it belongs.
    if name not in known:
        shown = f"names {name!r}" if name.isidentifier() and (equals or not at) else "does not begin with the name"
        raise UsageError(f"--guard {shown}, and no such guard is known. {_help(known)}")
    if not equals or not limit.strip() or not dsn.strip():
        lacks = "its limit" if not equals or not limit.strip() else "the database that it looks at, @ and a DSN"
        raise UsageError(f"--guard {name} lacks {lacks}. {_help(known)}")
    try:
        return known[name](limit.strip(), dsn.strip()), dsn.strip()
    except UsageError as exc:
        if not at or not _SHOWN_LIMIT.fullmatch(limit.strip()):
            raise UsageError(f"--guard {name} has a limit that cannot be read. {_help(known)}") from None
        raise UsageError(f"--guard {name}: {exc} {_help(known)}") from None


def _number(limit: str) -> int:
    if not limit.isdecimal():
        raise UsageError(f"the limit is {limit!r}: give a whole number, 0 or more.")
    return int(limit)


def _help(known: dict[str, Callable[[str, str], Guard]]) -> str:
    return (
        f"There are {', '.join(known)}; a guard is written NAME=LIMIT@DSN, as in "
        "--guard='replication_lag=5s@host=replica dbname=blog' or "
        "--guard=active_connections=50@postgresql://replica/blog."
    )
