"""Taskmaster as Python functions: what the commands call, and what a migration script calls.

The only module where master and slave meet. ::

    from taskmaster import Taskmaster

    def main():
        Taskmaster(handle_job, get_jobs, processes=8).start()
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

from taskmaster.errors import CallError, ConnectError, Interrupted, UsageError
from taskmaster.guards import hooks_of
from taskmaster.master.job_identity import Identity
from taskmaster.master.reading.source import Source
from taskmaster.master.run import Summary
from taskmaster.master.skew import Skew
from taskmaster.master.stores.contract import RunRecord, Store
from taskmaster.master.stores.default_path import default_path
from taskmaster.master.stores.default_path import identity as state_identity
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions, from_keywords, usable_cpus
from taskmaster.runner import control
from taskmaster.runner.dry_run import preview, resume_point
from taskmaster.runner.excepthook import for_scripts
from taskmaster.runner.prefork import Embryo
from taskmaster.runner.sample_run import scratch_store
from taskmaster.runner.session import Session
from taskmaster.runtime import standard_streams
from taskmaster.runtime.child_process import reap
from taskmaster.transport import keyfile
from taskmaster.transport.address import Address, is_loopback, is_this_machine, parse
from taskmaster.user_code import target as targets
from taskmaster.user_code.code_version import callback_in_memory, callback_of, code_in_memory, code_of, importable

__all__ = [
    "Summary",
    "Taskmaster",
    "restore",
    "run",
    "runs",
    "serve",
    "status",
    "work",
]

Classes = type[BaseException] | tuple[type[BaseException], ...]


def serve(target: str, arguments: Mapping[str, str], options: MasterOptions) -> Summary:
    """Serve the jobs of a target until all are settled: ``tm-master``.

    Args:
        target: what the user named, see ``taskmaster.user_code.target``.
        arguments: keyword arguments for ``get_jobs``, part of the run's identity.
        options: the command's options.

    Raises:
        TaskmasterError: see the exit codes of its subclasses.
    """
    options.check()
    key, generated = _masters_key(options.key, options.key_file, parse(options.host))
    source, identity, hooks, name = _load_source(target, arguments, options.get_jobs_callback)
    if options.dry_run is not None:
        return preview(source, identity, options.dry_run, _resume_point(name, arguments, target, options.state))
    with ExitStack() as stack:
        store = stack.enter_context(_opened_store(name, arguments, target, options))
        where = targets.without_function(target)
        skew = _skew(where, options) if _has_callback(where) else Skew(strict=options.strict_code)
        session = Session(source, identity, store, target, options, where, skew, hooks)
        return session.serve(parse(options.host), key, announce=True, generated=generated)


def run(target: str, arguments: Mapping[str, str], options: RunOptions, embryo: Embryo | None = None) -> Summary:
    """Serve the jobs of a target and run them here, in worker processes of this machine:
    ``tm-run``.

    Args:
        target: as for ``serve``.
        arguments: likewise.
        options: likewise.
        embryo: the slave, where it was forked already.

    Raises:
        TaskmasterError: see the exit codes of its subclasses.
    """
    options.check()
    address = parse(options.host) if options.host else Address("127.0.0.1", 0)
    key, generated = _masters_key(options.key, options.key_file, address)
    source, identity, hooks, name = _load_source(target, arguments, options.get_jobs_callback)
    handler = options.handle_job_callback
    slave_target = targets.without_function(target) + (f":{handler}" if handler else "")
    targets.find(targets.load(targets.parse(slave_target)), targets.parse(slave_target), ["handle_job", "handle_jobs"])
    if options.dry_run is not None:
        return preview(source, identity, options.dry_run, _resume_point(name, arguments, target, options.state))
    with ExitStack() as stack:
        store = stack.enter_context(_opened_store(name, arguments, target, options))
        skew = _skew(slave_target, options)
        session = Session(source, identity, store, target, options, slave_target, skew, hooks)
        return session.serve(
            address, key, announce=options.host is not None, generated=generated, slave=True, embryo=embryo
        )


def work(target: str, options: SlaveOptions) -> int:
    """Take batches from a master and run them, until the run is over: ``tm-slave`` and
    ``tm-spawn``.

    Returns:
        The exit code.
    """
    from taskmaster.slave.config import SlaveConfig
    from taskmaster.slave.supervisor import run_slave

    options.check()
    if options.handle_job_callback:
        target = f"{targets.without_function(target)}:{options.handle_job_callback}"
    address = parse(options.host)
    config = SlaveConfig(
        target=target,
        address=address,
        processes=options.processes or usable_cpus(),
        threads=options.threads,
        concurrency=options.concurrency,
        batch=options.batch,
        wait=options.wait,
        grace=options.grace,
        code=code_of(target),
    )
    return run_slave(config, _slaves_key(target, options, address))


def status(host: str, key: str | None, key_file: str | None) -> dict[str, Any]:
    """What a running master says of its run.

    Raises:
        ConnectError: there is none, or it has another key.
    """
    connection = control.connect(host, key, key_file)
    try:
        answer = connection.call("status")
    finally:
        connection.close()
    return dict(answer)


def runs(path: str) -> list[RunRecord]:
    """All runs that a state file holds, the newest first."""
    store = SqliteStore.open_existing(path)
    try:
        return list(store.runs())
    finally:
        store.close()


def restore(path: str, run: str) -> RunRecord:
    """Make a former run of a state file the current one again; returns it."""
    store = SqliteStore.open_existing(path)
    try:
        return store.restore(run)
    finally:
        store.close()


class Taskmaster:
    """A run inside a script: worker processes on this machine, progress on the terminal, resumable.

    Args:
        callback: called with each job in a worker process; must be idempotent, for a job can run
            more than once. A local function, a lambda or a function of the script itself is fine:
            then ``start`` has to come before the script starts threads.
        jobs: a function that returns or yields the jobs (called with ``last`` when a run is
            resumed, if it takes that), or anything iterable; a queryset of Django's is read by
            pages and resumes at its key.
        setup: called once in each worker before its first job.
        teardown: called once in each worker after its last.
        job_key: gives a job's key.
        count_jobs: gives the number of all jobs, for percent and time left.
        retry_on: exception classes that are worth another attempt; None: all.
        give_up_on: exception classes that are not.
        throttle: a function, a guard, or a list of them, that say why to wait; see
            ``docs/throttle.rst``.
        **options: ``tm-run``'s long options with ``_`` for ``-``, such as ``processes=8``,
            ``state="backfill.tmstate"`` or ``reset=True``.

    Raises:
        CallError: an unknown option; names the nearest that there is. It is a TypeError, too.
        UsageError: what was given cannot be worked with.

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
                raise CallError(f"the callback is a {type(callback).__name__}, which cannot be called with a job")
            self._callback = callback
            self._setup, self._teardown = setup, teardown
            self._retry_on, self._give_up_on = retry_on, give_up_on
            self._hooks = hooks_of(throttle, "throttle=")
            self._options = from_keywords(RunOptions, options)
            self._identity = Identity(job_key)
            self._source = Source(jobs, count=count_jobs, name=_name_of(jobs))

    def start(self) -> Summary:
        """Run until all jobs are settled.

        Returns:
            How it ended; ``failed`` says how many jobs failed.

        Raises:
            SystemExit: Ctrl-C or SIGTERM ended it, with 130 or 143; running the script again
                resumes.
            TaskmasterError: it could not start, or stopped half-way. A script that does not catch
                it ends with its message and its exit code.
        """
        standard_streams.fill()
        with for_scripts(debug=self._options.debug):
            return self._start()

    def _start(self) -> Summary:
        if targets.loading():
            raise UsageError(
                "Taskmaster.start() was called while the script was imported by a worker or a command: put it under "
                '`if __name__ == "__main__":`, so that only running the script starts a run.'
            )
        options = self._options
        options.check()
        if options.dry_run is not None:
            name = self._name()
            there = (
                _resume_point(name, {}, name, options.state) if self._has_name() else "This run would keep no state."
            )
            return preview(self._source, self._identity, options.dry_run, there)
        address = parse(options.host) if options.host else Address("127.0.0.1", 0)
        plain = self._setup is self._teardown is self._retry_on is None and not self._give_up_on
        slave_target = importable(self._callback) if plain else None
        template, pid = None, 0
        if slave_target is None:
            from taskmaster.slave.worker.callbacks import classes_of
            from taskmaster.slave.worker.fork_server import fork_template

            # Now: before the first thread, socket or store exists.
            rules = classes_of(self._retry_on, "retry_on"), classes_of(self._give_up_on, "give_up_on") or ()
            template, pid = fork_template(self._callback, self._setup, self._teardown, *rules)
        try:
            # After the fork, so that no worker has the key in its memory.
            key, generated = _masters_key(options.key, options.key_file, address)
            with ExitStack() as stack:
                store = stack.enter_context(self._store())
                name = getattr(self._callback, "__qualname__", type(self._callback).__name__)
                if slave_target:
                    skew = _skew(slave_target, options)
                else:
                    code, found = code_in_memory(self._callback), callback_in_memory(self._callback)
                    skew = Skew(strict=options.strict_code, code=code, callback=found, target=sys.argv[0])
                session = Session(self._source, self._identity, store, name, options, slave_target, skew, self._hooks)
                return session.serve(
                    address,
                    key,
                    announce=options.host is not None,
                    generated=generated,
                    slave=True,
                    template=template,
                )
        except Interrupted as exc:
            if str(exc):
                print(exc, file=sys.stderr)
            raise SystemExit(exc.exit_code) from None
        finally:
            if template is not None:
                template.close()
                reap(pid)

    def _has_name(self) -> bool:
        return self._options.state is not None or getattr(self._callback, "__name__", "<lambda>") != "<lambda>"

    def _name(self) -> str:
        script = Path(sys.argv[0] or "interactive").stem or "interactive"
        return f"{script}.{getattr(self._callback, '__name__', 'callback')}"

    def _store(self) -> AbstractContextManager[Store]:
        if not self._has_name() and self._options.sample is None:
            print(
                "taskmaster: this callback has no name to call the state after, so that the run cannot be resumed; "
                'state="NAME.tmstate" makes it resumable.',
                file=sys.stderr,
            )
            return closing(MemoryStore())
        name = self._name()
        return _opened_store(name, {}, name, self._options)


