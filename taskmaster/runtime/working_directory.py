"""The working directory: which may have been removed since this process came there, and which the
user's code may leave, as a module does that changes to its own folder when it is imported.

What a command names is to be found where the command was typed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmaster.errors import UsageError

__all__ = ["GONE", "check", "find", "kept", "where_typed"]

GONE = (
    "The working directory is not there any more: it was removed, or replaced by another one of its name. "
    "Change to a directory that exists (cd)."
)


_typed_in: list[Path] = []  # a command may run within another one


@contextmanager
def kept() -> Iterator[None]:
    """Keep in mind where this process is now, for as long as a command runs.

    Raises:
        UsageError: As ``check``.
    """
    check()
    _typed_in.append(Path.cwd())
    try:
        yield
    finally:
        _typed_in.pop()


def where_typed() -> Path:
    """Return where the command was typed that this process runs; where it is now if there is
    none.
    """
    return _typed_in[-1] if _typed_in else Path.cwd()


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
