"""The options of a master, a slave and a local run: each is declared here, once.

The commands make these values from the command line, ``Taskmaster(callback, jobs, **options)``
makes them from keywords. A field is called like the option, with ``_`` for ``-``; its declaration
has the default, the limits and the text of ``--help`` (``taskmaster.options.option``). ``check``
adds the rules about options that do not go together.
"""

from __future__ import annotations

from typing import Any

from taskmaster.errors import UsageError
from taskmaster.options.engine import EngineOptions, ExecutorOptions
from taskmaster.options.option import Section, amount, choice, count, flag, seconds, text
from taskmaster.options.page import PageOptions
from taskmaster.options.telling import TellingOptions
from taskmaster.options.throttle import ThrottleOptions
from taskmaster.options.workers import CommonOptions, WorkerOptions
from taskmaster.records import record
from taskmaster.units import fraction_of, seconds_of

__all__ = ["MasterOptions", "RunOptions", "SlaveOptions", "failure_budget"]

PROGRESS_MODES = ("auto", "bar", "lines", "json", "none")
DEFAULT_HOST = "127.0.0.1:5050"
DEFAULT_SPAN = 100_000
DRY_RUN_JOBS = 10  # that --dry-run shows if it is given without a number


def _check_lease(option: str, value: Any) -> None:
    if type(value) not in (int, float) or not value >= 1.0:
        raise UsageError(f"{option} is {value!r}: give a number of seconds, 1 or more.")
    if value == float("inf"):
        raise UsageError(f"{option} is inf: the jobs of a lost slave would never run again. Give a number of seconds.")


def failure_budget(value: int | str | None, option: str = "--max-failures") -> tuple[int | None, float | None]:
    """Return what ``--max-failures`` allows, as a number of jobs and as a fraction; None: no limit.

    Raises:
        UsageError: The value is neither.
    """
    given = str(value).strip()
    try:
        if value is None:
            return None, None
        if given.endswith("%") and 0.0 <= (fraction := float(given[:-1]) / 100) <= 1.0:
            return None, fraction
        if not isinstance(value, bool) and given.isdecimal():
            return int(given), None
    except ValueError:
        pass
    raise UsageError(f"{option} is {value!r}: give a number of jobs, or a percentage such as 1%.")


@record(slots=False)
class MasterOptions(CommonOptions, ThrottleOptions, TellingOptions, PageOptions):
    """Options of ``tm-master``."""

    host: str | None = text(
        Section.NETWORK,
        DEFAULT_HOST,
        "HOST:PORT",
        "Address to listen on. One that other machines can reach needs a key.",
        alias="--address",
    )
    state: str | None = text(
        Section.STATE, None, "PATH", "The state file.", unset="NAME.tmstate in the working directory"
    )
    state_timeout: float = seconds(
        Section.STATE, 3600.0, "How long to keep trying when the state cannot be written, before the run stops."
    )
    reset: bool = flag(Section.STATE, "Begin a new run; the old one is kept and can be taken back.")
    adopt: bool = flag(
        Section.STATE,
        "Take over a state that belongs to another TARGET, as after a file was renamed. Needed only once.",
    )
    failed: bool = flag(Section.STATE, "Run the failed jobs again, and no others.")
    size: int = count(Section.QUEUE, 10_000, "Most jobs that are read ahead and wait in the queue.", least=1)
    span: int = count(
        Section.QUEUE,
        DEFAULT_SPAN,
        "Most jobs from the watermark to the newest job read. The default is raised to four times the jobs that slaves "
        "hold, if that is more.",
        least=2,
    )
    total: int | None = count(
        Section.QUEUE,
        None,
        "How many jobs there are, for percent and time left.",
        least=0,
        unset="what the source or count_jobs says",
    )
    retries: int = count(Section.FAILURES, 3, "How often a job is tried again when its callback raises.", least=0)
    backoff: float = seconds(
        Section.FAILURES, 1.0, "Wait before the second attempt; it doubles from one attempt to the next."
    )
    crashes: int = count(
        Section.FAILURES, 3, "Worker deaths and time-outs after which a job counts as failed.", least=1
    )
    job_timeout: float | None = seconds(
        Section.FAILURES,
        None,
        "How long a job, or a call of handle_jobs, may take until its worker is ended.",
        least=0.01,
        unset="no limit",
    )
    outage: float | None = seconds(
        Section.FAILURES,
        None,
        "While all jobs fail in the same way, the run holds back and tries one job now and then; after this time "
        "it stops. 0: it never holds back.",
        unset="3600; 0 with --max-failures",
    )
    max_failures: int | str | None = text(
        Section.FAILURES,
        None,
        "N|N%",
        "Stop the run when more jobs than this have failed in a session, as a number or a percentage.",
        check=lambda option, value: failure_budget(value, option),
        unset="no limit",
    )
    run_time: float | None = amount(
        Section.SCOPE,
        "TIME",
        seconds_of,
        "Stop after this time, like 90s, 15m or 1h30m, with exit code 75; the same command resumes.",
    )
    limit: int | None = count(
        Section.SCOPE,
        None,
        "Stop when N jobs are settled, with exit code 75; the same command resumes.",
        least=1,
    )
    dry_run: int | None = count(
        Section.SCOPE,
        None,
        f"Show the first N jobs ({DRY_RUN_JOBS}), and check that they could be run; run nothing.",
        least=1,
        metavar="[N]",
        alone=DRY_RUN_JOBS,
    )
    sample: float | None = amount(
        Section.SCOPE,
        "FRACTION",
        fraction_of,
        "Rehearse: run only this fraction of all jobs, like 0.1% or 0.001, and keep no state.",
    )
    lease: float = seconds(Section.SLAVES, 60.0, "Silence after which a slave counts as lost.", check=_check_lease)
    lease_grace: float = seconds(
        Section.SLAVES, 2.0, "How long a slave may take to come back after its connection closed."
    )
    strict_code: bool = flag(Section.SLAVES, "Refuse slaves whose file with the callback differs from the master's.")
    get_jobs_callback: str | None = text(
        Section.TARGET,
        None,
        "NAME",
        "The function that yields jobs, if TARGET names none.",
        unset="get_jobs",
        commands_only="here, give the function itself",
    )
    progress: str = choice(
        Section.OUTPUT,
        "auto",
        PROGRESS_MODES,
        "How to show progress; auto is a bar on a terminal, else lines. JSON goes to standard output.",
    )
    metrics_file: str | None = text(
        Section.OUTPUT,
        None,
        "PATH",
        "Write metrics for Prometheus to this file, every 15 seconds and at the end, as node_exporter reads them.",
        unset="nowhere",
    )

    def check(self) -> None:
        """Check as ``CommonOptions.check`` does."""
        super().check()
        self.check_page()
        if self.failed and self.reset:
            raise UsageError(
                "--failed runs failed jobs of this run again, and --reset gives the run up: leave one out."
            )
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


