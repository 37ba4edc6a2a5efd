"""What can be set for a master, a slave and a local run, with the defaults and the limits of each.

The commands make these from the command line, ``Taskmaster(callback, jobs, **options)`` makes them
from keywords. A field is called like the option, with ``_`` for ``-``; ``check`` is the only place
that knows which values are allowed. An option is written down in three places: its field here, its
spelling in ``taskmaster.cli.options``, and where it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from taskmaster.django_orm.integration import ProjectOptions
from taskmaster.errors import UsageError
from taskmaster.model import MAX_BATCH
from taskmaster.options.throttle import ThrottleOptions
from taskmaster.options.values import check_choice, check_number, check_seconds, check_text
from taskmaster.units import bytes_of, seconds_of, share_of

__all__ = [
    "LOG_LEVELS",
    "PROGRESS_MODES",
    "MasterOptions",
    "RunOptions",
    "SlaveOptions",
    "WorkerOptions",
    "failure_budget",
    "usable_cpus",
]

PROGRESS_MODES = ("auto", "bar", "lines", "json", "none")
DEFAULT_HOST = "127.0.0.1:5050"
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

_FOREVER = float("inf")
_COMMANDS_ONLY = {"commands_only": "here, give the function itself"}


@dataclass(frozen=True)
class CommonOptions(ProjectOptions):
    """What every command that serves or runs jobs can be told; durations in seconds."""

    key: str | None = None
    """The shared key itself."""
    key_file: str | None = None
    """A file with the shared key."""
    grace: float = 30.0
    """How long running jobs may take to end after the first signal."""
    log_level: str = "warning"
    """What is logged: one of ``LOG_LEVELS``."""
    debug: bool = False
    """Show Taskmaster's own tracebacks."""

    def check(self) -> None:
        """Check that each value is allowed.

        Raises:
            UsageError: names the option and the value.
        """
        check_text("--key", self.key, optional=True)
        check_text("--key-file", self.key_file, optional=True)
        check_seconds("--grace", self.grace, 0.0)
        check_choice("--log-level", self.log_level, LOG_LEVELS)


@dataclass(frozen=True)
class WorkerOptions(CommonOptions):
    """How the workers of one machine run jobs."""

    processes: int | None = None
    """Worker processes; None: as many as there are usable CPUs."""
    threads: int = 1
    """Jobs at once in each worker, in threads."""
    concurrency: int = 1
    """Jobs at once in each worker, for an asynchronous callback."""
    batch: int | None = None
    """Jobs in a batch; None: chosen by how long the jobs turn out to take."""
    jobs_per_worker: int | None = None
    """Most jobs that a worker runs before another one takes its place; None: any number."""
    memory_per_worker: int | None = None
    """Bytes that a worker may take between two jobs before another one takes its place; None: any
    number.
    """
    handle_job_callback: str | None = field(default=None, metadata=_COMMANDS_ONLY)
    """Name of the callback, if not ``handle_job``."""

    fewest_processes: ClassVar[int] = 1

    @property
    def workers(self) -> int:
        """How many worker processes there are on this machine."""
        return usable_cpus() if self.processes is None else self.processes

    def check(self) -> None:
        """As for ``CommonOptions``."""
        super().check()
        check_text("--handle-job-callback", self.handle_job_callback, optional=True)
        if self.processes is not None:
            check_number("--processes", self.processes, self.fewest_processes)
        # A worker keeps a table with a place for each job that runs at once.
        check_number("--threads", self.threads, 1, MAX_BATCH)
        check_number("--concurrency", self.concurrency, 1, MAX_BATCH)
        if self.batch is not None:
            check_number("--batch", self.batch, 1, MAX_BATCH)
        if self.jobs_per_worker is not None:
            check_number("--jobs-per-worker", self.jobs_per_worker, 1)
        if self.memory_per_worker is not None:
            bytes_of("--memory-per-worker", self.memory_per_worker)
            if not Path("/proc/self/statm").exists():
                raise UsageError(
                    "--memory-per-worker is given, and this system has no /proc, which says how much memory a worker "
                    "takes. Use --jobs-per-worker."
                )


