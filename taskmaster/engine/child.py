"""What runs in an engine's worker: one slave as a child process, until it ends or is no longer
wanted.

The child's standard input is its lifeline: when the engine's worker ends, however it ends, the
slave and its workers end, too. The key goes to it on that line, so that no process list has it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from taskmaster.engine.archive import unpack
from taskmaster.engine.ended import NO_MASTER, Ended
from taskmaster.engine.slave_task import SlaveTask
from taskmaster.runtime.child_process import environment_of_child
from taskmaster.slave.config import GIVE_UP_MARK

__all__ = ["Wanted", "drain", "give_up", "own_directory", "run_slave_task", "running", "start_a_process"]

WANTED_CHECK_SECONDS = 0.2  # between two looks whether the slave is still wanted
MOST_LINES = 40  # of what a slave has said that are told to the master
MOST_TEXT = 4000  # characters of them
SLAVE_LATE_SECONDS = 5.0  # that a slave is waited for beyond the time that its jobs have
ABANDONED_SECONDS = 1.0  # that a slave has which the engine wants no more, because its fleet is gone
REACH_ATTEMPT_SECONDS = 5.0  # that one attempt to reach the master may take
STARTED_SECONDS = 10.0  # that a process has which is started to see whether that can be done


class Wanted(StrEnum):
    """Whether a slave is to go on."""

    YES = "yes"
    DRAIN = "drain"
    """It is to end: running jobs have their time, and the rest is given back."""
    NO = "no"
    """Nobody waits for it any more."""


_wills: dict[str, Wanted] = {}
"""What fleets have ordered for their slaves in this process. A slave without an entry goes on."""
_running: dict[str, set[str]] = {}
"""Names of the tasks that run in this process, by their fleet."""


def drain(run: str) -> list[str]:
    """Have the slaves of a fleet that run in this process end; return their names."""
    _wills.setdefault(run, Wanted.DRAIN)
    return running(run)


def running(run: str) -> list[str]:
    """Return the names of the slaves of a fleet that run in this process."""
    return sorted(_running.get(run, ()))


def give_up(run: str) -> None:
    """Have the slaves of a fleet that run in this process end at once."""
    _wills[run] = Wanted.NO


def run_slave_task(
    task: SlaveTask, base: Path, threads: int, wanted: Callable[[], Wanted], *, beside: bool = False
) -> Ended:
    """Run a slave to its end.

    Args:
        task: What it is to do.
        base: The directory for its files.
        threads: How many worker processes it has if its instructions do not say.
        wanted: Asked every now and then.
        beside: Whether it writes where the fleet does, which says why slaves have given up.
    """
    worker = f"{socket.gethostname()}:{os.getpid()}"
    names = _running.setdefault(task.run, set())
    names.add(task.name)
    with _interrupts() as interrupted:

        def will() -> Wanted:
            if task.run in _wills:
                return _wills[task.run]
            return Wanted.DRAIN if interrupted.is_set() else wanted()

        try:
            return _reach(task, will, worker) or _run(
                task, unpack(task.archive, base), threads, will, worker, beside=beside
            )
        except OSError as exc:
            return Ended(None, worker, f"the slave cannot be started there: {type(exc).__name__}: {exc}", unusable=True)
        finally:
            names.discard(task.name)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Take an interrupt as an order to let the slave end: Ray interrupts a task that is cancelled.
    Python allows a handler in the main thread alone.
    """
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    former: Any = signal.signal(signal.SIGINT, lambda *_: heard.set())
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, former)


def _reach(task: SlaveTask, will: Callable[[], Wanted], worker: str) -> Ended | None:
    """Wait until the master can be reached; return how this ends if it cannot."""
    address = task.instructions.config.address
    deadline = time.monotonic() + task.reach
    while (now := will()) is Wanted.YES:
        try:
            socket.create_connection((address.host, address.port), REACH_ATTEMPT_SECONDS).close()
            return None
        except OSError as exc:
            if time.monotonic() >= deadline:
                return Ended(NO_MASTER, worker, f"{worker} cannot reach the master at {address}: {exc}.")
        time.sleep(WANTED_CHECK_SECONDS)
    return Ended(128 + signal.SIGTERM, worker, f"was to end before it began ({now})")


