"""What can be set for a master, a slave and a local run, with the defaults and the limits of each.

The commands make these from the command line, ``Taskmaster(callback, jobs, **options)`` makes them
from keywords; the api reads them. A field is called like the option, with ``_`` for ``-``.
``check`` is the only place that knows what values are allowed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from taskmaster.django_orm.integration import ProjectOptions
from taskmaster.errors import CallError, UsageError
from taskmaster.model import MAX_BATCH
from taskmaster.options.throttle import ThrottleOptions
from taskmaster.units import rate_of, seconds_of, share_of

__all__ = [
    "LOG_LEVELS",
    "PROGRESS_MODES",
    "MasterOptions",
    "RunOptions",
    "SlaveOptions",
    "failure_budget",
    "from_keywords",
    "usable_cpus",
]

PROGRESS_MODES = ("auto", "bar", "lines", "json", "none")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

_FOREVER = float("inf")
_COMMANDS_ONLY = {"commands_only": "here, give the function itself"}


@dataclass(frozen=True)
class MasterOptions(ProjectOptions, ThrottleOptions):
    """Options of ``tm-master``; durations in seconds."""

    host: str = "127.0.0.1:5050"
    """Where to serve: ``HOST:PORT``."""
    key: str | None = None
    """The shared key itself."""
    key_file: str | None = None
    """A file with the shared key."""
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
    total: int | None = None
    """How many jobs the run has, if nothing else tells."""
    progress: str = "auto"
    """How to show progress: one of ``PROGRESS_MODES``."""
    grace: float = 30.0
    """How long running jobs may take to end after the first signal."""
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
    log_level: str = "warning"
    """What is logged: one of ``LOG_LEVELS``."""
    debug: bool = False
    """Show Taskmaster's own tracebacks."""

    def check(self) -> None:
        """See that each value is one that it can be.

        Raises:
            UsageError: names the option and the value.
        """
        _check_master(self)


@dataclass(frozen=True)
class SlaveOptions(ProjectOptions):
    """Options of ``tm-slave`` and ``tm-spawn``; durations in seconds."""

    host: str = "127.0.0.1:5050"
    """Where the master is: ``HOST:PORT``."""
    key: str | None = None
    """The shared key itself."""
    key_file: str | None = None
    """A file with the shared key."""
    processes: int | None = None
    """Worker processes; None: as many as there are usable CPUs."""
    threads: int = 1
    """Jobs at once in each worker, in threads."""
    concurrency: int = 1
    """Jobs at once in each worker, for an asynchronous callback."""
    batch: int | None = None
    """Jobs in a batch; None: chosen by what the jobs turn out to take."""
    wait: float = 3600.0
    """How long to wait for the master, before it is up and when it is gone; 0: not at all."""
    grace: float = 30.0
    """How long running jobs may take to end after the first signal."""
    handle_job_callback: str | None = field(default=None, metadata=_COMMANDS_ONLY)
    """Name of the callback, where the target names none."""
    log_level: str = "warning"
    """What is logged: one of ``LOG_LEVELS``."""
    debug: bool = False
    """Show Taskmaster's own tracebacks."""

    @property
    def workers(self) -> int:
        """How many worker processes that makes on this machine."""
        return usable_cpus() if self.processes is None else self.processes

    def check(self) -> None:
        """See that each value is one that it can be.

        Raises:
            UsageError: names the option and the value.
        """
        _check_slave(self)


