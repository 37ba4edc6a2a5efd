"""How this process was started: by a command, by a script, or by somebody at a prompt; and where
the options of a command come from.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["is_command", "is_interactive", "note_sources", "source_of"]

_sources: dict[str, str] = {}


def note_sources(sources: Mapping[str, str]) -> None:
    """Note where each option of the command comes from: "command line", "environment", "file" or
    "default".
    """
    _sources.update(sources)


def source_of(name: str) -> str:
    """Return where an option of the command comes from; "" where that is not known, as in a
    script.
    """
    return _sources.get(name, "")


def is_command() -> bool:
    """Return whether this process is one of Taskmaster's commands, and no script."""
    return Path(sys.argv[0]).name.startswith("tm-")


def is_interactive() -> bool:
    """Return whether somebody types at the prompt of Python, IPython or a notebook."""
    if hasattr(sys, "ps1"):
        return True
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
