"""What is missing where a worker runs on an engine, which has only those of the user's files that
travel with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from taskmaster.errors import TargetError

__all__ = ["cure_elsewhere"]

WHAT_IS_THERE = "a slave on an engine has what is installed there, and what --ship=PATH names"


def cure_elsewhere(exc: BaseException | None) -> str:
    """Return what may help against an exception, "" if that is none about a missing module or file.

    A file is looked for where the user's own were unpacked if its path is a relative one.
    """
    if isinstance(exc, TargetError):
        exc = exc.__context__  # it is raised where the import has raised
    while exc is not None:
        if isinstance(exc, ModuleNotFoundError) or (
            isinstance(exc, FileNotFoundError)
            and isinstance(exc.filename, str | bytes)
            and not Path(os.fsdecode(exc.filename)).is_absolute()
        ):
            return f" ({WHAT_IS_THERE})"
        exc = exc.__cause__
    return ""