@dataclass(frozen=True)
class RunOptions(ProjectOptions, ThrottleOptions):
    """Options of ``tm-run`` and ``Taskmaster``; durations in seconds."""

    host: str | None = None
    """Where slaves from elsewhere may connect, ``HOST:PORT``; None: nowhere, on a free port of this
    machine.
    """
    key: str | None = None
    """The shared key itself."""
    key_file: str | None = None
    """A file with the shared key."""
    size: int = MasterOptions.size
    """Most jobs in the queue."""
    span: int = MasterOptions.span
    """Most jobs between the watermark and the newest job read."""
    state: str | None = None
    """The state file; None: in the working directory, called after the target and its arguments."""
    state_timeout: float = MasterOptions.state_timeout
    """How long to wait for a state that cannot be written."""
    failed: bool = False
    """Run the failed jobs again, and nothing else."""
    reset: bool = False
    """Begin a new run, even if the last one can be resumed."""
    total: int | None = None
    """How many jobs the run has, if nothing else tells."""
    progress: str = MasterOptions.progress
    """How to show progress: one of ``PROGRESS_MODES``."""
    grace: float = MasterOptions.grace
    """How long running jobs may take to end after the first signal."""
    lease: float = MasterOptions.lease
    """Silence after which a slave counts as lost."""
    lease_grace: float = MasterOptions.lease_grace
    """How long a slave whose connection closed may take to come back."""
    retries: int = MasterOptions.retries
    """Attempts after the first that a job gets when its callback raises."""
    backoff: float = MasterOptions.backoff
    """How long to wait before the second attempt; doubled from one attempt to the next."""
    crashes: int = MasterOptions.crashes
    """Workers that a job may kill, or outstay its time in, until it counts as failed."""
    job_timeout: float | None = None
    """How long a job may take, or a call of ``handle_jobs``; None: as long as it likes."""
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
    processes: int | None = None
    """Worker processes; None: as many as there are usable CPUs."""
    threads: int = SlaveOptions.threads
    """Jobs at once in each worker, in threads."""
    concurrency: int = SlaveOptions.concurrency
    """Jobs at once in each worker, for an asynchronous callback."""
    batch: int | None = None
    """Jobs in a batch; None: chosen by what the jobs turn out to take."""
    get_jobs_callback: str | None = field(default=None, metadata=_COMMANDS_ONLY)
    """Name of the function that yields jobs, where the target names none."""
    handle_job_callback: str | None = field(default=None, metadata=_COMMANDS_ONLY)
    """Name of the callback, if not ``handle_job``."""
    log_level: str = MasterOptions.log_level
    """What is logged: one of ``LOG_LEVELS``."""
    debug: bool = False
    """Show Taskmaster's own tracebacks."""

    @property
    def workers(self) -> int:
        """How many worker processes that makes on this machine."""
        return usable_cpus() if self.processes is None else self.processes

    def check(self) -> None:
        """See that each value is one that it can be.

        Raises:
            UsageError: names the option and the value.
        """
        _check_master(self)
        _check_slave(self)


_Options = TypeVar("_Options", MasterOptions, SlaveOptions, RunOptions)


def from_keywords(cls: type[_Options], keywords: Mapping[str, Any]) -> _Options:
    """Make options from the keywords of a call.

    ``address`` and ``no_progress`` mean what ``--address`` and ``--no-progress`` mean;
    ``run_time``, ``sample`` and ``rate`` may be written as on the command line, ``"2h"``,
    ``"0.1%"`` and ``"100/m"``.

    Raises:
        CallError: there is no such option; names the nearest. It is a TypeError, too.
        UsageError: such a text cannot be read.
    """
    names = {one.name for one in fields(cls) if not one.metadata.get("commands_only")}
    given = dict(keywords)
    if "address" in given:
        if "host" in given:
            raise CallError("host and address are the same option: give one of them")
        given["host"] = given.pop("address")
    if "no_progress" in given and "progress" in names:
        if "progress" in given:
            raise CallError("no_progress is progress='none': give one of them")
        if given.pop("no_progress"):
            given["progress"] = "none"
    for name, convert in (("run_time", seconds_of), ("sample", share_of), ("rate", rate_of)):
        if isinstance(given.get(name), str) and name in names:
            given[name] = convert(f"--{name.replace('_', '-')}", given[name])
    for name in given:
        if name in names:
            continue
        if (one := next((one for one in fields(cls) if one.name == name), None)) is not None:
            raise CallError(f"{name} is an option of the commands alone: {one.metadata['commands_only']}")
        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(names))}"
        raise CallError(f"there is no option {name!r}; {hint}")
    return cls(**given)


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


# -- limits ----------------------------------------------------------------------------------------


