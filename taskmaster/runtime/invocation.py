"""How this process was started: by a command, by a script, or by somebody at a prompt."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["is_command", "is_interactive"]


def is_command() -> bool:
    """Return whether this process is one of Taskmaster's commands, and no script."""
    return Path(sys.argv[0]).name.startswith("tm-")


def is_interactive() -> bool:
    """Return whether somebody types at the prompt of Python, IPython or a notebook."""
    if hasattr(sys, "ps1"):
        return True
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
