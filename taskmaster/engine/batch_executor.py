"""The executor of a slave whose batches run on somebody's executor: it is made, tried, and made
again when it has broken.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import taskmaster
from taskmaster.engine.batch_host import describe_worker
from taskmaster.engine.executor import cannot_run, make_executor, no_interrupts, workers_of
from taskmaster.errors import UsageError
from taskmaster.runtime.log import clean_logger

__all__ = ["Executors"]

logger = clean_logger(__name__)

WORKER_FACTS_SECONDS = 30.0  # that a worker has at the start to say what it can do; a queue takes longer
GUARD = "so that a job that takes its process down would take this command with it, and no job could be timed out"


class Executors:
    """Makes an executor, and another one when it has broken.

    Args:
        name: What is called, for people.
        make: Makes one.

    Raises:
        UsageError: What it makes is no executor, or its calls cannot be guarded.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make
        with no_interrupts():
            self.current = self._made()
            self._check()

    @property
    def workers(self) -> int | None:
        """How many workers it has, None if it does not say."""
        return workers_of(self.current)

    def renew(self) -> None:
        """Replace an executor that has broken."""
        try:
            self.current.shutdown(wait=False)
        except Exception as exc:  # its cluster may be gone
            logger.info("the broken executor was not shut down in good order: %r", exc)
        with no_interrupts():
            self.current = self._made()

    def kill(self) -> None:
        """End its processes, as far as they are children of this one: its shutdown would wait for
        them, and so would the end of this interpreter.
        """
        for process in list((getattr(self.current, "_processes", None) or {}).values()):
            process.kill()

    def _made(self) -> Any:
        executor = make_executor(self._name, self._make)
        kinds = [kind.__name__ for kind in type(executor).__mro__]
        for kind in ("ThreadPoolExecutor", "InterpreterPoolExecutor"):
            if kind in kinds:
                raise UsageError(
                    f"{self._name} gives a {kind}, whose workers are in this very process, {GUARD}. Use an executor "
                    "with processes, such as ProcessPoolExecutor; or, on this machine, tm-slave --processes=N."
                )
        return executor

    def _check(self) -> None:
        try:
            worker = self.current.submit(describe_worker).result(WORKER_FACTS_SECONDS)
        except (NotYet, TimeoutError):
            return  # it waits in a queue; whatever is wrong is said with the first batch
        except (Exception, CancelledError) as exc:
            what = "guarded batches, for which each starts a process"
            raise UsageError(cannot_run(self._name, what, exc)) from None
        if (worker.machine, worker.process) == (socket.gethostname(), os.getpid()):
            raise UsageError(
                f"{self._name} gives an executor whose workers are in this very process, {GUARD}. Use one with "
                "processes; or, on this machine, tm-slave --processes=N."
            )
        if worker.version != taskmaster.__version__:
            raise UsageError(
                f"The workers of {self._name} have Taskmaster {worker.version}, and this is {taskmaster.__version__}: "
                "install the same version there."
            )
