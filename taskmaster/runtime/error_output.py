"""How an error is shown: the user's traceback, if their code raised, and one sentence."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress

from taskmaster.errors import TaskmasterError
from taskmaster.redaction import clean_lines, clean_message, without_passwords_in

__all__ = ["say_error", "shown"]


def say_error(name: str, exc: TaskmasterError, *, debug: bool) -> None:
    """Show an error on standard error: the user's traceback, if their code raised, and the message.

    Args:
        name: The name of the program.
        exc: The error.
        debug: Whether to show Taskmaster's own traceback, too.
    """
    parts = shown(name, exc, debug=debug)
    # Where it is full, closed or not there, the exit code still says it.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write("".join(f"{part}\n" for part in parts))


def shown(name: str, exc: TaskmasterError, *, debug: bool) -> list[str]:
    """Return what is shown of an error, without a line end behind each part."""
    parts = [clean_lines(exc.user_traceback.rstrip("\n"))] if exc.user_traceback else []
    if debug:
        parts.append(clean_lines("".join(traceback.format_exception(exc)).rstrip("\n")))
    if str(exc):
        # The message may repeat an argument, which may be a DSN.
        parts.append(clean_message(without_passwords_in(f"{name}: {exc}")))
    return parts
