"""What a client asks for, checked: the sender has the key, and is not trusted any further. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.records import record
from taskmaster.redaction import clean, clean_short

__all__ = ["Command", "SteerRequest"]

LONGEST_ARGUMENT = 300  # characters of a reason or of an argument
LONGEST_CLEANED = 10  # times what is kept of a text: it may hold spaces that are not
LONGEST_OPERATOR_NAME = 64  # characters of a user's or a machine's name
MOST_ARGUMENTS = 32
VIAS = ("tm-ctl", "script", "web")


class Command(StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    """Hand nothing more out, and take back what has not begun."""
    RESUME = "resume"
    """Lift the hold."""
    RATE = "rate"
    """Hand out at most this many jobs a second."""
    STOP = "stop"
    """End the run where it can go on, as a first SIGTERM does."""
    QUIET = "quiet"
    """Give a slave nothing more."""
    SET = "set"
    """Change settings of the run."""
    RETRY = "retry"
    """Run failed jobs again."""
    NOTE = "note"
    """Write something into the trail."""


@record()
class SteerRequest:
    """A request that is well-formed.

    Attributes:
        id: Chosen by the client; the same again is the same request.
        command: What is asked for.
        user: Who asks, as the client says.
        host: On which machine.
        via: The program that asked, one of ``VIAS``.
        reason: Why; "" if no reason was given.
        arguments: The arguments of the command, as texts; None for a flag that is not set.
        run: The id of the run that is meant; "" if the client has not said it.
    """

    id: str
    command: Command
    user: str
    host: str
    via: str
    reason: str
    arguments: Mapping[str, str]
    run: str = ""

    @property
    def who(self) -> str:
        """Who asks, for people."""
        return f"{self.user}@{self.host}" if self.host else self.user

    @classmethod
    def from_wire(cls, value: Any) -> SteerRequest:
        """Check what a client has sent.

        Raises:
            UsageError: It is no request; says what is wrong with it.
        """
        if not isinstance(value, dict):
            raise UsageError("What was sent is not a request: it has no fields.")
        ident = value.get("id")
        if not isinstance(ident, str) or not 8 <= len(ident) <= LONGEST_OPERATOR_NAME:
            raise UsageError("The request lacks an id of 8 to 64 characters.")
        by = value.get("by")
        by = by if isinstance(by, dict) else {}
        via, command = by.get("via"), _command(value.get("command"))
        return cls(
            ident,
            command,
            _text(by.get("user"), LONGEST_OPERATOR_NAME) or "somebody",
            _text(by.get("host"), LONGEST_OPERATOR_NAME),
            via if via in VIAS else "script",
            _reason(value.get("reason"), command),
            _arguments(value.get("arguments")),
            _text(value.get("run"), LONGEST_OPERATOR_NAME),
        )


def _command(value: Any) -> Command:
    name = _text(value, LONGEST_OPERATOR_NAME)  # the error of an enumeration quotes the whole value
    try:
        return Command(name)
    except ValueError:
        import difflib

        near = difflib.get_close_matches(name, list(Command), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(Command)}."
        raise UsageError(f"This master knows no command {name!r}; {hint}") from None


def _reason(value: Any, command: Command) -> str:
    """Return a reason, which is cut: a pause must not fail because of a long one. A note is
    nothing else, and is refused then.
    """
    text = _text(value, LONGEST_ARGUMENT + 1)
    if len(text) <= LONGEST_ARGUMENT:
        return text
    if command is Command.NOTE:
        raise UsageError(f"The note is longer than the {LONGEST_ARGUMENT} characters that are kept: shorten it.")
    return text[: LONGEST_ARGUMENT - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _arguments(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_ARGUMENTS:
        raise UsageError("The arguments of the request are not a mapping of names to texts.")
    found = {}
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise UsageError("The arguments of the request are not a mapping of names to texts.")
        if len(text) > LONGEST_ARGUMENT:
            raise UsageError(f"An argument of the request is longer than {LONGEST_ARGUMENT} characters.")
        found[clean(name)[:LONGEST_OPERATOR_NAME]] = text
    return found


def _text(value: Any, most: int) -> str:
    return " ".join(clean_short(value, LONGEST_CLEANED * most).split())[:most]
