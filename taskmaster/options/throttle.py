"""The options that hold a run back, ``--rate``, ``--nice``, ``--hours`` and ``--guard``, and what a
guard on the command line means.

A part of ``taskmaster.options.commands``. A guard is written ``NAME=LIMIT@DSN``; nothing of the DSN
is ever shown, because there may be a password in it.
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
from taskmaster.options.values import check_ratio, check_text
from taskmaster.units import rate_of

__all__ = ["ThrottleOptions"]

MOST_NICE = 100.0  # a hundredth of the time is worked; above it, a wrong unit is likelier than a wish
LIMIT = re.compile(r"[\w.+-]{1,20}")  # what is repeated in a message; of a DSN whose limit was forgotten nothing is


@dataclass(frozen=True)
class ThrottleOptions:
    """What ``tm-master`` and ``tm-run`` have in common with this."""

    rate: float | None = None
    """Most jobs handed out a second, to all slaves together; None: as many as they can take."""
    nice: float = 0.0
    """How long each worker rests after a batch, in multiples of the time that the batch took."""
    guard: tuple[str, ...] = ()
    """Numbers of a database that hold the run back, each as ``NAME=LIMIT@DSN``."""
    hours: str | None = None
    """Windows of the week outside of which no jobs are handed out; None: they always are."""

    def check_throttle(self) -> None:
        """See that each value is one that it can be.

        Raises:
            UsageError: names the option and the value, without a password.
        """
        if self.rate is not None:
            rate_of("--rate", self.rate)
        check_ratio("--nice", self.nice, MOST_NICE)
        if self.hours is not None:
            check_text("--hours", self.hours)
            parse_hours(self.hours)
        given: Any = self.guard
        if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
            raise UsageError("--guard is given as something else than a list of texts: write guard=['NAME=LIMIT@DSN'].")
        for text in self.guard:
            _, dsn = _made(text)
            from taskmaster.postgres.dsn import check

            check("--guard", dsn)

    def throttle_hooks(self) -> list[Callable[[], str]]:
        """Return what has to allow that jobs are handed out: the hours, and each guard."""
        hours = [] if self.hours is None else [_HoursHook(parse_hours(self.hours))]
        return [*hours, *(_made(text)[0] for text in self.guard)]


class _HoursHook:
    """Asks the clock whether it is time."""

    what = "the time of day"

    def __init__(self, hours: Hours) -> None:
        self._hours = hours

    def __call__(self) -> str:
        return self._hours.why(datetime.now(UTC))


def _made(text: str) -> tuple[Guard, str]:
    """The guard that a text describes, and its DSN."""
    from taskmaster.postgres import guards as there

    known: dict[str, Callable[[str, str], Guard]] = {
        "replication_lag": there.replication_lag,
        "active_connections": lambda limit, dsn: there.active_connections(_number(limit), dsn),
        "long_transactions": there.long_transactions,
        "locks_waiting": lambda limit, dsn: there.locks_waiting(_number(limit), dsn),
    }
    name, equals, rest = text.partition("=")
    limit, at, dsn = rest.partition("@")
    name = name.strip()
    # What was meant for another place may be the password: nothing is repeated but what is where it
    # belongs.
    if name not in known:
        shown = f"names {name!r}" if name.isidentifier() and (equals or not at) else "does not begin with the name"
        raise UsageError(f"--guard {shown}, and no such guard is known. {_help(known)}")
    if not equals or not limit.strip() or not dsn.strip():
        lacks = "its limit" if not equals or not limit.strip() else "the database that it looks at, @ and a DSN"
        raise UsageError(f"--guard {name} lacks {lacks}. {_help(known)}")
    try:
        return known[name](limit.strip(), dsn.strip()), dsn.strip()
    except UsageError as exc:
        if not at or not LIMIT.fullmatch(limit.strip()):
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
