"""How slaves on this machine hear that their fleet wants no more of them, where the engine itself
cannot tell a call that runs: a file that the fleet's process holds locked.

The lock ends with the process, however that ends. It is one that children do not inherit: a pool
forks its workers. A process must not open the file that it holds locked, for that gives the lock
up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from taskmaster.engine.child import Wanted, own_directory

__all__ = ["FleetFile", "reader"]

LETTERS = {Wanted.YES: b"y", Wanted.DRAIN: b"d", Wanted.NO: b"n"}
MEANINGS = {letter: will for will, letter in LETTERS.items()}


class FleetFile:
    """The fleet's end.

    Args:
        run: Name of the fleet.
    """

    def __init__(self, run: str) -> None:
        self.path = own_directory() / f"fleet-{run}"
        self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.say(Wanted.YES)

    def say(self, will: Wanted) -> None:
        """Tell all slaves."""
        if self._file is not None:
            os.pwrite(self._file, LETTERS[will], 0)

    def close(self) -> None:
        """Remove the file; a slave that has seen it takes that for the end, too."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def reader(path: Path) -> Callable[[], Wanted] | None:
    """Return what says whether the slaves of a fleet are wanted; None if the file is not there, as
    on another machine.
    """
    if not path.exists():
        return None

    def wanted() -> Wanted:
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return Wanted.NO
        try:
            said = MEANINGS.get(os.pread(file, 1, 0), Wanted.YES)
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return said
        finally:
            os.close(file)
        return Wanted.NO  # nobody holds it any more

    return wanted
