"""Ray as an engine. The only module that imports ``ray``, and it does so when it is used.

A slave is a task that asks for one CPU for each of its workers, so that Ray's autoscaler adds nodes
for slaves that wait. Where Ray has no other machine yet, and one that comes could not reach the
master, or would be sent the key in clear, tasks are bound to this machine. A task says first that
it has begun, and last how it ended. Ray tells a task that is cancelled by an interrupt, after which
the slave ends in good order.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from taskmaster.engine.child import Wanted, own_directory, run_slave_task
from taskmaster.engine.contract import EngineGone, EngineStanding
from taskmaster.engine.ended import Ended
from taskmaster.engine.reach import check_answers, within
from taskmaster.engine.slave_task import SlaveTask
from taskmaster.errors import ConnectError, UsageError

__all__ = ["RayCluster", "is_ray"]

RAY_NOT_INSTALLED = "--engine ray needs Ray: install it with `pip install 'taskmaster[ray]'`."
TASK_NAME = "taskmaster-slave"
HERE_AMOUNT = 0.001  # how much a task takes of the resource that Ray has for each machine: little, so that many fit
HEAD_ANSWER_SECONDS = 10.0  # that its head has to take a connection at the start
RAY_CONNECT_SECONDS = 30.0  # that it has to let us in
NO_HANDLER = "SIGTERM handler is not set"  # Ray says so in any but the main thread, and it is as wanted
BEGUN = "begun"  # what a task says first
DRAINED = 128 + signal.SIGTERM
# Of Ray's exceptions: nobody is to blame, and the task has ended because it was to.
CANCELLED = "TaskCancelledError"


def slave_task(task: SlaveTask) -> Iterator[str | Ended]:
    """Run a slave, in a worker of Ray's."""
    yield BEGUN
    yield run_slave_task(task, own_directory(), 1, lambda: Wanted.YES)


def is_ray(engine: Any) -> bool:
    """Return whether it is the module; nothing is imported to find out."""
    return engine == "ray" or (isinstance(engine, ModuleType) and engine.__name__ == "ray")


