"""Taskmaster as Python functions: what the commands call, and what a migration script calls.

In ``taskmaster.runner``, which does the work, master and slave meet. ::

    from taskmaster import Taskmaster

    def main():
        Taskmaster(handle_job, get_jobs, processes=8).start()
"""

from __future__ import annotations

import atexit
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskmaster.django_orm import integration
from taskmaster.errors import CallError, Interrupted, UsageError
from taskmaster.guards import hooks_of
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.summary import Summary
from taskmaster.options.commands import MasterOptions, RunOptions
from taskmaster.options.keywords import from_keywords
from taskmaster.redaction import clean_message
from taskmaster.runner import shared_key
from taskmaster.runner.excepthook import ScriptEnd, for_scripts
from taskmaster.runner.loading import load_script, load_target
from taskmaster.runner.local_slave import LocalSlaveSpec
from taskmaster.runner.prefork import Prefork
from taskmaster.runner.session import RunSession
from taskmaster.runtime import green_threads, replaced_clock, replaced_functions, standard_streams, working_directory
from taskmaster.runtime.exit_guard import ends_without_threads
from taskmaster.runtime.invocation import is_interactive
from taskmaster.user_code import target as targets
from taskmaster.user_code.arity import check_callbacks, name_in_script, takes_lists

if TYPE_CHECKING:  # each command loads what it needs, and no more
    from taskmaster.runner.engine_slaves import EngineSpec
    from taskmaster.runner.in_process import InProcessSpec
    from taskmaster.slave.worker.callbacks import Callbacks

__all__ = [
    "Summary",
    "Taskmaster",
    "run",
    "serve",
]

Classes = type[BaseException] | tuple[type[BaseException], ...]


def serve(target: str, arguments: Mapping[str, str], options: MasterOptions) -> Summary:
    """Serve the jobs of a target until all are settled: ``tm-master``.

    Args:
        target: What the user named, see ``taskmaster.user_code.target``.
        arguments: Keyword arguments for ``get_jobs``, part of the run's identity.
        options: The command's options.

    Raises:
        TaskmasterError: See the exit codes of its subclasses.
    """
    options.check()
    key = shared_key.of_master(options)  # first: the user's code never sees it
    loaded = load_target(target, arguments, options.get_jobs_callback, local=False)
    return RunSession(loaded, options, None, lambda: key).run()


def run(target: str, arguments: Mapping[str, str], options: RunOptions, prefork: Prefork | None = None) -> Summary:
    """Serve the jobs of a target and run them here, in worker processes of this machine:
    ``tm-run``.

    Args:
        target: As for ``serve``.
        arguments: As for ``serve``.
        options: As for ``serve``.
        prefork: The slave, where it was forked already.

    Raises:
        TaskmasterError: See the exit codes of its subclasses.
    """
    options.check()
    key = shared_key.of_master(options)
    loaded = load_target(target, arguments, options.get_jobs_callback, options.handle_job_callback, local=True)

    def callbacks() -> Callbacks:
        from taskmaster.slave.worker.callbacks import load

        return load(str(loaded.slave_target))

    if options.job is not None:
        from taskmaster.runner.one_job import run_one_job

        return _with_files_written(
            lambda: run_one_job(loaded, callbacks, str(options.job), options.state, options.grace)
        )
    if options.in_process:
        return _with_files_written(RunSession(loaded, options, _in_process(options, callbacks), lambda: key).run)
    slave = LocalSlaveSpec(options, prefork) if options.engine is None else _on_engine(options, loaded.slave_target)
    return RunSession(loaded, options, slave, lambda: key).run()


def _in_process(options: RunOptions, callbacks: Callable[[], Callbacks]) -> InProcessSpec:
    from taskmaster.runner.in_process import InProcessSpec

    return InProcessSpec(options, callbacks)


def _on_engine(options: RunOptions, target: str | None) -> EngineSpec:
    from taskmaster.runner.engine_slaves import EngineSpec

    return EngineSpec(options, target)


def _with_files_written(call: Callable[[], Summary]) -> Summary:
    """Run jobs in this process, and close the files that they have left open.

    Python's own end of a command would not: what was loaded at its start is kept from garbage
    collection, and holds them.
    """
    from taskmaster.slave.worker.open_files import close_all

    problems: list[str] = []
    try:
        summary = call()
    finally:
        if not ends_without_threads():  # as at Python's end: what still writes ends first
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
            atexit._run_exitfuncs()  # noqa: SLF001
        problems += close_all()
        for problem in problems:
            sys.stderr.write(clean_message(problem) + "\n")
    return replace(summary, exit_code=summary.exit_code or 1) if problems else summary