@record(slots=False)
class SlaveOptions(WorkerOptions, ExecutorOptions):
    """Options of ``tm-slave`` and ``tm-spawn``."""

    host: str = text(Section.NETWORK, DEFAULT_HOST, "HOST:PORT", "Address of the master.", alias="--address")
    wait: float = seconds(
        Section.NETWORK,
        3600.0,
        "How long to wait for a master that is not up yet, or is gone; 0: not at all.",
    )

    def check(self) -> None:
        """Check as ``CommonOptions.check`` does."""
        super().check()
        self.check_engine()
        self.check_executor(self.processes, self.jobs_per_worker, self.memory_per_worker)
        if self.processes == 0:
            raise UsageError("--processes is 0: give 1 or more.")


@record(slots=False)
class RunOptions(MasterOptions, WorkerOptions, EngineOptions):
    """Options of ``tm-run`` and ``Taskmaster``."""

    host: str | None = text(
        Section.NETWORK,
        None,
        "HOST:PORT",
        "Address at which more slaves can connect. One that other machines can reach needs a key.",
        alias="--address",
        unset="a free port of this machine",
    )
    advertise: str | None = text(
        Section.ENGINE,
        None,
        "HOST:PORT",
        "Address at which slaves on the engine reach this master.",
        unset="this machine's address on the way to the scheduler",
    )
    job: str | None = text(
        Section.SCOPE,
        None,
        "KEY",
        "Run only the job with this key, in this process, where a debugger works; the state is not changed.",
        commands_only="here, call the callback with the job",
    )

    @property
    def needs_slave(self) -> bool:
        """Whether jobs run in worker processes of this machine."""
        return self.dry_run is None and self.job is None and not self.in_process and self.engine is None

    @property
    def in_process(self) -> bool:
        """Whether jobs run one after the other in this very process."""
        return self.processes == 0

    def check(self) -> None:
        """Check as ``CommonOptions.check`` does."""
        super().check()
        if self.job is not None and (self.failed, self.reset, self.limit, self.sample, self.dry_run) != (
            (False, False, None, None, None)
        ):
            raise UsageError(
                "--job runs one job without touching the run: --failed, --reset, --limit, --sample and --dry-run mean "
                "nothing with it. Leave them out."
            )
        self.check_engine()
        if not self.in_process:
            return
        for name, value in (
            ("--threads", self.threads != 1 and self.threads),
            ("--concurrency", self.concurrency != 1 and self.concurrency),
            ("--jobs-per-worker", self.jobs_per_worker),
            ("--memory-per-worker", self.memory_per_worker),
            ("--job-timeout", self.job_timeout),
            ("--host", self.host),
            ("--engine", self.engine),
        ):
            if value:
                raise UsageError(
                    f"--processes 0 runs jobs one after the other in this process, so that {name}={value} means "
                    "nothing: leave it out, or give --processes=1 or more."
                )
