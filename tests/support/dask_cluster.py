"""A Dask cluster as people have it: a scheduler, and workers with their nannies, each a process of
its own on loopback.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import psutil

from support.commands import BIN, Command, free_port, wait_for
from support.playground import Playground

__all__ = ["DaskProcesses"]


class DaskProcesses:
    """A cluster whose processes belong to a playground.

    Args:
        playground: Ends what is left of it.
        workers: How many there are at the start.
        threads: Of each.
        scheme: Of their addresses.
        environment: Of its processes, beside the playground's.
    """

    def __init__(
        self, playground: Playground, workers: int = 2, threads: int = 1, scheme: str = "tcp", **environment: str
    ) -> None:
        self._playground = playground
        self._scheme, self._environment = scheme, environment
        self._threads = threads
        self.port = free_port()
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        self.workers: list[Command] = []
        self.start_scheduler()
        for _ in range(workers):
            self.start_worker()

    def start_scheduler(self) -> None:
        """Start the scheduler, on its port."""
        words = [f"--host={self._scheme}://127.0.0.1", f"--port={self.port}", "--no-dashboard", "--no-show"]
        self.scheduler = self._start("distributed.cli.dask_scheduler", *words)

    def start_worker(self) -> Command:
        """Start a worker, which waits for the scheduler."""
        words = [
            f"--host={self._scheme}://127.0.0.1",
            f"--nthreads={self._threads}",
            "--no-dashboard",
            "--death-timeout=20",
        ]
        worker = self._start("distributed.cli.dask_worker", self.address, *words)
        self.workers.append(worker)
        return worker

    def _start(self, module: str, *words: str) -> Command:
        python = Path(sys.executable).relative_to(BIN)
        environment = {
            "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "false",
            "PYTHONWARNINGS": "ignore",
            "TMPDIR": str(self._playground.directory),
            **self._environment,
        }
        # -P: what lies in the directory of a run is not there for the workers, as elsewhere.
        return self._playground.start(str(python), "-P", "-m", module, *words, **environment)

    @property
    def output(self) -> str:
        """All that its processes have printed."""
        return "\n".join(one.output for one in (self.scheduler, *self.workers))

    def inner(self, worker: Command) -> int:
        """The process of a worker, below its nanny."""
        return wait_for("the worker below its nanny", lambda: _spawned(worker.pid))

    def wait_for_workers(self, number: int) -> None:
        """Until so many have said that they are there."""
        wait_for(f"{number} workers", lambda: self.scheduler.output.count("Register worker") >= number)

    def close(self) -> None:
        """End all its processes."""
        for one in (*self.workers, self.scheduler):
            with suppress(ProcessLookupError):
                one.signal_group(9)
            one.close()


def _spawned(nanny: int) -> int | None:
    for one in psutil.Process(nanny).children():
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in one.cmdline()):
                return one.pid
    return None
