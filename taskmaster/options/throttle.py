"""The options that hold a run back, ``--pace``, ``--rate``, ``--nice``, ``--hours`` and
``--guard``, and how a pace is written on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskmaster.errors import UsageError
from taskmaster.guards.pace import Pace, PaceLimit
from taskmaster.options.option import Section, amount, ratio, text, texts
from taskmaster.records import record
from taskmaster.units import rate_of

if TYPE_CHECKING:  # loaded where such an option is given
    from taskmaster.options.hours import Hours
    from taskmaster.postgres.probe import DatabaseProbe

__all__ = ["ThrottleOptions", "probe_of"]

MOST_NICE = 100.0  # a hundredth of the time is worked; above it, a wrong unit is likelier than a wish


def _check_hours(option: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{option} is {value!r}: give a text.")
    from taskmaster.options.hours import parse_hours

    parse_hours(value)


def _check_guards(option: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{option} is no list of texts: write guard=['NAME=LIMIT@DSN'].")
    _guards(value)


def _check_pace(option: str, value: Any) -> None:
    if isinstance(value, Pace):
        return
    if not isinstance(value, str):
        raise UsageError(f"{option} is no text: write pace='1.5x@DSN', or postgres.pace('1.5x', DSN).")
    _parse_pace(value)


def _parse_pace(given: str) -> Pace | None:
    """Return the pace that a text describes; None: it is off."""
    if given.strip().lower() == "off":
        return None
    from taskmaster.options.guard import SHOWN_LIMIT
    from taskmaster.postgres.dsn import check
    from taskmaster.postgres.probe import pace

    limit, at, dsn = given.partition("@")
    try:
        PaceLimit.read(limit)
    except UsageError as exc:
        shown = f"{limit.strip()!r}, a limit" if at and SHOWN_LIMIT.fullmatch(limit.strip()) else "a limit"
        raise UsageError(f"--pace has {shown} that cannot be read: {exc} It is written LIMIT@DSN, or off.") from None
    if not at or not dsn.strip():
        raise UsageError("--pace lacks the database that it spares, @ and a DSN, as in --pace='1.5x@dbname=blog'.")
    check("--pace", dsn.strip())
    return pace(limit, dsn.strip())


def probe_of(dsn: str, statement: str) -> DatabaseProbe:
    """Return the probe of a database.

    Raises:
        UsageError: The DSN cannot be read.
    """
    from taskmaster.postgres.dsn import check
    from taskmaster.postgres.probe import DatabaseProbe

    check("tm-ctl probe", dsn)
    return DatabaseProbe(dsn, statement)


@record(slots=False)
class ThrottleOptions:
    """The options that may hold a run back."""

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
        "Hand out no jobs while a number is above its limit: replication_lag, active_connections, long_transactions, "
        "locks_waiting, wal_rate or checkpoints_forced of a PostgreSQL database, like replication_lag=5s@DSN; "
        "dead_tuples=TABLE:LIMIT@DSN; autovacuum_running=TABLE@DSN; cpu_load=80% or disk_free=20G@PATH of the "
        "master's machine; or while http=URL does not answer 200. Can be given several times.",
        check=_check_guards,
    )

    pace: str | None = text(
        Section.PACE,
        None,
        "LIMIT@DSN",
        "Go only as fast as a small transaction in a PostgreSQL database takes at most 20 ms, with 20ms@DSN, or 1.5 "
        "times as long as without the run, with 1.5x@DSN.",
        unset="off, or what the module says",
        check=_check_pace,
    )

    def paced(self, named: Pace | None) -> Pace | None:
        """Return the pace of the options or, without one, that of the module."""
        given: Any = self.pace  # from a script, it may be a Pace already
        if given is None or isinstance(given, Pace):
            return given or named
        return _parse_pace(given)

    def throttle_hooks(self) -> list[Callable[[], str]]:
        """Return the hooks of the hours and the guards, each of which can hold jobs back."""
        hooks: list[Callable[[], str]] = _guards(self.guard)
        if self.hours is not None:
            from taskmaster.options.hours import parse_hours

            hooks.insert(0, _HoursHook(parse_hours(self.hours)))
        return hooks


def _guards(given: Collection[str]) -> list[Callable[[], str]]:
    if not given:
        return []
    from taskmaster.options.guard import parse_guard

    return [parse_guard(one) for one in given]


class _HoursHook:
    """A throttle hook that allows jobs within the hours."""

    what = "the time of day"

    def __init__(self, hours: Hours) -> None:
        self._hours = hours

    def __call__(self) -> str:
        return self._hours.why(datetime.now(UTC))
