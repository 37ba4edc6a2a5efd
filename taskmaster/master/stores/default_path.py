"""What a state is called, and what it belongs to.

Called by ``taskmaster.api``. The same target with the same arguments is the same run, however the
target was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

__all__ = ["default_path", "identity"]

SUFFIX = ".tmstate"


def default_path(name: str, arguments: Mapping[str, str], directory: Path | None = None) -> Path:
    """Where the state is kept if nobody says so: in the working directory, after the source and a
    digest of its arguments.
    """
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
    if arguments:
        safe += "-" + blake2b(_as_text(arguments).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return (directory or Path.cwd()) / (safe + SUFFIX)


def identity(name: str, arguments: Mapping[str, str]) -> str:
    """What a state belongs to, as a person can read it."""
    return f"{name} {_as_text(arguments)}" if arguments else name


def _as_text(arguments: Mapping[str, str]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)
