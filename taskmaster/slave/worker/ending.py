"""The good end of a worker: nothing that its callbacks have left to be done is thrown away.

A worker cannot leave as a Python program does, for it was forked from the middle of another one,
whose ``finally`` blocks and exit functions must not run here. So the steps of such an end are done
one by one: threads and executors, exit functions, finalizers, log handlers, files, programs.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import gc
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from taskmaster.redaction import clean_lines
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.ipc.messages import WorkerClosed
from taskmaster.slave.worker.dropped_futures import tell_of_kept
from taskmaster.slave.worker.finalizers import finalize, ignored, ignored_at_end, unclosed_stacks
from taskmaster.slave.worker.given_away import GivenAway
from taskmaster.slave.worker.left_programs import wait_for_forgotten, wait_for_others, wait_for_readers
from taskmaster.slave.worker.message_sender import MessageSender, flush
from taskmaster.slave.worker.open_files import Inherited, close_all
from taskmaster.slave.worker.open_transactions import OpenTransactions
from taskmaster.slave.worker.unawaited import never_awaited

__all__ = [
    "NOTICE_SECONDS",
    "WorkerEnding",
    "forget_inherited_exits",
    "has_daemons",
    "reopen_log_sockets",
    "wait_for_pools",
]

NOTICE_SECONDS = 1.0  # a worker that takes longer to end says what it waits for
POOL_SECONDS = 0.01  # between two looks whether a pool has done all that it was given


def forget_inherited_exits() -> None:
    """In a forked child: have the exit functions of the parent run in the parent alone.

    They may remove its temporary directory. The standard library's own are put back, for they do
    nothing about what belongs to another process.
    """
    atexit._clear()  # noqa: SLF001  # as multiprocessing does
    finalizers = weakref.finalize
    for one in list(finalizers._registry):  # type: ignore[attr-defined]  # noqa: SLF001
        one.atexit = False
    if finalizers._registered_with_atexit:  # type: ignore[attr-defined]  # noqa: SLF001
        atexit.register(finalizers._exitfunc)  # type: ignore[attr-defined]  # noqa: SLF001
    processes = sys.modules.get("multiprocessing.util")
    if processes is not None:
        atexit.register(processes._exit_function)  # noqa: SLF001
    for handler in _log_handlers():
        if isinstance(records := getattr(handler, "buffer", None), list):
            records.clear()  # the parent has them, too


def reopen_log_sockets() -> None:
    """In a worker that was forked from a script: have log handlers connect again.

    The script's connections are the script's. A handler that keeps its own, which was closed, loses
    a line until it notices.
    """
    handlers: Any = sys.modules.get("logging.handlers")
    for handler in _log_handlers() if handlers else ():
        if isinstance(handler, handlers.SocketHandler):
            handler.sock = None
        elif isinstance(handler, handlers.SysLogHandler):
            with contextlib.suppress(OSError):
                handler.createSocket()


def _log_handlers() -> list[logging.Handler]:
    found = [reference() for reference in reversed(logging._handlerList)]  # type: ignore[attr-defined]  # noqa: SLF001
    return [handler for handler in found if handler is not None]


class WorkerEnding:
    """The end of one worker.

    Args:
        sender: tells the supervisor how it went.
        inherited: the files that the worker was forked with.
        jobs_over: says whether the last job has ended.
    """

    def __init__(
        self, sender: MessageSender, inherited: Inherited | None, jobs_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._sender = sender
        self._inherited = inherited
        self._jobs_over = jobs_over
        self._transactions = OpenTransactions()
        self._at = ""
        self._daemons = 0  # processes
        self._problems: list[str] = []
        self._remarks: list[str] = []
        self._kept: list[Any] = []
        GivenAway(self._note_once, lambda: bool(self._at))
        self._ignored_hook = sys.unraisablehook
        sys.unraisablehook = self._was_ignored
        self._unfrozen: list[Any] = []  # is set aside, too, if the user's code calls gc.freeze()
        if inherited is not None:
            self._watch_logging()

    def finish(self, problems: list[str], seconds: float) -> int:
        """Do what is left, and say how it went.

        Args:
            problems: what has gone wrong before.
            seconds: how long the end may take; a worker that needs longer is ended as it is.

        Returns:
            The exit status of the worker.
        """
        self._problems += problems
        self._begin_watch(seconds)
        self._step("its threads to end", threading._shutdown)  # type: ignore[attr-defined]  # noqa: SLF001
        self._step("its pools of multiprocessing", wait_for_pools)
        self._step("its daemon threads and processes to do what they have in hand", self._wait_for_daemons)
        self._step("its exit functions (atexit)", self._run_exit_functions)
        self._step("its calls that nobody has asked for", tell_of_kept)
        self._step("its finalizers (__del__)", self._finalize)
        self._step("its log handlers", self._close_logging)
        self._step("its open transactions", self._look_for_transactions)
        self._step("its files to be written", self._close_files)
        self._step("the programs that read from it", wait_for_readers)
        self._step("programs that callbacks have started and not waited for", wait_for_forgotten)
        self._step("programs that callbacks have left running", self._wait_for_programs)
        return self._leave()

    def _was_ignored(self, raised: Any) -> None:
        """Note what Python ignores, beside what it says of it."""
        self._ignored_hook(raised)
        if self._jobs_over():
            self._add(ignored_at_end(raised))
        else:
            self._remark(ignored(raised))

    def _remark(self, sentence: str) -> None:
        """Note what may have lost something, and may be as it is meant to be; "" is nothing."""
        if sentence and sentence not in self._remarks:
            self._remarks.append(sentence)

    def _step(self, what: str, step: Callable[[], object]) -> None:
        self._at = what
        try:
            step()
        except BaseException as exc:
            self._note(f"{type(exc).__qualname__} was raised at the end of a worker", exc)

    def _add(self, sentence: str) -> None:
        """Note what has gone wrong, once; "" is nothing."""
        if sentence and sentence not in self._problems:
            self._problems.append(sentence)

    def _note_once(self, sentence: str, exc: BaseException | None = None) -> None:
        if sentence not in self._problems:
            self._note(sentence, exc)

    def _note(self, sentence: str, exc: BaseException | None = None) -> None:
        self._problems.append(sentence)
        if exc is not None:
            sys.stderr.write(clean_lines(f"taskmaster: {sentence}:\n{users_traceback(exc)}"))

    def _wait_for_daemons(self) -> None:
        if has_daemons():
            from taskmaster.slave.worker import daemon_threads

            daemon_threads.wait_for_work()
            self._daemons = daemon_threads.count_processes()
            self._remark(daemon_threads.processes_sentence())

    def _finalize(self) -> None:
        def raised(name: str, exc: BaseException) -> None:
            self._note(f"{name} raised {type(exc).__qualname__} at the end of a worker", exc)

        self._kept = finalize(raised)
        for sentence in never_awaited(self._kept):
            self._note_once(sentence)
        for sentence in unclosed_stacks(self._kept):
            self._remark(sentence)

    def _wait_for_programs(self) -> None:
        self._remark(wait_for_others())

    def _run_exit_functions(self) -> None:
        hooks = sys.unraisablehook, sys.excepthook

        def unraisable(raised: Any) -> None:
            self._note(f"an exit function raised {raised.exc_type.__qualname__}", raised.exc_value)

        def excepthook(kind: type[BaseException], exc: BaseException, _traceback: Any) -> None:
            self._note(f"an exit function raised {kind.__qualname__}", exc)

        sys.unraisablehook, sys.excepthook = unraisable, excepthook
        try:
            atexit._run_exitfuncs()  # noqa: SLF001
        finally:
            sys.unraisablehook, sys.excepthook = hooks

    def _watch_logging(self) -> None:
        """Notice lines that a log handler of the script could not write: ``logging`` lets the
        callback go on.
        """
        original = logging.Handler.handleError

        def handle_error(handler: logging.Handler, record: logging.LogRecord) -> None:
            exc = sys.exc_info()[1]
            sentence = (
                f"lines were lost that {handler!r} should have written; what the script had opened before start() is "
                "not there in workers: open it in setup()"
            )
            if isinstance(exc, OSError) and exc.errno == errno.EBADF and sentence not in self._problems:
                self._problems.append(sentence)
            original(handler, record)

        logging.Handler.handleError = handle_error  # type: ignore[method-assign, assignment]

    def _close_logging(self) -> None:
        for handler in _log_handlers():
            try:
                handler.flush()  # logging.shutdown() keeps an error to itself
            except Exception as exc:
                self._note(f"the log handler {handler!r} could not be written", exc)
            if isinstance(kept := getattr(handler, "buffer", None), list) and kept:
                self._remark(f"the log handler {handler!r} kept what it was given, which is lost: give it a target")
        logging.shutdown()

    def _look_for_transactions(self) -> None:
        for sentence in self._transactions.sentences():
            self._note(sentence)

    def _close_files(self) -> None:
        # What was frozen before a worker ran anything of the user's is Taskmaster itself: twenty
        # thousand objects, whose memory is shared with other processes until it is looked at.
        frozen = self._inherited is not None or not any(one is self._unfrozen for one in gc.get_objects())
        for sentence in close_all(self._inherited, frozen=frozen):
            self._note(sentence)
        ctypes.CDLL(None).fflush(None)  # what an extension in C has printed

    def _begin_watch(self, seconds: float) -> None:
        try:
            threading.Thread(target=self._watch, args=(seconds,), name="taskmaster-ending", daemon=True).start()
        except (RuntimeError, MemoryError):
            # An exhausted worker, which is why it is replaced, has no memory for a thread.
            signal.signal(signal.SIGALRM, lambda *_: self._give_up(seconds))
            signal.setitimer(signal.ITIMER_REAL, max(seconds, NOTICE_SECONDS))

    def _give_up(self, seconds: float) -> None:
        self._problems.append(f"it still waited for {self._waits_for()} after {seconds:.0f} s (--grace)")
        os._exit(self._leave())

    def _watch(self, seconds: float) -> None:
        """Say what is waited for, and end the worker when it takes too long."""
        notice = min(NOTICE_SECONDS, seconds / 2)
        # A callback may have replaced time.sleep.
        waited = threading.Event()
        waited.wait(notice)
        sys.stderr.write(f"taskmaster: the worker {os.getpid()} waits for {self._waits_for()}, as --grace allows.\n")
        waited.wait(max(0.0, seconds - notice))
        self._give_up(seconds)

    def _waits_for(self) -> str:
        main = threading.main_thread()
        left = [one.name for one in threading.enumerate() if not one.daemon and one is not main]
        at = self._at or "the beginning of its end"
        return f"{at} ({', '.join(left[:3])})" if left else at

    def _look_at_daemons(self) -> None:
        if self._daemons or has_daemons():
            from taskmaster.slave.worker import daemon_threads

            daemon_threads.wait_for_work(last=True)
            self._add(daemon_threads.lost_between(self._daemons))
            self._remark(daemon_threads.threads_sentence())
            self._add(daemon_threads.lost_sentence())

    def _leave(self) -> int:
        # As a step: what it raises must not keep the worker from saying the rest.
        self._step("its daemon threads", self._look_at_daemons)
        flush()
        self._sender.say(WorkerClosed("; ".join(self._problems), tuple(self._remarks)))
        return 1 if self._problems else 0


def has_daemons() -> bool:
    """Return whether there is a daemon, thread or process, that may be the user's: the thread that
    watches this end is not.
    """
    processes: Any = sys.modules.get("multiprocessing.process")
    threads = [one for one in threading.enumerate() if not one.name.startswith("taskmaster-")]
    return any(one.daemon for one in (*threads, *(processes.active_children() if processes else ())))


def wait_for_pools(enough: Callable[[], bool] = lambda: False) -> bool:
    """Wait for what callbacks have given to pools, which are ended with the worker as they are. Of
    a pool that the script has made, no thread is here that could do anything.

    Args:
        enough: Whether it is not waited for any more.

    Returns:
        False if pools still have something to do.
    """
    pools: Any = sys.modules.get("multiprocessing.pool")
    for one in gc.get_objects() if pools else ():
        if issubclass(type(one), pools.Pool):
            while one._cache and one._result_handler.is_alive():  # noqa: SLF001  # nothing else tells
                if enough():
                    return False
                time.sleep(POOL_SECONDS)
    return True
