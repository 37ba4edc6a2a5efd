"""Checks of single values, with messages that name the option, the value and what is allowed."""

from __future__ import annotations

import os

from taskmaster.errors import UsageError

__all__ = ["check_choice", "check_number", "check_ratio", "check_seconds", "check_text"]


def check_number(option: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number from ``least`` to ``most``."""
    # bool is an int to Python, and a slip to a person.
    if type(value) is not int:
        raise UsageError(f"{option} is {value!r}: give a whole number.")
    if value < least or (most is not None and value > most):
        allowed = f"{least} or more" if most is None else f"from {least} to {most}"
        raise UsageError(f"{option} is {value}: give {allowed}.")


def check_seconds(option: str, value: object, least: float) -> None:
    """Refuse what is no number of seconds, ``least`` or more."""
    # The comparison is this way round because nan is not at least anything.
    if type(value) not in (int, float) or not value >= least:  # type: ignore[operator]
        raise UsageError(f"{option} is {value!r}: give a number of seconds, {least:g} or more.")


def check_ratio(option: str, value: object, most: float) -> None:
    """Refuse what is no number from 0 to ``most``."""
    if type(value) not in (int, float) or not 0 <= value <= most:  # type: ignore[operator]
        raise UsageError(f"{option} is {value!r}: give a number from 0 to {most:g}.")


def check_text(option: str, value: object, *, optional: bool = False) -> None:
    """Refuse what is neither a text nor a path."""
    if value is None and optional:
        return
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{option} is {value!r}: give a text.")


def check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices and not (option == "--log-level" and str(value).lower() in choices):
        raise UsageError(f"{option} is {value!r}: give one of {', '.join(choices)}.")
