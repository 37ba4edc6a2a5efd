"""What every command that serves or runs jobs can be told, and how the workers of one machine run
them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import MAX_BATCH
from taskmaster.options.option import Section, amount, check_options, choice, count, flag, seconds, text
from taskmaster.options.project import ProjectOptions
from taskmaster.options.telling import LogOptions
from taskmaster.records import record
from taskmaster.units import bytes_of

__all__ = ["CommonOptions", "WorkerOptions", "usable_cpus"]

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


LEAST_MEMORY_BYTES = 2**20  # for a worker; with fewer, the unit was left out


def _check_memory(option: str, value: Any) -> None:
    if bytes_of(option, value) < LEAST_MEMORY_BYTES:
        raise UsageError(
            f"{option} is {value}: that is a number of bytes, and each worker takes more at once. Give an amount with "
            "its unit, like 500M or 2G."
        )
    if not Path("/proc/self/statm").exists():
        raise UsageError(
            f"{option} is given, and this system has no /proc, which says how much memory a worker takes. Use "
            "--jobs-per-worker."
        )


@record(slots=False)
class CommonOptions(ProjectOptions, LogOptions):
    """The options of every command that serves or runs jobs."""

    key: str | None = text(
        Section.NETWORK,
        None,
        "TEXT",
        "The shared key. Other users of this machine can see it: prefer --key-file.",
        environment=False,  # TASKMASTER_KEY is taken out of the environment where the key is looked for
    )
    key_file: str | None = text(
        Section.NETWORK,
        None,
        "PATH",
        "File with the shared key, made by `tm-ctl keygen`; or set TASKMASTER_KEY to the key.",
    )
    grace: float = seconds(
        Section.WORKERS, 30.0, "How long running jobs may take to end after the first Ctrl-C or SIGTERM."
    )
    log_level: str = choice(Section.OUTPUT, "warning", LOG_LEVELS, "What is logged to standard error.", capitals=True)
    debug: bool = flag(Section.OUTPUT, "Show Taskmaster's own tracebacks.")

    def check(self) -> None:
        """Check that each value is allowed, and that the values go together.

        Raises:
            UsageError: A value is not allowed; the message names the option and the value.
        """
        check_options(self)


@record(slots=False)
class WorkerOptions(CommonOptions):
    """How the workers of one machine run jobs."""

    processes: int | None = count(
        Section.WORKERS,
        None,
        "Number of worker processes. tm-run --processes 0 runs jobs one after the other, in its own process.",
        least=0,
        unset="the number of usable CPUs",
    )
    # A worker has a table with a slot for each job that runs at once, which limits their number.
    threads: int = count(Section.WORKERS, 1, "Jobs that each worker runs at once, in threads.", least=1, most=MAX_BATCH)
    concurrency: int = count(
        Section.WORKERS,
        1,
        "Jobs that each worker runs at once, if the callback is an `async def`.",
        least=1,
        most=MAX_BATCH,
    )
    batch: int | None = count(
        Section.WORKERS,
        None,
        "Jobs in a batch, but never fewer than a worker runs at once.",
        least=1,
        most=MAX_BATCH,
        unset="as many as take half a second",
    )
    jobs_per_worker: int | None = count(
        Section.WORKERS,
        None,
        "Replace a worker by a new one when it has run this many jobs.",
        least=1,
        unset="no limit",
    )
    memory_per_worker: int | None = amount(
        Section.WORKERS,
        "AMOUNT",
        bytes_of,
        "Replace a worker by a new one, between two jobs, when it takes more memory than this, like 500M or 2G.",
        check=_check_memory,
        unset="no limit",
    )
    handle_job_callback: str | None = text(
        Section.TARGET,
        None,
        "NAME",
        "The function that is called with each job.",
        unset="handle_job",
        commands_only="here, give the function itself",
    )

    @property
    def workers(self) -> int:
        """How many worker processes there are on this machine."""
        return usable_cpus() if self.processes is None else self.processes


def usable_cpus() -> int:
    """Return how many CPUs this process may use: those that ``taskset`` or a container leaves."""
    number = getattr(os, "process_cpu_count", None)  # since Python 3.13
    if number is not None:
        return number() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
