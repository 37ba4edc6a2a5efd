"""Where the state of a run is kept if nobody says so.

In the working directory, under a name that a person can read and that differs where runs differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from taskmaster.errors import StateRefused

__all__ = ["SUFFIX", "arguments_digest", "check_directory", "state_path"]

SUFFIX = ".tmstate"
LONGEST_FILE_NAME = 100  # characters of the readable part; file names end at 255 bytes on most disks


def state_path(readable: str, digest: str = "", directory: Path | None = None) -> Path:
    """Return the path of a state.

    Args:
        readable: what the run is called.
        digest: tells runs apart that would be called alike.
        directory: where; None: the working directory.
    """
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in readable)[:LONGEST_FILE_NAME]
    # A name with a dash before it would be taken for an option, and one with a dot is not listed.
    safe = safe.lstrip("-.") or "run"
    return (directory or Path.cwd()) / (safe + (f"-{digest}" if digest else "") + SUFFIX)


def arguments_digest(arguments: Mapping[str, str]) -> str:
    """Return the digest of the arguments of ``get_jobs``; "" if there are none."""
    if not arguments:
        return ""
    text = json.dumps(dict(arguments), sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def check_directory(state: Path) -> None:
    """Check that there is a directory for a state.

    Raises:
        StateRefused: There is none.
    """
    if not state.parent.is_dir():
        raise StateRefused(
            f"There is no directory {state.parent} for the state. Make it, or name another with --state=PATH."
        )
