"""A child process that was forked, seen as ``subprocess`` shows its own.

Used where starting another Python would take longer than what it is for. Only a process with a
single thread forks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from taskmaster.redaction import clean_lines
from taskmaster.runtime.backoff import Backoff
from taskmaster.runtime.exit_word import ExitWord, say_exit
from taskmaster.runtime.tracebacks import users_traceback

__all__ = ["Forked", "can_fork", "children_kept_out", "end_child", "environment_of_child", "kill_group", "reap"]

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.0005, 0.02  # between two checks whether a child has ended


def can_fork() -> bool:
    """Return whether a fork is safe: with one thread, and not on macOS, whose libraries do not
    survive one.
    """
    return sys.platform == "linux" and threading.active_count() == 1


class Forked:
    """A forked child in a process group of its own.

    Args:
        run: Called in the child, which ends with what it returns as its exit status.
    """

    def __init__(self, run: Callable[[], int]) -> None:
        self.returncode: int | None = None
        self._word = ExitWord()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                status = run()
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                say_exit(self._word.child_end, status)
                # Nothing of the parent may go on running here, not even its ``finally`` blocks.
                os._exit(status)
        self._word.begun()

    def poll(self) -> int | None:
        """Return the exit code if the child has ended, as ``Popen.poll``."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else was told of its end
                self.returncode = self._word.code()
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    self._word.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the child's end, as ``Popen.wait``.

        Raises:
            subprocess.TimeoutExpired: it took longer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        backoff = Backoff(FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS)
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            time.sleep(backoff.next())
        return code

    def kill(self) -> None:
        """End the child now."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def environment_of_child() -> dict[str, str]:
    """Return the environment for a process of Taskmaster's own: without the key, and without the
    wish to stay at a prompt at the end (PYTHONINSPECT), which would cost its exit code.
    """
    return {name: value for name, value in os.environ.items() if name not in ("TASKMASTER_KEY", "PYTHONINSPECT")}


def reap(pid: int, seconds: float = 2.0) -> None:
    """Take the end of a child note of; it ends by itself, and is no zombie for as long as the
    script runs on.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.005)


def kill_group(pid: int) -> None:
    """End a worker and what its callback has started in its group."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


class children_kept_out:  # noqa: N801  # it reads as what it does
    """End a process that the user's code forks in the block where it would leave the block: it
    would go on as a second one of this.

    A class, because a generator takes three times as long, and a master asks for each batch.
    """

    __slots__ = ("_owner",)

    def __enter__(self) -> None:
        self._owner = os.getpid()

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if os.getpid() != self._owner:
            end_child(exc)


def end_child(exc: BaseException | None = None) -> NoReturn:
    """End a forked child that has come back from the user's code, as Python would end a program."""
    status = 0
    if isinstance(exc, SystemExit):
        status = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        if status == 1 and isinstance(exc.code, str):
            sys.stderr.write(clean_lines(exc.code) + "\n")
    elif exc is not None:
        status = 1
        sys.stderr.write(clean_lines(users_traceback(exc)))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status & 0xFF)
