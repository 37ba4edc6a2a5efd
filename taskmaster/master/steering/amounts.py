"""Times and rates of requests: read, and said. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from taskmaster.errors import UsageError
from taskmaster.master.records.steering_records import LiveChange
from taskmaster.units import rate_of, seconds_of, show_moment, show_rate

__all__ = ["BY_DEFAULT", "OFF", "because", "end_of_hold", "is_rate", "rate_from", "rate_text", "said_of_rate"]

FURTHEST_SECONDS = 366 * 86400.0  # a hold ends at most this far in the future
OFF, BY_DEFAULT = "off", "default"
NO_LIMIT = "no limit"


def end_of_hold(arguments: Mapping[str, str], now: float) -> float | None:
    """Return when a hold ends (seconds since the epoch), None if it does when it is lifted.

    Args:
        arguments: The arguments of the request: ``for``, a duration, or ``until``, seconds since
            the epoch.
        now: Seconds since the epoch.

    Raises:
        UsageError: There is no such time.
    """
    if "for" in arguments and "until" in arguments:
        raise UsageError("--for and --until are both given: leave one out.")
    if "for" in arguments:
        seconds = seconds_of("--for", arguments["for"])
    elif "until" in arguments:
        try:
            seconds = float(arguments["until"]) - now
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise UsageError(f"--until is {arguments['until']!r}: give a time, such as 22:00.")
        if seconds <= 0:
            raise UsageError(f"--until is {_moment(now + seconds)}, which is over already.")
    else:
        return None
    if not seconds <= FURTHEST_SECONDS:
        raise UsageError("A run can be paused for a year at most; leave the time out to pause it until it is resumed.")
    return now + seconds


def _moment(at: float) -> str:
    try:
        return show_moment(at)
    except (ValueError, OverflowError, OSError):
        return f"{at:g}"  # no calendar has it


def rate_from(text: str) -> float:
    """Return jobs a second, as ``--rate`` reads them.

    Raises:
        UsageError: The text is not a rate, or the rate is 0.
    """
    if text in ("0", "0/s", "0/m"):
        raise UsageError("The rate 0 would hand out nothing: use `tm-ctl pause`.")
    if not text:
        raise UsageError("The rate is missing: give a number of jobs a second like 100 or 30/m, off, or default.")
    return rate_of("The rate", text)


def because(rate: float | None, change: LiveChange) -> str:
    """Return the sentence about a rate that holds the run back."""
    return "" if rate is None else f"{show_rate(rate)}, set by {change.by}"


def rate_text(value: str) -> str:
    """Return a rate that was kept as text, for people."""
    if value in (OFF, NO_LIMIT):
        return NO_LIMIT
    try:
        return show_rate(float(value))
    except ValueError:
        return value


def said_of_rate(after: str, before: str) -> str:
    """Return what is said to the one who has changed the rate, both as texts for people."""
    was = "had" if before == NO_LIMIT else "was"
    return f"The rate {is_rate(after)} from now on; it {was} {before}."


def is_rate(text: str) -> str:
    """Return what a rate is, as in "the rate is 30/s"."""
    return f"has {text}" if text == NO_LIMIT else f"is {text}"
