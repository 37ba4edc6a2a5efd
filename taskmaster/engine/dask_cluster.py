"""Dask as an engine. The only module that imports ``distributed``, and it does so when it is
used.

A task is a whole slave, so that the scheduler has one task for each slave, however many jobs there
are. It is pinned to no worker: adaptive clusters take it for a reason to grow. Dask never
interrupts what runs; the task itself looks whether it is still wanted.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taskmaster.engine import child
from taskmaster.engine.child import Wanted, run_slave_task
from taskmaster.engine.contract import EngineGone, EngineStanding
from taskmaster.engine.ended import Ended
from taskmaster.engine.reach import within
from taskmaster.engine.slave_task import SlaveTask
from taskmaster.errors import ConnectError, UsageError
from taskmaster.runtime.tracebacks import one_line

__all__ = ["DaskCluster", "address_of", "is_client", "scheduler_address"]

SCHEDULER_CONNECT_SECONDS = 10.0  # that a scheduler has to answer at the start
SCHEDULER_ALL_SECONDS = 20.0  # that it has, in all, to say what it is
SCHEDULER_ANSWER_SECONDS = 5.0  # that a scheduler has to answer later
ASK_SECONDS = 3.0  # between two questions what runs where
ASK_STARTING_SECONDS = 0.5  # between two such questions while a slave runs nowhere yet
ASK_FACTOR = 50.0  # least pause before the next question, in times of what the last answer took
DASK_NOT_INSTALLED = "--engine dask needs Dask: install it with `pip install 'taskmaster[dask]'`."
NEED_CERTIFICATES = ("tls", "wss")
TLS_VARIABLES = "DASK_DISTRIBUTED__COMM__TLS__"
LIVING = ("init", "running", "paused")  # names of a worker's state in which its tasks go on
WANTED = ("executing", "long-running")  # states of a task that somebody waits for


def slave_task(task: SlaveTask) -> Ended:
    """Run a slave, in a thread of a Dask worker."""
    from distributed import get_worker

    worker = get_worker()
    name = worker.get_current_task()

    def wanted() -> Wanted:
        if worker.status.name not in LIVING:
            return Wanted.DRAIN
        here = worker.state.tasks.get(name)
        return Wanted.YES if here is not None and here.state in WANTED else Wanted.NO

    return run_slave_task(task, Path(worker.local_directory), worker.state.nthreads, wanted)


def is_client(engine: Any) -> bool:
    """Return whether it is a ``distributed.Client``; nothing is imported to find out."""
    return any(f"{cls.__module__}.{cls.__name__}" == "distributed.client.Client" for cls in type(engine).__mro__)


def address_of(client: Any) -> str:
    """Return the address of a client's scheduler.

    Raises:
        UsageError: The client is not connected, or its calls only give something to await.
    """
    if client.asynchronous:
        raise UsageError(
            "engine= is a Client of Dask's with asynchronous=True, whose calls only give something to await: give one "
            "that is made without it."
        )
    if client.status != "running" or client.scheduler is None:
        raise UsageError(
            f"engine= is a Client of Dask's that is {client.status}: give one that is connected, as inside of "
            "`with Client(...) as client:`."
        )
    return str(client.scheduler.address)


def _check_address(address: str) -> None:
    """Check what Dask would say with a client that is left half made: its end takes 20 seconds.

    Raises:
        UsageError: Dask knows no such addresses.
        ConnectError: The scheduler needs certificates, and there are none, or they cannot be used.
    """
    from distributed import Security
    from distributed.comm.registry import get_backend

    scheme = urlsplit(address).scheme
    try:
        get_backend(scheme)
    except ValueError as exc:
        raise UsageError(f"--scheduler={address} is no address of a Dask scheduler: {exc}.") from None
    security: Any = Security()  # it has no types
    if scheme not in NEED_CERTIFICATES:
        return
    try:
        found = security.get_connection_args("client").get("ssl_context")
    except (OSError, ValueError) as exc:  # that of ssl is one
        given = (security.tls_ca_file, security.tls_client_cert, security.tls_client_key)
        files = [str(one) for one in given if one]  # the key may stand in the file of the certificate
        missing = [one for one in files if not one.startswith("-----BEGIN") and not Path(one).is_file()]
        raise ConnectError(
            f"The certificates for the Dask scheduler at {address} cannot be used: "
            + (f"there is no file {missing[0]}." if missing else f"{one_line(exc)}.")
            + f" They are those of Dask's configuration, and of {TLS_VARIABLES}CA_FILE, {TLS_VARIABLES}CLIENT__CERT "
            f"and {TLS_VARIABLES}CLIENT__KEY; certificate and key have to belong together."
        ) from None
    if found is None:
        raise ConnectError(
            f"The Dask scheduler at {address} cannot be asked without certificates: they are those of Dask's "
            f"configuration, and of {TLS_VARIABLES}CA_FILE, {TLS_VARIABLES}CLIENT__CERT and "
            f"{TLS_VARIABLES}CLIENT__KEY some are not set here."
        )


def _cure(address: str) -> str:
    """Return what helps where the scheduler at an address does not answer."""
    start = "Start it with `dask scheduler`, or give its address with --scheduler"
    if urlsplit(address).scheme in NEED_CERTIFICATES:
        return f"{start}; its certificates and those of Dask's configuration here have to belong together."
    return f"{start}, which begins with tls:// where it takes nothing else; Dask has to be of the same release there."


def scheduler_address(scheduler: str | None) -> str:
    """Return the address of a scheduler, which may be given as Dask's scheduler file.

    Raises:
        UsageError: None was given, or the file cannot be read.
    """
    if not scheduler:
        raise UsageError(
            "--engine dask needs --scheduler: its address, as in --scheduler=tls://10.0.0.1:8786, or the path of its "
            "scheduler file."
        )
    if "://" in scheduler:
        return scheduler
    path = Path(scheduler)
    if path.is_file():
        try:
            return str(json.loads(path.read_text("utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise UsageError(f"--scheduler={scheduler} is no scheduler file of Dask's: {exc}.") from None
    if urlsplit(f"tcp://{scheduler}").hostname and ":" in scheduler and "/" not in scheduler:
        return f"tcp://{scheduler}"
    raise UsageError(
        f"--scheduler={scheduler} is neither an address, as tls://10.0.0.1:8786 is one, nor a file that is there."
    )


class DaskCluster:
    """A Dask cluster that runs slaves.

    Args:
        run: Name of the fleet.
        connect: Makes a client of the cluster, again where one has given up.
        own: Whether that client is ours to close.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, run: str, connect: Callable[[], Any], *, own: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._connect = connect
        self._own = own
        self._clock = clock
        self._futures: dict[str, Any] = {}
        self._client = connect()
        self.scheduler = str(self._client.scheduler.address)
        self._placed: dict[str, list[str]] = {}
        self._behind: set[str] = set()
        self._stuck: set[str] = set()
        self._threads: dict[str, int] = {}
        self._ask_at = 0.0

    @classmethod
    def at(cls, run: str, address: str) -> DaskCluster:
        """Connect to a scheduler; TLS is as Dask's own configuration has it.

        Raises:
            UsageError: Dask is not installed here.
            ConnectError: The scheduler does not answer.
        """
        try:
            from distributed import Client
        except ImportError:
            raise UsageError(DASK_NOT_INSTALLED) from None
        _check_address(address)
        make: Any = Client  # it has no types

        def connect() -> Any:
            return make(address, timeout=SCHEDULER_CONNECT_SECONDS, set_as_default=False, name="taskmaster")

        try:
            return within(SCHEDULER_ALL_SECONDS, lambda: cls(run, connect, own=True), "taskmaster-dask")
        except (OSError, TypeError, ValueError) as exc:
            why = str(exc).rstrip(". ")
            raise ConnectError(f"The Dask scheduler at {address} does not answer: {why}. {_cure(address)}") from None

    @classmethod
    def of(cls, run: str, client: Any) -> DaskCluster:
        """Use a client that a script has.

        Raises:
            UsageError: It is not connected, or asynchronous.
        """
        return cls(run, lambda: client, own=False)

    def poll(self) -> EngineStanding:
        """Return how the cluster stands."""
        client = self._living()
        fresh = self._clock() >= self._ask_at
        if fresh:
            self._ask(client)
        ended = {name: how for name, future in self._futures.items() if (how := _ending(future)) is not None}
        for name in self._stuck & self._futures.keys() - ended.keys():
            self._futures[name].cancel()
            ended[name] = Ended(128 + signal.SIGTERM, "", "it waited behind another one, with a worker free")
        self._stuck = set()
        for name in ended:
            self._futures.pop(name).release()
        ours = {worker: [key for key in keys if key in self._futures] for worker, keys in self._placed.items()}
        running = sum(min(len(keys), self._threads.get(worker, 0)) for worker, keys in ours.items())
        waiting = self._futures.keys() - {key for keys in ours.values() for key in keys}
        return EngineStanding(len(self._threads), running, frozenset(waiting if fresh else ()), ended)

    def _ask(self, client: Any) -> None:
        """Ask the scheduler which workers there are, and what they have to do: it answers with
        everybody's tasks, and is asked less often the longer that takes.
        """
        began = self._clock()
        self._threads = client.nthreads()
        there = client.processing()
        self._placed = {worker: [key for key in keys if key in self._futures] for worker, keys in there.items()}
        free = any(len(there.get(worker, ())) < threads for worker, threads in self._threads.items())
        behind = self._queued(client, there) if free else set()
        # Twice, for one that begins at this moment would be ended.
        self._stuck, self._behind = behind & self._behind, behind
        now = self._clock()
        starting = sum(map(len, self._placed.values())) < len(self._futures) or bool(behind)
        self._ask_at = now + max(ASK_STARTING_SECONDS if starting else ASK_SECONDS, ASK_FACTOR * (now - began))

    def _queued(self, client: Any, there: dict[str, list[str]]) -> set[str]:
        """Return our tasks that a worker has been given and does not run: it is busy with other
        tasks, as with slaves of another run. Dask gives a task to a busy worker where no other is
        there, and later moves only tasks whose duration it knows. Its scheduler does not tell which
        of a worker's tasks run; so the worker is asked.
        """
        threads = self._threads
        full = [name for name, keys in self._placed.items() if keys and len(there[name]) > threads.get(name, 0)]
        if not full:
            return set()
        running: dict[str, list[str]] = client.run(child.running, self._run, workers=full, on_error="ignore")
        return {key for worker, names in running.items() for key in self._placed[worker] if key not in names}

    def submit(self, name: str, task: SlaveTask) -> None:
        """Have a slave started: on any worker, and by Dask only once."""
        self._futures[name] = self._living().submit(slave_task, task, key=name, pure=False, retries=0)
        self._ask_at = 0.0  # where it runs, or waits, is to be known soon

    def withdraw(self, name: str) -> None:
        """Forget a task."""
        future = self._futures.pop(name, None)
        if future is not None:
            future.cancel()

    def drain(self) -> Collection[str]:
        """Tell all our slaves to end, and withdraw what does not run; return what is still to
        end.
        """
        client = self._living()
        running: dict[str, list[str]] = client.run(child.drain, self._run, on_error="ignore")
        names = {name for found in running.values() for name in found}
        for name in [name for name in self._futures if name not in names and _ending(self._futures[name]) is None]:
            self.withdraw(name)
        return self._futures.keys()

    def close(self) -> None:
        """Withdraw what is left, and leave the cluster."""
        if self._client.status == "closed":
            self._futures.clear()  # it has let go of them itself
        for name in list(self._futures):
            self.withdraw(name)
        if self._own:
            self._client.close(timeout=SCHEDULER_ANSWER_SECONDS)

    def _living(self) -> Any:
        """Return a client; a new one where the old one has given its scheduler up.

        Raises:
            EngineGone: The client is closed, and is the user's own.
        """
        if self._client.status in ("closed", "closing") and self._own:
            self._client = self._connect()
        if self._client.status == "closed":
            raise EngineGone(
                "the Client of Dask's is closed, and only who made it can make another one: start it again with one "
                "that is connected, or with engine='dask' and scheduler=, and the run goes on"
            )
        if self._client.status != "running":
            raise ConnectionError(f"the connection to its scheduler is {self._client.status}")
        return self._client


def _ending(future: Any) -> Ended | None:
    """Return how a task ended, None if it has not."""
    if future.status == "pending":
        return None
    if future.status == "finished":
        try:
            found = future.result(timeout=SCHEDULER_ANSWER_SECONDS)
        except Exception as exc:  # the worker that had it is gone
            return Ended(None, "", f"{type(exc).__name__}: {exc}")
        return found if isinstance(found, Ended) else Ended(None, "", f"it gave {found!r}")
    if future.status == "error":
        error = future.exception(timeout=SCHEDULER_ANSWER_SECONDS)
        missing = isinstance(error, ImportError | AttributeError)
        why = f"{type(error).__name__}: {error}"
        if missing:
            why = f"Taskmaster, in this version, has to be installed on the engine's workers: {why}"
        return Ended(None, "", why, unusable=missing)
    return Ended(None, "", f"the engine has lost it ({future.status})")
