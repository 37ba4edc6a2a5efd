"""What is missing where a worker runs on an engine, which has only those of the user's files that
travel with it.
"""

from __future__ import annotations

import functools
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
        if isinstance(exc, ModuleNotFoundError):
            return f" ({WHAT_IS_THERE}{_found_deeper((exc.name or '').partition('.')[0])})"
        if (
            isinstance(exc, FileNotFoundError)
            and isinstance(exc.filename, str | bytes)
            and not Path(os.fsdecode(exc.filename)).is_absolute()
        ):
            return f" ({WHAT_IS_THERE})"
        exc = exc.__cause__
    return ""


@functools.cache
def _found_deeper(module: str) -> str:
    """Return how a module is found that lies in a folder of what was shipped, as below ``src``; ""
    if none does.
    """
    here = Path.cwd()
    if not module.isidentifier() or here == Path(here.anchor):
        return ""
    for folders in ("*/", "*/*/"):
        for pattern in (f"{module}.py", f"{module}/__init__.py"):
            if found := next(here.glob(folders + pattern), None):
                folder = found.relative_to(here).parents[pattern.count("/")]
                return f"; it has {found.relative_to(here)}, which --env=PYTHONPATH={folder} lets it find"
    wheel = next((one for one in here.glob("*.whl") if one.name.startswith(f"{module}-")), None)
    return "" if wheel is None else f"; it has {wheel.name}, which --env=PYTHONPATH={wheel.name} lets it find"
