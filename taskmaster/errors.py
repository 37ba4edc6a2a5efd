"""The errors that Taskmaster raises on purpose: one tree, each class with the exit code of its
command.

Raised anywhere, printed by ``taskmaster.cli``. The message is for the person at the terminal: a
full sentence with what happened and the value, why, and the option or command that cures it.
"""

from __future__ import annotations

__all__ = [
    "AuthError",
    "BudgetSpent",
    "CallError",
    "ConnectError",
    "Interrupted",
    "KeyUnstorable",
    "ListenError",
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
        message: what happened, why, and what cures it.
        user_traceback: the formatted traceback of the user's own code, where it is the cause;
            always shown.
    """

    exit_code = 1

    def __init__(self, message: str, *, user_traceback: str | None = None) -> None:
        super().__init__(message)
        self.user_traceback = user_traceback


class SourceError(TaskmasterError):
    """``get_jobs`` raised, or yielded what cannot be worked with; the run stops and can be
    resumed.
    """

    exit_code = 1


class UsageError(TaskmasterError):
    """A command or a call was given something that it cannot work with."""

    exit_code = 2


class CallError(UsageError, TypeError):
    """A function of Taskmaster's was called with what it does not take, such as an option that
    there is not.
    """


class TargetError(UsageError):
    """A target does not parse, does not import, or lacks the function."""


class KeyUnstorable(UsageError):
    """A job has no key, or one that the state cannot hold without loss."""


class BudgetSpent(TaskmasterError):
    """Too much failed, or the callback asked to stop; the run can be resumed."""

    exit_code = 4


class StateError(TaskmasterError):
    """The state cannot be used; whatever is in it is left as it was."""

    exit_code = 5


class StateLocked(StateError):
    """Another master owns the state.

    Attributes:
        address: where that master can be asked, ``HOST:PORT``; None if that is not known.
    """

    def __init__(self, message: str, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address


class StateRefused(StateError):
    """The state is damaged, empty, foreign, newer, or does not fit the source."""


class StateUnwritable(StateError):
    """The state cannot be written (disk full, read-only directory, I/O error)."""


class StateBusy(StateUnwritable):
    """A checkpoint is being written, or could not be; whoever wants to read the state asks
    again.
    """


class ConnectError(TaskmasterError):
    """The master cannot be reached."""

    exit_code = 6


class AuthError(ConnectError):
    """Master and slave do not hold the same key."""


class ListenError(TaskmasterError):
    """The master cannot listen on its address."""

    exit_code = 6


class Stopped(TaskmasterError):
    """The run has not come to its end, as was wanted (``--run-time``, ``--limit``, ``--failed``);
    it can be resumed.

    The exit code is EX_TEMPFAIL of ``sysexits.h``, "try again later": neither an error nor the end,
    so that a script can call the same command again until it gives another one.
    """

    exit_code = 75


class Interrupted(TaskmasterError):
    """A signal ended the command; the run can be resumed.

    Args:
        message: what to say.
        signum: the signal; the exit code is 128 + signum.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def named(kind: type) -> str:
    """Return the name of a type with its article, as messages say it."""
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__}"