def _load_source(
    target: str, arguments: Mapping[str, str], callback: str | None
) -> tuple[Source, Identity, tuple[Callable[[], Any], ...], str]:
    parsed = targets.parse(target)
    if parsed.function is None and callback:
        parsed = targets.parse(f"{target}:{callback}")
    module = targets.load(parsed)
    get_jobs = targets.find(module, parsed, ["get_jobs"])
    source = Source(
        get_jobs, arguments, targets.optional(module, "count_jobs"), getattr(get_jobs, "__name__", "get_jobs")
    )
    hooks = hooks_of(getattr(module, "throttle", None), f"throttle in {targets.without_function(target)}")
    return source, Identity(targets.optional(module, "job_key")), hooks, targets.name(parsed, "get_jobs")


def _skew(target: str, options: MasterOptions | RunOptions) -> Skew:
    return Skew(strict=options.strict_code, code=code_of(target), callback=callback_of(target), target=target)


def _has_callback(where: str) -> bool:
    """Whether the module of the jobs has a callback for them, too."""
    module = targets.load(targets.parse(where))
    return any(callable(getattr(module, name, None)) for name in ("handle_job", "handle_jobs"))


def _opened_store(
    name: str, arguments: Mapping[str, str], target: str, options: MasterOptions | RunOptions
) -> AbstractContextManager[Store]:
    if options.sample is not None:
        return scratch_store(target)
    path = Path(options.state) if options.state else default_path(name, arguments)
    return closing(SqliteStore.open(path, state_identity(name, arguments), target, reset=options.reset))


