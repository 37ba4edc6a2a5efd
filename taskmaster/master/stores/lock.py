"""One owner at a time: a lock file beside the state.

Called by the SQLite store. SQLite's own locks vanish when any handle of the process to the file is closed; this one is
held by a descriptor that nobody else has.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from taskmaster.errors import StateLocked, StateRefused

__all__ = ["Lock"]


SERVING = ", serving "


def _address(owner: str) -> str | None:
    """Where the owner serves, if it is a process of this machine that has said so."""
    who, _, where = owner.partition(SERVING)
    return where if where and who.endswith(f" on {socket.gethostname()}") else None


class Lock:
    """Holds ``PATH.lock`` until it is released or the process ends, however it ends.

    Args:
        state: the state file, links resolved.

    Raises:
        StateLocked: another process holds it.
        StateRefused: the lock file cannot be made.
    """

    def __init__(self, state: Path) -> None:
        self._path = state.with_name(state.name + ".lock")
        while True:
            self._descriptor = self._open(state)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                owner = os.pread(self._descriptor, 200, 0).decode(errors="replace").strip()
                os.close(self._descriptor)
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise StateRefused(f"The state {state} cannot be locked: {exc.strerror}.") from exc
                raise StateLocked(
                    f"The state {state} belongs to another master that is running ({owner or 'unknown process'}). "
                    "End that one first, or give this run a state of its own with --state.",
                    _address(owner),
                ) from None
            if self._is_current():
                break
            os.close(self._descriptor)  # the former owner has just taken the file away: once more
        self.tell("")

    def tell(self, where: str) -> None:
        """Say who holds it, and where that one serves."""
        text = f"process {os.getpid()} on {socket.gethostname()}" + (f"{SERVING}{where}" if where else "")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{text}\n".encode(), 0)

    def release(self) -> None:
        """Give the state to the next one."""
        try:
            self._path.unlink()
        except OSError:
            pass
        os.close(self._descriptor)

    def _open(self, state: Path) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StateRefused(
                f"The state {state} cannot be kept there: {exc.strerror}. Name a place that can be written with "
                "--state=PATH."
            ) from exc

    def _is_current(self) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False