class Taskmaster:
    """A run inside a script: worker processes on this machine, progress on the terminal, resumable.

    Args:
        callback: Called with each job in a worker process; must be idempotent, for a job can run
            more than once. A local function, a lambda or a function of the script itself is fine:
            then ``start`` has to come before the script starts threads.
        jobs: A function that returns or yields the jobs (called with ``last`` when a run is
            resumed, if it takes that), or anything iterable; a queryset of Django's is read by
            pages and resumes at its key.
        setup: Called once in each worker before its first job.
        teardown: Called once in each worker after its last.
        job_key: Gives a job's key.
        count_jobs: Gives the number of all jobs, for percent and time left.
        retry_on: Exception classes that are worth another attempt; None: all.
        give_up_on: Exception classes that are not.
        throttle: A function, a guard, or a list of them, that say why to wait; see
            ``docs/throttle.rst``.
        **options: ``tm-run``'s long options with ``_`` for ``-``, such as ``processes=8``,
            ``state="backfill.tmstate"`` or ``reset=True``.

    Raises:
        CallError: An unknown option; names the nearest that there is. It is a TypeError, too.
        UsageError: What was given cannot be worked with.

    Example::

        Taskmaster(handle_job, get_jobs, processes=8).start()
    """

    def __init__(  # noqa: PLR0913  # what a module may define, each name once
        self,
        callback: Callable[[Any], Any],
        jobs: Any,
        *,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[[], Any] | None = None,
        job_key: Callable[[Any], Any] | None = None,
        count_jobs: Callable[..., int] | None = None,
        retry_on: Classes | None = None,
        give_up_on: Classes = (),
        throttle: Any = None,
        **options: Any,
    ) -> None:
        with for_scripts(debug=bool(options.get("debug"))):
            if not callable(callback):
                raise CallError(f"the callback ({type(callback).__name__}) cannot be called with a job")
            self._callback = callback
            self._setup, self._teardown = setup, teardown
            self._retry_on, self._give_up_on = retry_on, give_up_on
            self._hooks = hooks_of(throttle, "throttle=")
            self._options = from_keywords(RunOptions, options)
            self._job_key = job_key
            self._identity = JobIdentity(job_key)
            self._jobs = jobs
            self._source = Source(jobs, count=count_jobs, name=_name_of(jobs))

    def start(self, on_progress: Callable[[dict[str, Any]], object] | None = None) -> Summary:
        """Run until all jobs are settled.

        Args:
            on_progress: Called in this thread about once a second, and at the end, with how the run
                stands: what ``tm-ctl status --json`` shows. It should be quick; what it raises is
                logged, and it is not called again.

        Returns:
            How it ended; ``failed`` says how many jobs failed.

        Raises:
            SystemExit: Ctrl-C, SIGTERM or SIGHUP ended it, with 130, 143 or 129; running the script
                again resumes.
            KeyboardInterrupt: The same at a prompt, where it must not end the interpreter.
            TaskmasterError: It could not start, or stopped half-way. A script that does not catch
                it ends with its message and its exit code.
        """
        standard_streams.fill()
        with for_scripts(debug=self._options.debug):
            if on_progress is not None and not callable(on_progress):
                raise CallError(f"on_progress is a {type(on_progress).__name__}, which cannot be called with a status")
            return self._start(on_progress)

    def _start(self, on_progress: Callable[[dict[str, Any]], object] | None) -> Summary:
        if targets.loading():
            raise UsageError(
                "Taskmaster.start() was called while the script was imported by a worker or a command: put it under "
                '`if __name__ == "__main__":`, so that only running the script starts a run.'
            )
        options = self._options
        options.check()
        working_directory.check()
        green_threads.check_master("The script", workers=options.processes != 0)
        replaced_clock.check("the script")
        replaced_functions.check("the script")
        found_as = name_in_script(self._callback)
        check_callbacks(self._callback, self._setup, self._teardown, self._job_key, found_as=found_as)
        integration.check_start(here=options.processes == 0 or options.dry_run is not None)
        # By its own name, a worker would give it single jobs.
        plain = takes_lists(self._callback, found_as) == takes_lists(self._callback)
        plain = plain and self._setup is self._teardown is self._retry_on is None and not self._give_up_on
        loaded = load_script(self._callback, self._jobs, self._source, self._identity, self._hooks, plain=plain)
        slave: LocalSlaveSpec | InProcessSpec | EngineSpec
        if options.in_process:
            slave = _in_process(options, self._callbacks)
        elif options.engine is not None:
            slave = _on_engine(options, loaded.slave_target)
        else:
            slave = LocalSlaveSpec(options, fork=None if loaded.slave_target else self._fork)
        try:
            return RunSession(loaded, options, slave, lambda: shared_key.of_master(options), on_progress).run()
        except Interrupted as exc:
            if str(exc):
                sys.stderr.write(clean_message(str(exc)) + "\n")
            if is_interactive():
                raise KeyboardInterrupt from None  # somebody types, and has not ended
            raise ScriptEnd(exc.exit_code) from None

    def _callbacks(self) -> Callbacks:
        from taskmaster.slave.worker.callbacks import Callbacks, classes_of

        retry_on, give_up_on = classes_of(self._retry_on, "retry_on"), classes_of(self._give_up_on, "give_up_on")
        found_as = name_in_script(self._callback)
        return Callbacks(self._callback, self._setup, self._teardown, retry_on, give_up_on or (), found_as)

    def _fork(self) -> tuple[socket.socket, int]:
        """Fork a process that holds the callback."""
        from taskmaster.slave.worker.fork_server import fork_server_with

        return fork_server_with(self._callbacks())


def _name_of(jobs: Any) -> str:
    return getattr(jobs, "__name__", None) or f"the {type(jobs).__name__}"
