"""What jobs in the master's own process leave undone: ``--processes 0``.

A script still has the connections that it has opened, the coroutines that its callback has kept,
and its threads and executors: it may commit, await, and ask how they went when the run is over.
After a command, nobody can.
"""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import CoroutineType
from typing import Any

from taskmaster.redaction import clean_lines
from taskmaster.runtime.exit_guard import end_without_threads
from taskmaster.runtime.invocation import is_command
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.worker.dropped_futures import tell_of_kept
from taskmaster.slave.worker.ending import NOTICE_SECONDS, has_daemons, wait_for_pools
from taskmaster.slave.worker.given_away import GivenAway
from taskmaster.slave.worker.open_transactions import OpenTransactions, connections
from taskmaster.slave.worker.unawaited import never_awaited

__all__ = ["LeftOpen"]

logger = clean_logger(__name__)

JOIN_SECONDS = 0.05  # between two looks whether a thread has ended


class LeftOpen:
    """Made before ``setup``: what a script has by then is the script's own."""

    def __init__(self) -> None:
        self._transactions = OpenTransactions(() if is_command() else connections())
        self._others = weakref.WeakSet[Any](() if is_command() else _coroutines())
        self._known = set(never_awaited(()))  # of an earlier run
        self._failed: list[str] = []
        self._given_away = GivenAway(self._note)

    @contextlib.contextmanager
    def of_jobs_alone(self) -> Iterator[None]:
        """Run ``setup``; where it raises, no job is run that could leave anything."""
        try:
            yield
        except BaseException:
            self._given_away.end()
            raise

    def wait(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """In a command, wait for the threads, executors, pools and processes of jobs, and look how
        they went. A script may have more for them to do.

        Args:
            seconds: How long; what takes longer ends with the command, as it is.
            hurry: Whether nothing may be waited for any more.
        """
        if not is_command():
            return
        seconds, over = max(seconds, NOTICE_SECONDS), False
        deadline = time.monotonic() + seconds
        try:
            left = _wait(lambda: hurry() or time.monotonic() >= deadline)
            if left and not hurry():
                self._failed.append(f"they still waited for {left} after {seconds:.0f} s (--grace)")
            over = not left
        finally:  # Ctrl-C may have ended it
            if not over:
                _leave()
        if over and not hurry():
            self._see_to_daemons()
            tell_of_kept()

    def tell(self, problems: Iterable[str] = ()) -> int:
        """Say which transactions are open, which coroutines were not awaited, and what has failed
        of what was given away; return 1 if something is lost, else 0.

        Args:
            problems: What else is lost, a sentence for each.
        """
        thrown_away = set(never_awaited(())) - self._known
        kept = set(never_awaited(one for one in _coroutines() if one not in self._others)) - thrown_away - self._known
        calls, awaits = ("", "") if is_command() else (", unless the script calls it now", ", unless the script does")
        left = [f"{one}{calls}" for one in self._transactions.sentences()] + [f"{one}{awaits}" for one in sorted(kept)]
        self._given_away.end()
        lost = [*sorted(thrown_away), *problems, *self._failed]
        for sentence in (*lost, *left):
            logger.warning("the jobs in this process could not end well: %s", sentence)
        return 1 if lost or (left and is_command()) else 0

    def _note(self, sentence: str, exc: BaseException | None) -> None:
        if sentence not in self._failed:
            self._failed.append(sentence)
            if exc is not None:
                sys.stderr.write(clean_lines(f"taskmaster: {sentence}:\n{users_traceback(exc)}"))

    def _see_to_daemons(self) -> None:
        """Wait for what daemons are seen to have in hand, as a worker does."""
        if not has_daemons():
            return
        from taskmaster.slave.worker import daemon_threads

        daemon_threads.wait_for_work()
        self._failed += filter(None, [daemon_threads.lost_sentence()])
        for remark in filter(None, [daemon_threads.processes_sentence(), daemon_threads.threads_sentence()]):
            logger.warning("the jobs in this process may have lost something: %s", remark)


def _wait(enough: Callable[[], bool]) -> str:
    """Wait for all that jobs have left running; return what still runs, "" if nothing does."""
    with _main_thread_over():
        threads = _wait_for_threads(enough)
    if threads:
        return f"threads to end ({', '.join(threads[:3])})"
    if not wait_for_pools(enough):
        return "pools of multiprocessing"
    return "" if _wait_for_processes(enough) else "processes of multiprocessing"


def _leave() -> None:
    """Let this command end without what still runs: Python would wait for it without a limit."""
    processes: Any = sys.modules.get("multiprocessing.process")
    for process in processes.active_children() if processes else ():
        process.kill()
    end_without_threads()


@contextlib.contextmanager
def _main_thread_over() -> Iterator[None]:
    """Let the main thread look as if it was over, which it is when Python waits for threads at its
    end: some ask for that.
    """
    main: Any = threading.main_thread()
    main.is_alive = lambda: False
    try:
        yield
    finally:
        del main.is_alive


def _wait_for_threads(enough: Callable[[], bool]) -> list[str]:
    """Wait for threads that are no daemons; those of an executor end when they have nothing more to
    do, once it is shut down. Return the names of those that are left.
    """
    futures: Any = sys.modules.get("concurrent.futures")
    for one in gc.get_objects() if futures else ():
        if issubclass(type(one), futures.Executor):
            with contextlib.suppress(Exception):  # one of the user's own
                one.shutdown(wait=False)
    here = threading.current_thread()
    notice_at = time.monotonic() + NOTICE_SECONDS
    while left := [one for one in threading.enumerate() if one is not here and _is_waited_for(one)]:
        left[0].join(JOIN_SECONDS)
        if enough():
            break
        if time.monotonic() >= notice_at:
            notice_at = math.inf
            name = left[0].name
            logger.warning("the jobs in this process are over; the thread %s is waited for, as --grace allows", name)
    return [one.name for one in left]


def _wait_for_processes(enough: Callable[[], bool]) -> bool:
    """Wait for processes of ``multiprocessing`` that are no daemons; return False if some are
    left.
    """
    processes: Any = sys.modules.get("multiprocessing.process")
    for process in processes.active_children() if processes else ():
        while not process.daemon and process.is_alive():
            if enough():
                return False
            process.join(JOIN_SECONDS)
    return True


def _is_waited_for(thread: threading.Thread) -> bool:
    main = threading.main_thread()
    if thread.daemon or thread is main or thread.name.startswith("taskmaster-"):
        return False
    # One that is in the join() of the main thread goes on at Python's end, which waits for it.
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001
    while frame is not None and frame.f_code.co_filename == threading.__file__:
        if frame.f_code is threading.Thread.join.__code__ and frame.f_locals.get("self") is main:
            return False
        frame = frame.f_back
    return True


def _coroutines() -> list[Any]:
    return [one for one in gc.get_objects() if type(one) is CoroutineType]
