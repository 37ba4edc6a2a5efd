"""How an option is declared: once, as the field of a dataclass, with all that is known about it.

A field is made by ``flag``, ``text``, ``texts``, ``choice``, ``count``, ``seconds``, ``ratio`` or
``amount``. From it, the commands have the spelling, the help text, the type, the default and the
environment variable; scripts have the keyword; ``check_options`` has the limits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import field, fields
from enum import Enum
from typing import Any, TypeVar

from taskmaster.errors import UsageError
from taskmaster.records import record
from taskmaster.units import free_seconds_of

__all__ = [
    "Option",
    "Section",
    "amount",
    "check_options",
    "choice",
    "count",
    "flag",
    "from_options",
    "option_of",
    "ratio",
    "seconds",
    "spelling",
    "text",
    "texts",
]

_Settings = TypeVar("_Settings")
Check = Callable[[str, Any], object]
"""Refuses a value with ``UsageError``; is called with the spelling of the option, and the value."""


class Section(Enum):
    """The parts of a command's help, in their order; the values are their headings."""

    WORKERS = "Workers"
    STATE = "State"
    QUEUE = "Queue"
    FAILURES = "Failures"
    PACE = "Pace"
    SCOPE = "Part of a run"
    NETWORK = "Network"
    SLAVES = "Slaves"
    ENGINE = "Engine"
    TARGET = "Target"
    TELLING = "Notifications"
    PAGE = "Page"
    OUTPUT = "Output"


@record()
class Option:
    """What there is to know about an option beside its name, its type and its default.

    Attributes:
        section: The part of the help in which it is listed.
        help: What it does, as whole sentences.
        check: Refuses a value that is not allowed; None is allowed where it is the default.
        type: What a text of the command line is converted to: int, float or str; bool for a flag.
        metavar: The name of the value in the help.
        unset: What the default is, where that is None, for the help.
        choices: The values that are allowed, where they can be counted.
        read: Reads a text with a unit, such as ``2h``; scripts may give it as such a text, too.
        alone: The value that is meant by the option without a value; None: it needs one.
        several: Whether it may be given several times.
        alias: A second spelling.
        environment: Whether the variable ``TASKMASTER_NAME`` is read.
        commands_only: Why scripts do not have it, as the end of a message; "" if they do.
    """

    section: Section
    help: str
    check: Check
    type: type = str
    metavar: str | None = None
    unset: str = ""
    choices: tuple[str, ...] = ()
    read: Check | None = None
    alone: int | str | None = None
    several: bool = False
    alias: str = ""
    environment: bool = True
    commands_only: str = ""


def flag(section: Section, description: str, **more: Any) -> Any:
    """Declare an option without a value."""
    return _declared(False, Option(section, description, _check_flag, bool, **more))


def text(section: Section, default: str | None, metavar: str, description: str, **more: Any) -> Any:
    """Declare an option whose value is a text or a path."""
    return _declared(default, Option(section, description, metavar=metavar, **{"check": _check_text, **more}))


def texts(section: Section, metavar: str, description: str, *, check: Check, **more: Any) -> Any:
    """Declare an option that may be given several times; its value is a tuple of texts."""
    return _declared((), Option(section, description, check, metavar=metavar, several=True, **more))


def choice(
    section: Section, default: str, choices: tuple[str, ...], description: str, *, capitals: bool = False, **more: Any
) -> Any:
    """Declare an option whose value is one of some words, with ``capitals`` in capitals, too."""

    def check(option: str, value: Any) -> None:
        if value not in choices and not (capitals and str(value).lower() in choices):
            raise UsageError(f"{option} is {value!r}: give one of {', '.join(choices)}.")

    return _declared(default, Option(section, description, check, choices=choices, **more))


def count(
    section: Section, default: int | None, description: str, *, least: int, most: int | None = None, **more: Any
) -> Any:
    """Declare an option whose value is a whole number from ``least`` to ``most``."""

    def check(option: str, value: Any) -> None:
        # bool is an int to Python, and a slip to a person.
        if type(value) is not int:
            raise UsageError(f"{option} is {value!r}: give a whole number.")
        if value < least or (most is not None and value > most):
            allowed = f"{least} or more" if most is None else f"from {least} to {most}"
            raise UsageError(f"{option} is {value}: give {allowed}.")

    return _declared(default, Option(section, description, check, int, **{"metavar": "N", **more}))


def seconds(section: Section, default: float | None, description: str, *, least: float = 0.0, **more: Any) -> Any:
    """Declare an option whose value is a number of seconds, ``least`` or more, or endless; it may
    be written as a time, such as ``15m``.
    """

    def check(option: str, value: Any) -> None:
        # The comparison is this way round because nan is not at least anything.
        if type(value) not in (int, float) or not value >= least:
            raise UsageError(f"{option} is {value!r}: give a number of seconds, {least:g} or more.")

    given = {"check": check, "read": free_seconds_of, **more}
    return _declared(default, Option(section, description, type=float, metavar="SECONDS", **given))


def ratio(section: Section, default: float, description: str, *, most: float, **more: Any) -> Any:
    """Declare an option whose value is a number from 0 to ``most``."""

    def check(option: str, value: Any) -> None:
        if type(value) not in (int, float) or not 0 <= value <= most:
            raise UsageError(f"{option} is {value!r}: give a number from 0 to {most:g}.")

    return _declared(default, Option(section, description, type=float, metavar="RATIO", **{"check": check, **more}))


def amount(section: Section, metavar: str, read: Check, description: str, **more: Any) -> Any:
    """Declare an option, without a default, whose value may be written with a unit; ``read`` reads
    and checks it.
    """
    return _declared(None, Option(section, description, metavar=metavar, **{"read": read, "check": read, **more}))


def option_of(one: Any) -> Option:
    """Return what a field of an options class declares."""
    declared: Option = one.metadata["option"]
    return declared


def spelling(name: str) -> str:
    """Return how the command line spells the option of a field."""
    return f"--{name.replace('_', '-')}"


def check_options(options: Any) -> None:
    """Check that each value of an options object is allowed.

    Raises:
        UsageError: One is not; the message names the option and the value.
    """
    for one in fields(options):
        value = getattr(options, one.name)
        if value is not None or one.default is not None:
            option_of(one).check(spelling(one.name), value)


def from_options(cls: type[_Settings], options: Any, **more: Any) -> _Settings:
    """Make the settings of another room: a field that is called like an option has its value.

    Args:
        cls: The dataclass of that room.
        options: The options.
        **more: The other fields, and those whose values differ from the options'.
    """
    shared = {one.name for one in fields(cls)} & {one.name for one in fields(options)}  # type: ignore[arg-type]
    return cls(**{**{name: getattr(options, name) for name in shared}, **more})


def _declared(default: Any, option: Option) -> Any:
    return field(default=default, metadata={"option": option})


def _check_flag(option: str, value: Any) -> None:
    # A text is true, also "no": a run would be given up because of reset="no".
    if isinstance(value, str) or value not in (True, False):
        raise UsageError(f"{option} is {value!r}: give True or False.")


def _check_text(option: str, value: Any) -> None:
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{option} is {value!r}: give a text.")