def _run(
    task: SlaveTask, folder: Path, threads: int, wanted: Callable[[], Wanted], worker: str, *, beside: bool
) -> Ended:
    told = task.instructions
    config = replace(told.config, processes=told.config.processes or threads, path=tuple(sys.path))
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "taskmaster.slave"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        env={**environment_of_child(), **dict(task.environment)},
    )
    began = time.monotonic()
    lines: deque[str] = deque(maxlen=MOST_LINES)
    relay = threading.Thread(
        target=_relay, args=(_pipe(child.stderr), lines, beside), daemon=True, name="taskmaster-output"
    )
    relay.start()
    try:
        try:
            _pipe(child.stdin).write(told._replace(config=config, marked=True).to_line())
            _pipe(child.stdin).flush()
        except BrokenPipeError:
            pass  # it has ended, and has said why
        code = _wait(child, task, wanted)
    finally:
        # However this ends: nothing is left behind.
        _pipe(child.stdin).close()
        try:
            child.wait(SLAVE_LATE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        relay.join(1.0)
    return Ended(code, worker, "".join(lines)[-MOST_TEXT:], lived=time.monotonic() - began)


def _wait(child: subprocess.Popen[bytes], task: SlaveTask, wanted: Callable[[], Wanted]) -> int:
    """Wait for the slave's end, and tell it when that has come."""
    left: float | None = None
    ended = _end_of(child)
    while True:
        if ended.wait(WANTED_CHECK_SECONDS):
            code = child.wait()
            # A slave that gets the signal at its very end, when nothing handles signals any more,
            # is killed by it.
            return 128 + signal.SIGTERM if left is not None and code == -signal.SIGTERM else code
        will = wanted()
        if left is not None:
            left -= WANTED_CHECK_SECONDS
            if will is Wanted.NO:
                left = min(left, ABANDONED_SECONDS)
            if left <= 0:
                return 128 + signal.SIGTERM  # the lifeline ends it
        elif will is not Wanted.YES:
            left = task.instructions.config.grace + SLAVE_LATE_SECONDS if will is Wanted.DRAIN else ABANDONED_SECONDS
            child.terminate()


def _end_of(child: subprocess.Popen[bytes]) -> threading.Event:
    """Return what is set when a process has ended. ``Popen.wait`` with a time limit looks 50 times
    a second, for as long as the run lasts, in a process that others need, too.
    """
    ended = threading.Event()

    def wait() -> None:
        child.wait()
        ended.set()

    threading.Thread(target=wait, name="taskmaster-end", daemon=True).start()
    return ended


def _relay(pipe: IO[bytes], lines: deque[str], beside: bool) -> None:
    """Pass on what the slave says, to the log of the engine's worker; why it gives up is left to
    the fleet if it writes to the same.
    """
    for given in pipe:
        line = given.removeprefix(GIVE_UP_MARK.encode())
        lines.append(line.decode("utf-8", "backslashreplace"))
        if beside and line != given:
            continue
        try:
            os.write(2, line)
        except OSError:
            pass  # the engine's worker has no standard error
    pipe.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the slave was started without pipes")
    return pipe


def start_a_process() -> None:
    """Start a process that does nothing, to see whether this worker can start one.

    Raises:
        OSError, subprocess.SubprocessError: It cannot.
    """
    subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True, timeout=STARTED_SECONDS)


def own_directory() -> Path:
    """Return a directory for files of this user's slaves.

    Raises:
        OSError: Somebody else has taken its name.
    """
    path = Path(tempfile.gettempdir()) / f"taskmaster-engine-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or path.is_symlink():
        raise PermissionError(f"{path} belongs to somebody else, or others can write to it: set TMPDIR")
    return path