class RayCluster:
    """A Ray cluster that runs slaves.

    Args:
        run: Name of the fleet.
        address: The address of Ray's head, or "auto".
        processes: Worker processes of each slave, which are the CPUs of its task.
        reachable: Whether other machines could reach the master.
        insecure: Whether the key may travel to them in clear.

    Attributes:
        scheduler: The head's address, where tasks may run on other machines.
        stays: Whether they run on this machine only.

    Raises:
        UsageError: Ray is not installed here, or the address is no cluster's.
        ConnectError: Ray does not answer.
    """

    def __init__(
        self, run: str, address: str, processes: int, *, reachable: bool = False, insecure: bool = False
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError(RAY_NOT_INSTALLED) from None
        if address.startswith("ray://"):
            raise UsageError(
                f"--scheduler={address} is Ray's client server, and the slaves could not reach a master behind it: run "
                "the command on a machine of the cluster, as with `ray job submit`, and give HOST:PORT, or nothing."
            )
        self._ray: Any = ray
        self._cpus = processes
        self._tasks: dict[str, Any] = {}
        self._begun: set[str] = set()
        self._heard: dict[str, Ended] = {}  # of what has ended, and nobody was told yet
        self._own = not ray.is_initialized()
        if self._own:
            self._connect(address)
        self._here: str = ray.util.get_node_ip_address()
        tls = os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true")
        self.stays = not (reachable and (insecure or tls)) and self._is_alone()
        head = f"{'tls' if tls else 'ray'}://{ray.get_runtime_context().gcs_address}"
        self.scheduler = "" if self.stays else head
        self._make = ray.remote(slave_task).options(
            num_cpus=processes,
            max_retries=0,
            num_returns="streaming",
            name=f"{TASK_NAME}-{run}",
            resources={f"node:{self._here}": HERE_AMOUNT} if self.stays else {},
        )

    def _connect(self, address: str) -> None:
        """Connect in a thread of its own: Ray tries for minutes, in which a signal is to be heard,
        and there it leaves the signal handlers of this process alone.
        """
        try:
            check_answers(address, HEAD_ANSWER_SECONDS)
            within(RAY_CONNECT_SECONDS, lambda: self._init(address), "taskmaster-ray")
        except (ConnectionError, RuntimeError, ValueError, OSError) as exc:
            why = str(exc).rstrip(". ")
            raise ConnectError(
                f"Ray at {address} does not answer: {why}. Start it with `ray start --head`, and give its address "
                "with --scheduler=HOST:6379, or nothing on a machine of the cluster."
            ) from None

    def _init(self, address: str) -> None:
        logging.getLogger("ray._private.worker").addFilter(lambda record: NO_HANDLER not in record.getMessage())
        self._ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=False)

    def _is_alone(self) -> bool:
        """Return whether Ray has no other machine than this one."""
        return {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]} <= {self._here}

    def _cpus_for_us(self) -> int:
        """Return how many CPUs there are where our tasks may run."""
        if not self.stays:
            return int(self._ray.cluster_resources().get("CPU", 0))
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["NodeManagerAddress"] == self._here]
        return int(sum(node["Resources"].get("CPU", 0) for node in nodes))

    def poll(self) -> EngineStanding:
        """Return how the cluster stands.

        Raises:
            EngineGone: This process has left it, and its slaves have ended with that.
        """
        if self._forgotten():
            raise EngineGone(
                "ray.shutdown() was called in this process, which ends the slaves: start it again without that, and "
                "the run goes on"
            )
        workers = self._cpus_for_us() // self._cpus
        ended, self._heard = self._heard, {}
        ready = self._ready(list(self._tasks.values()))
        for name, task in list(self._tasks.items()):
            how = self._said(name, task) if id(task) in ready else None
            if how is not None:
                ended[name] = how
                self._forget(name)
        return EngineStanding(workers, len(self._begun), frozenset(self._tasks.keys() - self._begun), ended)

    def _ready(self, tasks: list[Any]) -> set[int]:
        if not tasks:
            return set()
        ready, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return {id(one) for one in ready}

    def _said(self, name: str, task: Any) -> Ended | None:
        """Hear what a task says; None if that is that it has begun."""
        try:
            found = self._ray.get(next(task))
        except StopIteration:
            return Ended(DRAINED, "", "it was cancelled")
        except Exception as exc:
            return ending(exc)
        if found == BEGUN:
            self._begun.add(name)
            return None
        return found if isinstance(found, Ended) else Ended(None, "", f"it gave {found!r}")

    def _forget(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._begun.discard(name)

    def submit(self, name: str, task: SlaveTask) -> None:
        """Have a slave started: on any node, and by Ray only once."""
        config = replace(task.instructions.config, processes=self._cpus)
        told = replace(task, instructions=task.instructions._replace(config=config))
        self._tasks[name] = self._make.remote(told)

    def withdraw(self, name: str) -> None:
        """Forget a task; Ray interrupts one that runs."""
        task = self._tasks.get(name)
        self._forget(name)
        if task is not None:
            self._ray.cancel(task)

    def drain(self) -> Collection[str]:
        """Tell all our slaves to end, and withdraw what does not run; return what is still to
        end.
        """
        if self._forgotten():
            return ()
        self._heard = dict(self.poll().ended)  # how a slave has ended at the run's end says how the run has
        for name, task in list(self._tasks.items()):
            if name in self._begun:
                self._ray.cancel(task)
            else:
                self.withdraw(name)
        return self._tasks.keys() | self._heard.keys()

    def close(self) -> None:
        """End what is left, with its worker, and leave the cluster."""
        if self._forgotten():
            return
        for name, task in list(self._tasks.items()):
            self._forget(name)
            self._ray.cancel(task, force=True)
        if self._own:
            self._ray.shutdown()

    def _forgotten(self) -> bool:
        """Return whether this process has left the cluster, with which its tasks have ended: Ray
        would start another one when it is asked about them.
        """
        gone = not self._ray.is_initialized()
        if gone:
            self._tasks.clear()
            self._begun.clear()
        return gone


def ending(exc: Exception) -> Ended:
    """Return how a task ended that has raised, or that Ray has lost."""
    cause = getattr(exc, "cause", None)
    kinds = {cls.__name__ for one in (exc, cause) for cls in type(one).__mro__}
    if CANCELLED in kinds:
        return Ended(DRAINED, "", "it was cancelled")
    text = next((line for line in reversed(str(exc).strip().splitlines()) if line.strip()), "")
    why = f"{type(exc).__name__}: {text.strip()}"
    missing = isinstance(exc, ImportError | AttributeError) or isinstance(cause, ImportError | AttributeError)
    if missing:
        why = f"Taskmaster, in this version, has to be installed on Ray's nodes: {why}"
    return Ended(None, "", why, unusable=missing)
