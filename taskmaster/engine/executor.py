"""Any ``concurrent.futures.Executor`` as an engine, if its workers can start processes: a process
pool, loky's, a thread pool, those of other libraries.

A call is a whole slave, and cannot be interrupted. Slaves on this machine look whether they are
still wanted, in a file or, in a thread of this process, in a variable. Elsewhere only their master
tells them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import taskmaster
from taskmaster.engine import child
from taskmaster.engine.child import Wanted, own_directory, run_slave_task, start_a_process
from taskmaster.engine.contract import EngineGone, EngineStanding
from taskmaster.engine.ended import Ended
from taskmaster.engine.executor_shutdown import shut_down
from taskmaster.engine.fleet_file import FleetFile, reader
from taskmaster.engine.slave_task import SlaveTask
from taskmaster.errors import UsageError
from taskmaster.records import record
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import one_line, users_traceback

__all__ = ["ExecutorEngine", "cannot_run", "make_executor", "no_interrupts", "workers_of"]

logger = clean_logger(__name__)

WORKER_PROBE_SECONDS = 10.0  # that workers have at the start to say what they can do; a queue takes longer
PROBE_POLL_SECONDS = 0.005  # between two checks whether one of them runs
SHUTDOWN_SECONDS = 3.0  # that an executor has which has nothing to do
NEEDED = ("submit", "shutdown")


@record(slots=False)
class Origin:
    """Where a fleet is.

    Attributes:
        process: Its process.
        file: In which it says whether its slaves are wanted.
    """

    process: int
    file: Path


def probe_worker() -> str:
    """See whether a worker of the executor can start a process; return its Taskmaster release."""
    start_a_process()
    return taskmaster.__version__


def slave_task(task: SlaveTask, origin: Origin) -> Ended:
    """Run a slave, in a worker of an executor."""
    if os.getpid() == origin.process:
        ended = run_slave_task(task, own_directory(), 1, lambda: Wanted.YES, beside=True)
        return replace(ended, worker=f"{ended.worker}/{threading.get_ident()}")
    wanted = reader(origin.file)
    ended = run_slave_task(task, own_directory(), 1, wanted or (lambda: Wanted.YES), beside=wanted is not None)
    parent = multiprocessing.parent_process()
    if wanted is not None and wanted() is Wanted.NO and parent is not None and parent.pid == origin.process:
        _end_with(origin)
    return ended


def _end_with(origin: Origin) -> None:
    """End this process if that of its pool was killed: it would wait for other calls for ever."""
    try:
        os.kill(origin.process, 0)
    except ProcessLookupError:
        os._exit(1)


def _check_executor(name: str, executor: Any) -> None:
    """Check that a value has the methods of an executor.

    Raises:
        UsageError: It has not.
    """
    if not isinstance(executor, type) and all(callable(getattr(executor, one, None)) for one in NEEDED):
        return
    what, cure = f"an object of type {type(executor).__name__}", "return an object with submit() and shutdown()"
    if executor is None:
        what, cure = "None", "end with `return` and the Executor"
    elif isinstance(executor, type):
        what, cure = f"the class {executor.__name__}", f"return an object of it, `return {executor.__name__}(...)`"
    raise UsageError(
        f"{name} gives {what}, which is no Executor: its function has to {cure}, such as "
        "concurrent.futures.ProcessPoolExecutor(8)."
    )


def make_executor(name: str, make: Callable[[], Any]) -> Any:
    """Return what a function of the user's makes.

    Raises:
        UsageError: It raises something, or makes no executor.
    """
    try:
        executor = make()
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # whatever it is: one that calls sys.exit() would end the command without a word
        raise UsageError(
            f"{name} raised {type(exc).__name__}: {exc}. Its function is called without arguments, and has to return "
            "an Executor: mend what it says.",
            user_traceback=users_traceback(exc),
        ) from None
    _check_executor(name, executor)
    return executor


def cannot_run(name: str, what: str, exc: BaseException) -> str:
    """Return the sentence for an executor whose first calls have failed.

    Args:
        name: What is called, for people.
        what: What they should have been able to run.
        exc: How they have failed.
    """
    cure = "Use an executor whose workers can start processes, such as ProcessPoolExecutor; Taskmaster has to be "
    cure += "installed there."
    if isinstance(exc, BrokenExecutor):
        cure = "Its workers end as soon as they begin: an initializer may have raised, which is said above then."
    return f"The workers of {name} cannot run {what}: {one_line(exc).rstrip('.')}. {cure}"


def workers_of(executor: Any) -> int | None:
    """Return how many workers an executor has; None if it does not say."""
    found = getattr(executor, "_max_workers", None)
    if isinstance(found, int) and found > 0:
        return found
    client = getattr(executor, "_client", None)  # Dask's
    threads = client.nthreads() if client is not None and hasattr(client, "nthreads") else {}
    return sum(threads.values()) or None


class ExecutorEngine:
    """An executor that runs slaves.

    Args:
        run: Name of the fleet.
        name: What the executor is called, for people.
        make: Makes it; again, where it has broken.
        own: Whether it is ours to shut down.
        slaves: How many slaves there are to be; None for one for each worker.

    Raises:
        UsageError: It is no executor, or its workers cannot start processes.
    """

    scheduler = ""

    def __init__(self, run: str, name: str, make: Callable[[], Any], *, own: bool, slaves: int | None) -> None:
        self._run, self._name, self._make, self._own = run, name, make, own
        self._futures: dict[str, Future[Ended]] = {}
        self._tells = False  # whether its futures say that their calls run
        self._file = FleetFile(run)
        try:
            with no_interrupts():
                self._executor = make_executor(self._name, self._make)
                self._workers = self._size(slaves)
                # One for each worker, so that all start now: before this process has threads and
                # a socket.
                probes = self._probes()
            self._check(probes)
        except BaseException:
            self.close()
            raise

    def poll(self) -> EngineStanding:
        """Return how the executor stands."""
        ended = {name: how for name, future in self._futures.items() if (how := _ending(future)) is not None}
        for name in ended:
            del self._futures[name]
        begun = self._begun()
        # A pool takes one more call than it has workers for one that runs.
        running = min(len(begun), self._workers)
        return EngineStanding(self._workers, running, frozenset(self._futures.keys() - set(begun)), ended)

    def _begun(self) -> list[str]:
        """Return the names of the calls that run. Futures of Dask's Executor never say so, and take
        a call back that runs: the first ones are taken to run, as many as there are workers.
        """
        found = [name for name, future in self._futures.items() if future.running()]
        self._tells = self._tells or bool(found)
        return found if self._tells else list(self._futures)[: self._workers]

    def submit(self, name: str, task: SlaveTask) -> None:
        """Have a slave started on whichever worker is free; of an executor that has broken, on
        another one.

        Raises:
            EngineGone: It has broken, and was made by somebody else.
        """
        with no_interrupts():
            try:
                self._futures[name] = self._submit(slave_task, task, Origin(os.getpid(), self._file.path))
            except BrokenExecutor as exc:
                if not self._own:
                    raise EngineGone(
                        f"the executor is broken ({exc}), and only who made it can make another one: give a function "
                        "that makes it, and the run goes on"
                    ) from None
                self._executor.shutdown(wait=False)
                self._executor = make_executor(self._name, self._make)
                self._futures[name] = self._submit(slave_task, task, Origin(os.getpid(), self._file.path))

    def withdraw(self, name: str) -> None:
        """Forget a task that does not run yet."""
        future = self._futures.pop(name, None)
        if future is not None:
            future.cancel()

    def drain(self) -> Collection[str]:
        """Tell all our slaves to end, and withdraw what does not run; return what is still to
        end.
        """
        child.drain(self._run)
        self._file.say(Wanted.DRAIN)
        begun = set(self._begun())
        for name in [name for name, future in self._futures.items() if name not in begun and future.cancel()]:
            del self._futures[name]
        return self._futures.keys()

    def close(self) -> None:
        """Withdraw what is left, and shut down an executor of our own.

        Where nothing runs it is waited for: a process pool of Python 3.11 that replaces a worker
        meanwhile would leave one that waits for ever, and the command with it.
        """
        idle = not self._futures
        for name in list(self._futures):
            self.withdraw(name)
        child.give_up(self._run)
        self._file.close()
        executor = getattr(self, "_executor", None)
        if self._own and executor is not None:
            if idle and (problem := shut_down(executor, SHUTDOWN_SECONDS, lambda: False)):
                logger.info("%s: %s", self._name, problem)
            if idle:
                return
            try:
                executor.shutdown(wait=False)
            except Exception as exc:
                logger.info("%s: its executor cannot be shut down: %s", self._name, one_line(exc))

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit a call.

        Raises:
            UsageError: It is no executor of the standard library's kind.
        """
        try:
            future = self._executor.submit(function, *arguments)
        except TypeError as exc:
            raise UsageError(
                f"{self._name} gives an executor whose submit() does not take a function and its arguments: {exc}. "
                "Slaves need one whose submit() is as that of concurrent.futures."
            ) from None
        lacking = [one for one in ("done", "running", "cancel", "result") if not callable(getattr(future, one, None))]
        if lacking:
            raise UsageError(
                f"{self._name} gives an executor whose submit() returns a {type(future).__name__}, which has no "
                f"{lacking[0]}(): slaves need one whose futures are as those of concurrent.futures."
            )
        return future

    def _size(self, slaves: int | None) -> int:
        found = workers_of(self._executor)
        if found is not None:
            return found
        if slaves is None:
            raise UsageError(
                f"{self._name} gives a {type(self._executor).__name__}, which does not tell how many workers it has: "
                "say with --slaves how many slaves there are to be."
            )
        return slaves

    def _probes(self) -> list[Future[str]]:
        """Have each worker say what it can do.

        Raises:
            UsageError: The executor takes no calls.
        """
        try:
            return [self._submit(probe_worker) for _ in range(self._workers)]
        except UsageError:
            raise
        except Exception as exc:  # the first call may have broken it
            raise UsageError(cannot_run(self._name, "slaves, which are processes of their own", exc)) from None

    def _check(self, probes: list[Future[str]]) -> None:
        """Check what the workers say; one that waits in a queue says it with its slave.

        Raises:
            UsageError: They cannot start processes, or have another Taskmaster.
        """
        deadline = time.monotonic() + WORKER_PROBE_SECONDS
        try:
            self._tells = _seen_running(probes, deadline)
            version = probes[0].result(max(0.0, deadline - time.monotonic()))
        except (NotYet, TimeoutError):
            return
        except (Exception, CancelledError) as exc:
            raise UsageError(cannot_run(self._name, "slaves, which are processes of their own", exc)) from None
        if version != taskmaster.__version__:
            raise UsageError(
                f"The workers of {self._name} have Taskmaster {version}, and this is {taskmaster.__version__}: install "
                "the same version there."
            )


def _seen_running(probes: Sequence[Future[Any]], deadline: float) -> bool:
    """Wait until one of the calls is seen to run, or the first one has ended; return whether their
    futures say that they run. If none has begun by the deadline, as in a queue, they are believed
    to.
    """
    while not probes[0].done():
        if any(probe.running() for probe in probes) or time.monotonic() >= deadline:
            return True
        time.sleep(PROBE_POLL_SECONDS)
    return False


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Start workers that Ctrl-C does not end: a terminal sends it to all of them, and a pool of
    which one has ended ends all others. Slaves unblock what they begin with as blocked.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _ending(future: Future[Any]) -> Ended | None:
    """Return how a call ended, None if it has not."""
    if not future.done():
        return None
    try:
        found = future.result(0)
    except BaseException as exc:  # a worker's SystemExit comes back as it is
        missing = isinstance(exc, ImportError | AttributeError)
        return Ended(None, "", f"{type(exc).__name__}: {exc}", unusable=missing)
    return found if isinstance(found, Ended) else Ended(None, "", f"it gave {found!r}")
