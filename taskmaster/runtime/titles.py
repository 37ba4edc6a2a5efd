"""What a process is called in ``ps`` and ``top``, so that an operator knows which one to signal.

The short name, 15 characters, is Linux's own. The whole title needs the ``setproctitle`` package,
which the extra ``titles`` brings along; without it, forked processes keep the command
line of the process that they were forked from.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path

__all__ = ["set_title"]


def set_title(name: str, what: str) -> None:
    """Call this process ``name``, and ``taskmaster: WHAT`` where a whole title is possible."""
    with suppress(ImportError):
        importlib.import_module("setproctitle").setproctitle(f"taskmaster: {what}")
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15])  # after the title, whose beginning is a name, too