@dataclass(frozen=True)
class MasterOptions(CommonOptions, ThrottleOptions):
    """Options of ``tm-master``; durations in seconds."""

    host: str | None = DEFAULT_HOST
    """Where to serve, ``HOST:PORT``; None: on a free port that only this machine reaches."""
    size: int = 10_000
    """Most jobs in the queue."""
    span: int = 100_000
    """Most jobs between the watermark and the newest job read."""
    state: str | None = None
    """The state file; None: in the working directory, called after the target and its arguments."""
    state_timeout: float = 3600.0
    """How long to wait for a state that cannot be written."""
    failed: bool = False
    """Run the failed jobs again, and nothing else."""
    reset: bool = False
    """Begin a new run, even if the last one can be resumed."""
    adopt: bool = False
    """Let a state that belongs to something else belong to this run."""
    total: int | None = None
    """How many jobs the run has, if nothing else tells."""
    progress: str = "auto"
    """How to show progress: one of ``PROGRESS_MODES``."""
    lease: float = 60.0
    """Silence after which a slave counts as lost."""
    lease_grace: float = 2.0
    """How long a slave whose connection closed may take to come back."""
    retries: int = 3
    """Attempts after the first that a job gets when its callback raises."""
    backoff: float = 1.0
    """How long to wait before the second attempt; doubled from one attempt to the next."""
    crashes: int = 3
    """Workers that a job may kill, or outstay its time in, until it counts as failed."""
    job_timeout: float | None = None
    """How long a job may take, or a call of ``handle_jobs``; None: as long as it likes."""
    outage: float | None = None
    """How long the run may hold back while everything fails in the same way, until it stops; 0: it
    never holds back; None: an hour, or 0 where ``max_failures`` says how many may fail.
    """
    max_failures: int | str | None = None
    """More failed jobs than that in a session stop the run: a number, or a share such as ``"1%"``;
    None: any number.
    """
    run_time: float | None = None
    """Seconds after which the run stops, to be resumed; None: it runs to its end."""
    limit: int | None = None
    """Jobs of this session after which the run stops, to be resumed; None: it runs to its end."""
    dry_run: int | None = None
    """Look at so many jobs instead of running any."""
    sample: float | None = None
    """Run this share of all jobs, as a rehearsal without a state."""
    strict_code: bool = False
    """Refuse slaves whose callback is not the one that the others have."""
    get_jobs_callback: str | None = field(default=None, metadata=_COMMANDS_ONLY)
    """Name of the function that yields jobs, where the target names none."""

    def check(self) -> None:
        """As for ``CommonOptions``."""
        super().check()
        check_text("--host", self.host, optional=type(self).host is None)
        check_text("--state", self.state, optional=True)
        check_text("--get-jobs-callback", self.get_jobs_callback, optional=True)
        check_number("--size", self.size, 1)
        check_number("--span", self.span, 2)
        if self.total is not None:
            check_number("--total", self.total, 0)
        check_seconds("--lease", self.lease, 1.0)
        if self.lease == _FOREVER:
            raise UsageError(
                "--lease is inf: the jobs of a lost slave would never run again. Give a number of seconds."
            )
        check_seconds("--lease-grace", self.lease_grace, 0.0)
        check_choice("--progress", self.progress, PROGRESS_MODES)
        check_number("--retries", self.retries, 0)
        check_seconds("--backoff", self.backoff, 0.0)
        check_seconds("--state-timeout", self.state_timeout, 0.0)
        check_number("--crashes", self.crashes, 1)
        if self.job_timeout is not None:
            check_seconds("--job-timeout", self.job_timeout, 0.01)
        if self.outage is not None:
            check_seconds("--outage", self.outage, 0.0)
        failure_budget(self.max_failures)
        if self.failed and self.reset:
            raise UsageError(
                "--failed runs failed jobs of this run again, and --reset gives the run up: leave one out."
            )
        self._check_stops()
        self.check_throttle()

    def _check_stops(self) -> None:
        if self.run_time is not None:
            seconds_of("--run-time", self.run_time)
        if self.limit is not None:
            check_number("--limit", self.limit, 1)
        if self.dry_run is not None:
            check_number("--dry-run", self.dry_run, 1)
        if self.sample is not None:
            share_of("--sample", self.sample)
        if self.failed and (self.limit, self.sample, self.dry_run) != (None, None, None):
            raise UsageError(
                "--failed runs the failed jobs of a run again, all of them; --limit, --sample and --dry-run are about "
                "what get_jobs yields. Leave --failed out, or the other."
            )
        for option, value in (("--dry-run", self.dry_run), ("--limit", self.limit), ("--run-time", self.run_time)):
            if value is not None and self.sample is not None:
                raise UsageError(
                    f"--sample and {option} are both given, and a rehearsal can only run to its end: it keeps no state "
                    "from which it could be resumed. Leave one out, or give a smaller --sample."
                )


