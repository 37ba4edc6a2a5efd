"""Taskmaster runs a Python function once over a very large, ordered source of work, on many
machines, and resumes where it was.

The public names are here; ``taskmaster.api`` says how to use them from a script, the commands
``tm-run``, ``tm-master`` and ``tm-slave`` from a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskmaster.model import Job
from taskmaster.outcomes import Abort, Retry, Skip

if TYPE_CHECKING:
    from taskmaster.api import Taskmaster

__all__ = ["Abort", "Job", "Retry", "Skip", "Taskmaster", "__version__"]

__version__ = "1.0.0"


def __getattr__(name: str) -> Any:
    # A worker imports this package for every start: it must not pay for the master.
    if name == "Taskmaster":
        from taskmaster.api import Taskmaster

        return Taskmaster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
