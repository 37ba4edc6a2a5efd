"""Durations, fractions and rates as people write them: ``2h``, ``1h30m``, ``0.1%``, ``100/m``.

Everywhere else, seconds and fractions are floats, and rates are numbers a second.
"""

from __future__ import annotations

import math
import re
import time

from taskmaster.errors import UsageError

__all__ = [
    "bytes_of",
    "fraction_of",
    "free_seconds_of",
    "rate_of",
    "seconds_of",
    "show_bytes",
    "show_count",
    "show_moment",
    "show_percent",
    "show_rate",
    "show_seconds",
    "show_settled",
]

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
# Each unit at most once, the larger ones first: 30m1h is more likely a slip than a wish.
_DURATION = "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS)


def show_count(number: int, noun: str, more: str = "s", form: str = "") -> str:
    """Return a number with its noun, as in "1 job" and "2 jobs".

    Args:
        number: How many there are.
        noun: What one of them is called.
        more: What is appended to the noun for any other number.
        form: How the number is formatted, as ``,`` for thousands.
    """
    return f"{number:{form}} {noun}{'' if number == 1 else more}"


def show_settled(number: int) -> str:
    """Return how many jobs are settled, as in "1 job is settled" and "2 jobs are settled"."""
    return f"{show_count(number, 'job')} {'is' if number == 1 else 'are'} settled"


def seconds_of(option: str, value: object) -> float:
    """Return a duration in seconds.

    Args:
        option: What was given, for the message.
        value: A number of seconds, or a text like ``90``, ``90s``, ``15m``, ``2h``, ``1d`` or
            ``1h30m``.

    Raises:
        UsageError: It is not a duration, or not above zero.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        match = re.fullmatch(_DURATION, text + "s" if text[-1:].isdigit() else text)
        found = sum(float(number) * unit for number, unit in _pairs(match)) if text and match else None
    else:
        found = float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]
    if found is None or not 0 < found < float("inf"):
        raise UsageError(
            f"{option} is {value!r}: give a time above zero, as a number of seconds or like 90s, 15m, 2h, 1d or 1h30m."
        )
    return found


def free_seconds_of(option: str, text: str) -> float:
    """Return what a text says in seconds, which may be zero, endless or below zero: whether it may
    be, a check of the option says.

    Args:
        option: What was given, for the message.
        text: A number of seconds, ``inf``, or a duration as ``seconds_of`` reads it.

    Raises:
        UsageError: It is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return seconds_of(option, text)
    except UsageError:
        raise UsageError(
            f"{option} is {text!r}: give a number of seconds, or a time like 90s, 15m, 2h, 1d or 1h30m."
        ) from None


def fraction_of(option: str, value: object, like: str = "0.1% or 0.001") -> float:
    """Return a fraction that is written as a number or in percent.

    Args:
        option: What was given, for the message.
        value: A fraction, or a text like ``0.001`` or ``0.1%``.
        like: What the message shows as an example.

    Raises:
        UsageError: It is no fraction above 0 and up to 1.
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        else:
            found = float(value) if type(value) in (int, float) else 0.0  # type: ignore[arg-type]
    except ValueError:
        found = 0.0
    if not 0 < found <= 1:
        raise UsageError(
            f"{option} is {value!r}: give a fraction above 0 and up to 1, as a number or in percent, like {like}."
        )
    return found


def rate_of(option: str, value: object) -> float:
    """Return a rate as a number a second.

    Args:
        option: What was given, for the message.
        value: A number a second, or a text like ``100``, ``0.5``, ``100/s``, ``30/m``, ``6000/h``
            or ``5000/d``.

    Raises:
        UsageError: It is not a rate, or not above zero.
    """
    try:
        if isinstance(value, str):
            number, slash, unit = value.strip().lower().partition("/")
            found = float(number) / (_UNITS[unit.strip()] if slash else 1.0)
        else:
            found = float(value) if type(value) in (int, float) else 0.0  # type: ignore[arg-type]
    except (ValueError, KeyError):
        found = 0.0
    if not 0 < found < float("inf"):
        raise UsageError(
            f"{option} is {value!r}: give a number of jobs a second above zero, like 100 or 0.5, or one a minute, hour "
            "or day, like 30/m, 6000/h or 5000/d."
        )
    return found


_BYTE_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_BYTES = r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?"


def bytes_of(option: str, value: object) -> int:
    """Return an amount of memory as a number of bytes.

    Args:
        option: What was given, for the message.
        value: A number of bytes, or a text like ``500M``, ``1.5G`` or ``2GiB``; each unit is 1,024
            of the one below.

    Raises:
        UsageError: It is no amount, or nothing at all.
    """
    found = 0
    if isinstance(value, str):
        if match := re.fullmatch(_BYTES, value.strip().lower()):
            found = int(float(match[1]) * _BYTE_UNITS.get(match[2], 1))
    elif type(value) is int:
        found = value
    if found <= 0:
        raise UsageError(f"{option} is {value!r}: give an amount of memory above zero, like 500M, 1.5G or 800000000.")
    return found


def show_bytes(count: int) -> str:
    """Return an amount of memory in the largest unit that leaves a number of one or more.

    Example::

        show_bytes(524288000) == "500M"
    """
    for unit, size in reversed(_BYTE_UNITS.items()):
        if count >= size:
            return f"{count / size:.4g}{unit.upper()}"
    return str(count)


def show_seconds(seconds: float) -> str:
    """Return a duration in the form that ``seconds_of`` reads.

    Example::

        show_seconds(5400.0) == "1h30m"
    """
    parts = []
    for unit, length in _UNITS.items():
        count, rest = divmod(seconds, length)
        if unit == "s":
            count = seconds
        else:
            seconds = rest
        if count:
            parts.append(f"{count:.10g}{unit}")
    return "".join(parts) or "0s"


def show_rounded(seconds: float) -> str:
    """Return a duration in whole seconds, in the form that ``seconds_of`` reads; an endless one,
    which some options may be, in words.
    """
    return show_seconds(float(round(seconds))) if math.isfinite(seconds) else "an endless time"


def show_rate(rate: float | None) -> str:
    """Return a rate as people read it, "no limit" for None.

    Example::

        show_rate(0.5) == "0.5/s"
    """
    return "no limit" if rate is None else f"{rate:.10g}/s"


def show_percent(fraction: float) -> str:
    """Return a fraction in percent.

    Example::

        show_percent(0.001) == "0.1%"
    """
    return f"{100 * fraction:.6g}%"


def _pairs(match: re.Match[str] | None) -> list[tuple[str, float]]:
    groups = match.groups() if match is not None else ()
    return [(number, unit) for number, unit in zip(groups, _UNITS.values(), strict=True) if number is not None]


def show_moment(at: float | None) -> str:
    """Return a time on the clock, in seconds since 1970, as people write it, with the difference
    from UTC; "-" for None.
    """
    if at is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "at no time"  # of a clock or a file that is wrong