@dataclass(frozen=True)
class SlaveOptions(WorkerOptions):
    """Options of ``tm-slave`` and ``tm-spawn``; durations in seconds."""

    host: str = DEFAULT_HOST
    """Where the master is: ``HOST:PORT``."""
    wait: float = 3600.0
    """How long to wait for the master, before it is up and when it is gone; 0: not at all."""

    def check(self) -> None:
        """As for ``CommonOptions``."""
        super().check()
        check_text("--host", self.host)
        check_seconds("--wait", self.wait, 0.0)


@dataclass(frozen=True)
class RunOptions(MasterOptions, WorkerOptions):
    """Options of ``tm-run`` and ``Taskmaster``; durations in seconds."""

    host: str | None = None
    """Where slaves from elsewhere may connect, ``HOST:PORT``; None: nowhere, on a free port of this
    machine.
    """

    job: str | None = field(default=None, metadata={"commands_only": "here, call the callback with the job"})
    """Key of the one job to run, in this process, without touching the run."""

    fewest_processes: ClassVar[int] = 0  # then jobs run in this process

    @property
    def needs_slave(self) -> bool:
        """Whether jobs run in worker processes."""
        return self.dry_run is None and self.job is None and not self.in_process

    @property
    def in_process(self) -> bool:
        """Whether jobs run one after the other in this very process."""
        return self.processes == 0

    def check(self) -> None:
        """As for ``CommonOptions``."""
        super().check()
        if self.job is not None and (self.failed, self.reset, self.limit, self.sample, self.dry_run) != (
            (False, False, None, None, None)
        ):
            raise UsageError(
                "--job runs one job without touching the run: --failed, --reset, --limit, --sample and --dry-run mean "
                "nothing with it. Leave them out."
            )
        if not self.in_process:
            return
        for name, value in (
            ("--threads", self.threads != 1 and self.threads),
            ("--concurrency", self.concurrency != 1 and self.concurrency),
            ("--jobs-per-worker", self.jobs_per_worker),
            ("--memory-per-worker", self.memory_per_worker),
            ("--job-timeout", self.job_timeout),
            ("--host", self.host),
        ):
            if value:
                raise UsageError(
                    f"--processes 0 runs jobs one after the other in this process, so that {name}={value} means "
                    "nothing: leave it out, or give --processes=1 or more."
                )


def failure_budget(value: int | str | None) -> tuple[int | None, float | None]:
    """What ``--max-failures`` allows, as a number or as a share.

    Raises:
        UsageError: it is neither.
    """
    text = str(value).strip()
    try:
        if value is None:
            return None, None
        if text.endswith("%") and 0.0 <= (share := float(text[:-1]) / 100) <= 1.0:
            return None, share
        if not isinstance(value, bool) and text.isdecimal():
            return int(text), None
    except ValueError:
        pass
    raise UsageError(f"--max-failures is {value!r}: give a number of jobs, or a share of them such as 1%.")


def usable_cpus() -> int:
    """How many CPUs this process may use: what ``taskset`` or a container leaves it, not what the
    machine has.
    """
    count = getattr(os, "process_cpu_count", None)  # since Python 3.13
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
