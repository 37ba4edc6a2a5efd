"""The working directory, which may have been removed since this process came there."""

from __future__ import annotations

from pathlib import Path

from taskmaster.errors import UsageError

__all__ = ["GONE", "check", "find"]

GONE = (
    "The working directory is not there any more: it was removed, or replaced by another one of its name. "
    "Change to a directory that exists (cd)."
)


def find() -> Path | None:
    """Return the working directory; None if it cannot be told."""
    try:
        return Path.cwd()
    except OSError:
        return None


def check() -> None:
    """Refuse to begin where nothing can be found and no state can be written.

    Raises:
        UsageError: The working directory is not there.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError(GONE) from None
    except OSError as exc:
        raise UsageError(f"The working directory cannot be read: {exc.strerror}. Change to another one (cd).") from None
