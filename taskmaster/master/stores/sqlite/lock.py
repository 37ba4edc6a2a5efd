"""One owner at a time: a lock file beside the state.

SQLite's own locks vanish when any handle of the process to the file is closed; this one is held by
a descriptor that nobody else has.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from taskmaster.errors import StateLocked, StateRefused
from taskmaster.master.stores.sqlite.owner import check, check_lock
from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.runtime.ownership import for_its_owner, user

__all__ = ["Lock", "address_in", "is_held", "lock_of"]


SERVING = ", serving "
FORGOTTEN = -1
# Who only looks whether somebody has the lock has it for a moment, too.
TRIES, LOCK_PAUSE_SECONDS = 3, 0.01


def lock_of(state: Path) -> Path:
    """Return the lock file of a state."""
    return state.with_name(state.name + ".lock")


def is_held(descriptor: int) -> bool:
    """Return whether a process has the lock, given a lock file that was opened to be read.

    To find out takes the lock for a moment, and shares it with others who look.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def address_in(text: bytes) -> str | None:
    """Return the address in the text of a lock file: where the owner of the state serves. None if
    the owner is on another machine, or has not said it.
    """
    return _address(text.decode(errors="replace").strip())


def _address(owner: str) -> str | None:
    """Return where the owner serves, if it is a process of this machine that has said so."""
    who, _, where = owner.partition(SERVING)
    return where if where and who.endswith(f" on {socket.gethostname()}") else None


def _lock(descriptor: int) -> None:
    """Take the lock, or raise why that is not possible."""
    for tries_left in reversed(range(TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not tries_left:
                raise
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return


class Lock:
    """Holds ``PATH.lock`` until it is released or the process ends, however it ends.

    Args:
        state: the state file, links resolved.

    Raises:
        StateLocked: another process holds it.
        StateRefused: the lock file cannot be made.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._path = lock_of(state)
        self._where = ""
        self._descriptor = self._take()
        # A child that the user's source forks would hold the lock on when the master is gone.
        # SQLite's descriptors may stay: what they lock belongs to the process that locked it, and
        # ends with it.
        forget_in_children(self)
        self.tell("")

    def tell(self, where: str) -> None:
        """Write into the lock file which process holds it, and where that one serves."""
        self._where = where
        text = f"process {os.getpid()} on {socket.gethostname()}" + (f"{SERVING}{where}" if where else "")
        # The lock holds without it, also where the disk is full: just then somebody wants to look
        # at the failed jobs.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{text}\n".encode(), 0)

    def keep(self) -> None:
        """Make the lock file again if somebody has removed it: without it, another master would
        begin.

        Raises:
            StateLocked, StateRefused: as at the start.
        """
        if not self._is_current(self._descriptor):
            former, self._descriptor = self._descriptor, self._take()
            os.close(former)
            self.tell(self._where)

    def release(self) -> None:
        """Give the state to the next one."""
        if self._descriptor == FORGOTTEN:
            return
        try:
            # One that somebody has removed was perhaps made again by another owner, whose it is.
            if self._is_current(self._descriptor):
                self._path.unlink()
        except OSError:
            pass
        self.forget()

    def forget(self) -> None:
        """Close this process's descriptor only: another process that has it holds the lock on."""
        if self._descriptor != FORGOTTEN:
            os.close(self._descriptor)
            self._descriptor = FORGOTTEN

    def _take(self) -> int:
        """Return a descriptor that holds the lock."""
        while True:
            descriptor = self._open()
            if descriptor is None:
                continue
            try:
                _lock(descriptor)
            except OSError as exc:
                owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                os.close(descriptor)
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise StateRefused(f"The state {self._state} cannot be locked: {exc.strerror}.") from exc
                raise StateLocked(
                    f"The state {self._state} belongs to another master that is running ({owner or 'unknown process'}"
                    "). End that one first, or give this run a state of its own with --state.",
                    _address(owner),
                ) from None
            if self._is_current(descriptor):
                return descriptor
            os.close(descriptor)  # the former owner has just taken the file away: once more

    def _open(self) -> int | None:
        """Open the lock file, or make it; None if it has just been removed.

        It is never opened through a link, nor used if it is another user's: what it says is told to
        people and believed, and it is written to.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        made = False
        try:
            try:
                descriptor = for_its_owner(os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600))
                made = True
            except FileExistsError:
                descriptor = self._open_existing(flags)
                if descriptor < 0:
                    return None
        except OSError as exc:
            if not self._state.parent.is_dir():
                raise StateRefused(f"The directory {self._state.parent} of the state is gone.") from None
            check(self._state)  # says who has put there what cannot be opened
            raise StateRefused(
                f"The state {self._state} cannot be kept there: {exc.strerror}{self._whose(exc)}. Name a path "
                "that can be written with --state=PATH."
            ) from exc
        try:
            check_lock(self._state, self._path, descriptor, made=made)
        except BaseException:
            os.close(descriptor)
            if made:
                self._path.unlink(missing_ok=True)
            raise
        return descriptor

    def _open_existing(self, flags: int) -> int:
        """Open the lock file that is there; -1 if it has just been removed."""
        try:
            return os.open(self._path, flags | os.O_NONBLOCK)
        except FileNotFoundError:
            return -1

    def _whose(self, exc: OSError) -> str:
        """Return whose the lock file is, where that is why it cannot be opened."""
        try:
            owner = self._path.lstat().st_uid
        except OSError:
            return ""
        return f" ({self._path.name} belongs to {user(owner)})" if exc.errno == errno.EACCES else ""

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False
