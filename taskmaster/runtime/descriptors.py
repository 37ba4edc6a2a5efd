"""The open descriptors of this process."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["open_descriptors"]

MOST_TRIED = 65536  # numbers that are tried where no folder lists the open ones


def open_descriptors() -> list[int]:
    """Return the numbers of the open descriptors, also where ``/proc`` is not mounted."""
    for folder in ("/dev/fd", "/proc/self/fd"):
        try:
            found = [int(entry.name) for entry in Path(folder).iterdir()]
        except OSError:
            continue
        return [number for number in found if _is_open(number)]  # the folder was open while it was read
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return [number for number in range(limit if 0 <= limit < MOST_TRIED else MOST_TRIED) if _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
