"""The errors that Taskmaster raises on purpose: one tree, each class with the exit code with which
it ends a command.

A message is for the person at the terminal: full sentences that say what happened, with the value;
why; and which option or command cures it.
"""

from __future__ import annotations

import signal

__all__ = [
    "AuthError",
    "BudgetSpent",
    "CallError",
    "ConnectError",
    "Interrupted",
    "KeyUnstorable",
    "ListenError",
    "NoMaster",
    "SourceError",
    "StateBusy",
    "StateError",
    "StateLocked",
    "StateRefused",
    "StateUnwritable",
    "Stopped",
    "TargetError",
    "TaskmasterError",
    "UsageError",
    "named",
]


class TaskmasterError(Exception):
    """Something went wrong that Taskmaster can explain.

    Args:
        message: What happened, why, and what cures it.
        user_traceback: The formatted traceback of the user's own code, if that is the cause. It is
            always shown.
    """

    exit_code = 1

    def __init__(self, message: str, *, user_traceback: str | None = None) -> None:
        super().__init__(message)
        self.user_traceback = user_traceback


class SourceError(TaskmasterError):
    """``get_jobs`` raised an exception or yielded something that is no job. The run stops and can
    be resumed.
    """

    exit_code = 1


class UsageError(TaskmasterError):
    """A command or a call was given something that it cannot work with."""

    exit_code = 2


class CallError(UsageError, TypeError):
    """A function of Taskmaster was called with arguments that it does not take, such as an unknown
    option.
    """


class TargetError(UsageError):
    """A TARGET cannot be parsed or imported, or lacks the function."""


class KeyUnstorable(UsageError):
    """A job has no key, or one that the state cannot hold without loss."""


class BudgetSpent(TaskmasterError):
    """Too many jobs failed, or the callback raised ``Abort``. The run can be resumed."""

    exit_code = 4


class StateError(TaskmasterError):
    """The state cannot be used. It is left as it was."""

    exit_code = 5


class StateLocked(StateError):
    """Another master owns the state.

    Attributes:
        address: Where that master serves, ``HOST:PORT``; None if that is not known.
    """

    def __init__(self, message: str, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address


class StateRefused(StateError):
    """The state is damaged, empty, foreign, newer, or does not fit the source."""


class StateUnwritable(StateError):
    """The state cannot be written (disk full, read-only directory, I/O error)."""


class StateBusy(StateUnwritable):
    """The state cannot be read now, because a checkpoint is being written or could not be written.
    Reading it again later can succeed.
    """


class ConnectError(TaskmasterError):
    """The master cannot be reached."""

    exit_code = 6


class NoMaster(UsageError, ConnectError):
    """The state that was named has no master at the moment, on this machine."""

    exit_code = 6


class AuthError(ConnectError):
    """Master and slave do not hold the same key."""


class ListenError(TaskmasterError):
    """The master cannot listen on its address."""

    exit_code = 6


class Stopped(TaskmasterError):
    """The run stopped before its end because an option asked for that (``--run-time``, ``--limit``,
    ``--failed``). It can be resumed.

    The exit code is EX_TEMPFAIL of ``sysexits.h``, "try again later": it is neither an error nor
    the end, so that a script can repeat the command until the exit code is another one.
    """

    exit_code = 75


class Interrupted(TaskmasterError):
    """A signal ended the command; the run can be resumed.

    Args:
        message: What to say.
        signum: The signal's number. The exit code is 128 + ``signum``.
        why: Who or what ended it, as in "stopped by SIGTERM"; "": the signal.

    Attributes:
        why: The same, never empty.
    """

    def __init__(self, message: str, signum: int, why: str = "") -> None:
        super().__init__(message)
        self.why = why or "stopped by " + ("Ctrl-C" if signum == signal.SIGINT else _name_of(signum))
        self.exit_code = 128 + signum


def _name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def named(kind: type) -> str:
    """Return the name of a type with its article, as messages say it."""
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__}"