def _resume_point(name: str, arguments: Mapping[str, str], target: str, state: str | None) -> str:
    path = Path(state) if state else default_path(name, arguments)
    return resume_point(path, state_identity(name, arguments), target)


def _masters_key(key: str | None, key_file: str | None, address: Address) -> tuple[str, bool]:
    """The key that was given, or else a new one; and whether it is new."""
    text = keyfile.resolve(key, key_file, os.environ)
    if text is None:
        if not is_loopback(address.host):
            raise UsageError(
                f"{address} can be reached from other machines, and there is no key: whoever reaches it could run "
                "code on the slaves. Make a key with `tm-ctl keygen tm.key` and give it with --key-file=tm.key."
            )
        return keyfile.generate(), True
    if keyfile.weak(text) and not is_loopback(address.host):
        print(
            "taskmaster: the key is short enough to be guessed; `tm-ctl keygen` makes one that is not.", file=sys.stderr
        )
    return text, False


def _slaves_key(target: str, options: SlaveOptions, address: Address) -> Callable[[], str | None]:
    """Gives the key, read again for each connection: a master that was restarted may have a new
    one.
    """
    given = keyfile.resolve(options.key, options.key_file, os.environ)
    if given is None and not is_this_machine(address.host):
        given = _ask_for_key(target, address)

    def provide() -> str | None:
        if options.key_file and not options.key:
            return keyfile.read(options.key_file)
        return given if given is not None else keyfile.find(address.port)

    return provide


def _ask_for_key(target: str, address: Address) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        import click

        return str(click.prompt(f"Key of the master at {address}", hide_input=True, err=True))
    command = shlex.join(["tm-slave", target, f"--host={address}", "--key-file=tm.key"])
    raise ConnectError(
        f"The master at {address} is on another machine, and there is no key for it. Copy the master's key file to "
        f"this machine and run: {command}"
    )


def _name_of(jobs: Any) -> str:
    return getattr(jobs, "__name__", None) or f"the {type(jobs).__name__}"
