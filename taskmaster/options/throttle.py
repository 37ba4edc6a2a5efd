"""The options that hold a run back: ``--rate``, ``--nice``, ``--hours`` and ``--guard``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.options.guard import parse_guard
from taskmaster.options.hours import Hours, parse_hours
from taskmaster.options.option import Section, amount, ratio, text, texts
from taskmaster.units import rate_of

__all__ = ["ThrottleOptions"]

MOST_NICE = 100.0  # a hundredth of the time is worked; above it, a wrong unit is likelier than a wish


def _check_hours(option: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{option} is {value!r}: give a text.")
    parse_hours(value)


def _check_guards(option: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{option} is given as something else than a list of texts: write guard=['NAME=LIMIT@DSN'].")
    for one in value:
        parse_guard(one)


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
        "Hand nothing out while a number is above its limit: replication_lag, active_connections, long_transactions, "
        "locks_waiting, wal_rate or checkpoints_forced of a PostgreSQL database, like replication_lag=5s@DSN; "
        "dead_tuples=TABLE:LIMIT@DSN; autovacuum_running=TABLE@DSN; cpu_load=80% or disk_free=20G@PATH of the "
        "master's machine; or while http=URL does not answer 200. Can be given several times.",
        check=_check_guards,
    )

    def throttle_hooks(self) -> list[Callable[[], str]]:
        """Return what has to allow that jobs are handed out: the hours, and each guard."""
        hours = [] if self.hours is None else [_HoursHook(parse_hours(self.hours))]
        return [*hours, *(parse_guard(one) for one in self.guard)]


class _HoursHook:
    """Says whether now is one of the hours."""

    what = "the time of day"

    def __init__(self, hours: Hours) -> None:
        self._hours = hours

    def __call__(self) -> str:
        return self._hours.why(datetime.now(UTC))
