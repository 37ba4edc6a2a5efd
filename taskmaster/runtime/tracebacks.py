"""An exception as people see it: its traceback without our own frames, in one line, or the reason.

A person who looks for a bug in a migration wants the lines of the migration. Guarantees: an
exception whose ``__str__`` is broken is shown without its message, and hides nothing else.
"""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path
from types import TracebackType

__all__ = ["OURS", "has_users_frame", "one_line", "reason", "users_traceback"]

OURS = str(Path(__file__).parents[1]) + os.sep
"""Begins the path of each file of this package."""

_MACHINERY = ("<frozen importlib", "<frozen runpy", importlib.__file__)


def users_traceback(exc: BaseException, first: TracebackType | None = None) -> str:
    """Format an exception, its causes included, from the first frame that is the user's.

    All frames are shown where none is the user's: then the error is not theirs.

    Args:
        exc: The exception.
        first: The frame to begin with, if that is known.
    """
    first = first or _first_of_user(exc)
    if first is None and not isinstance(exc, SyntaxError):
        first = exc.__traceback__  # a SyntaxError names the user's line itself
        if type(exc).__module__.startswith("taskmaster."):
            return f"{type(exc).__qualname__}: {exc}\n"  # its message says all
    try:
        lines = traceback.format_exception(type(exc), exc, first)
    except Exception:
        # A broken __str__ or __repr__ in the user's exception must not hide that there was one.
        lines = [*traceback.format_tb(first), f"{type(exc).__qualname__}: <its message cannot be shown>\n"]
    return "".join(lines)


def has_users_frame(exc: BaseException) -> bool:
    """Return whether one of the user's lines has had a part in an exception."""
    return _first_of_user(exc) is not None


def one_line(exc: BaseException) -> str:
    """Return an exception in one line: its class, and what it says."""
    text = _message(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def reason(exc: BaseException) -> str:
    """Return what an exception says, in one line, for the middle of a sentence; its class if it
    says nothing.
    """
    said = exc.strerror if isinstance(exc, OSError) else None
    return said or _message(exc) or type(exc).__name__


def _message(exc: BaseException) -> str:
    try:
        return " ".join(str(exc).split())
    except Exception:
        return ""


def _first_of_user(exc: BaseException) -> TracebackType | None:
    """Return the first frame that is the user's; None if there is none."""
    first = exc.__traceback__
    while first is not None and _is_ours(first):
        first = first.tb_next
    return first


def _is_ours(frame: TracebackType) -> bool:
    name = frame.tb_frame.f_code.co_filename
    if name.endswith("example.py"):
        return False  # taskmaster.example stands for the user's own module
    return name.startswith(_MACHINERY) or name.startswith(OURS)
