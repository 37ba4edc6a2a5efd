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

    def wait(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """In a command, wait for the threads, executors, pools and processes of jobs, and look how
        they went. A script may have more for them to do.

        Args:
            hurry: Whether nothing may be waited for any more.
        """
        if not is_command() or hurry():
            return
        _wait_for_threads(hurry)
        if hurry():
            return
        wait_for_pools()
        _wait_for_processes(hurry)
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


def _wait_for_threads(hurry: Callable[[], bool]) -> None:
    """Wait for threads that are no daemons; those of an executor end when they have nothing more to
    do, once it is shut down.
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
        if hurry():
            return
        if time.monotonic() >= notice_at:
            notice_at = math.inf
            logger.warning("the jobs in this process are over; the thread %s is waited for", left[0].name)


def _wait_for_processes(hurry: Callable[[], bool]) -> None:
    """Wait for processes of ``multiprocessing`` that are no daemons."""
    processes: Any = sys.modules.get("multiprocessing.process")
    for process in processes.active_children() if processes else ():
        while not process.daemon and process.is_alive() and not hurry():
            process.join(JOIN_SECONDS)


def _is_waited_for(thread: threading.Thread) -> bool:
    return not thread.daemon and thread is not threading.main_thread() and not thread.name.startswith("taskmaster-")


def _coroutines() -> list[Any]:
    return [one for one in gc.get_objects() if type(one) is CoroutineType]