def _check_master(options: MasterOptions | RunOptions) -> None:
    _check_text("--host", options.host, optional=isinstance(options, RunOptions))
    _check_shared(options)
    _check_text("--state", options.state, optional=True)
    _check_text("--get-jobs-callback", options.get_jobs_callback, optional=True)
    _check_number("--size", options.size, 1)
    _check_number("--span", options.span, 2)
    if options.total is not None:
        _check_number("--total", options.total, 0)
    _check_seconds("--lease", options.lease, 1.0)
    if options.lease == _FOREVER:
        raise UsageError("--lease is inf: the jobs of a lost slave would never run again. Give a number of seconds.")
    _check_seconds("--lease-grace", options.lease_grace, 0.0)
    _check_choice("--progress", options.progress, PROGRESS_MODES)
    _check_number("--retries", options.retries, 0)
    _check_seconds("--backoff", options.backoff, 0.0)
    _check_seconds("--state-timeout", options.state_timeout, 0.0)
    _check_number("--crashes", options.crashes, 1)
    if options.job_timeout is not None:
        _check_seconds("--job-timeout", options.job_timeout, 0.01)
    failure_budget(options.max_failures)
    if options.failed and options.reset:
        raise UsageError("--failed runs failed jobs of this run again, and --reset gives the run up: leave one out.")
    _check_stops(options)
    options.check_throttle()


def _check_stops(options: MasterOptions | RunOptions) -> None:
    if options.run_time is not None:
        seconds_of("--run-time", options.run_time)
    if options.limit is not None:
        _check_number("--limit", options.limit, 1)
    if options.dry_run is not None:
        _check_number("--dry-run", options.dry_run, 1)
    if options.sample is not None:
        share_of("--sample", options.sample)
    if options.failed and (options.limit, options.sample, options.dry_run) != (None, None, None):
        raise UsageError(
            "--failed runs the failed jobs of a run again, all of them; --limit, --sample and --dry-run are about what "
            "get_jobs yields. Leave --failed out, or the other."
        )
    for option, value in (("--dry-run", options.dry_run), ("--limit", options.limit), ("--run-time", options.run_time)):
        if value is not None and options.sample is not None:
            raise UsageError(
                f"--sample and {option} are both given, and a rehearsal can only run to its end: it keeps no state "
                "from which it could be resumed. Leave one out, or give a smaller --sample."
            )


def _check_slave(options: SlaveOptions | RunOptions) -> None:
    if isinstance(options, SlaveOptions):
        _check_text("--host", options.host)
        _check_shared(options)
        _check_seconds("--wait", options.wait, 0.0)
    _check_text("--handle-job-callback", options.handle_job_callback, optional=True)
    if options.processes is not None:
        _check_number("--processes", options.processes, 1)
    # A worker keeps a table with a place for each job that runs at once.
    _check_number("--threads", options.threads, 1, MAX_BATCH)
    _check_number("--concurrency", options.concurrency, 1, MAX_BATCH)
    if options.batch is not None:
        _check_number("--batch", options.batch, 1, MAX_BATCH)


def _check_shared(options: MasterOptions | SlaveOptions | RunOptions) -> None:
    _check_text("--key", options.key, optional=True)
    _check_text("--key-file", options.key_file, optional=True)
    _check_seconds("--grace", options.grace, 0.0)
    _check_choice("--log-level", options.log_level, LOG_LEVELS)


def _check_number(option: str, value: object, least: int, most: int | None = None) -> None:
    # bool is an int to Python, and a slip to a person.
    if type(value) is not int:
        raise UsageError(f"{option} is {value!r}: give a whole number.")
    if value < least or (most is not None and value > most):
        allowed = f"{least} or more" if most is None else f"from {least} to {most}"
        raise UsageError(f"{option} is {value}: give {allowed}.")


def _check_seconds(option: str, value: object, least: float) -> None:
    # The comparison is this way round because nan is not at least anything.
    if type(value) not in (int, float) or not value >= least:  # type: ignore[operator]
        raise UsageError(f"{option} is {value!r}: give a number of seconds, {least:g} or more.")


def _check_text(option: str, value: object, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{option} is {value!r}: give a text.")


def _check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices and not (option == "--log-level" and str(value).lower() in choices):
        raise UsageError(f"{option} is {value!r}: give one of {', '.join(choices)}.")
