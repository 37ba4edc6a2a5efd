"""From an open store to a summary: what a master does from its first word to its last.

Called by ``taskmaster.api`` for ``tm-master``, ``tm-run`` and ``Taskmaster.start``; here a master's
run, its console and the slave that it may bring along come together.
"""

from __future__ import annotations

import logging
import shlex
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskmaster import keys
from taskmaster.errors import BudgetSpent, Interrupted, StateUnwritable, Stopped, UsageError
from taskmaster.master.broker.broker import Limits
from taskmaster.master.job_identity import Identity
from taskmaster.master.reading.source import Source
from taskmaster.master.run import Run, Summary
from taskmaster.master.skew import Skew
from taskmaster.master.stores.contract import RunRecord, Store
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.options.commands import MasterOptions, RunOptions, failure_budget, usable_cpus
from taskmaster.redaction import without_password
from taskmaster.runner.excepthook import as_keywords, is_command
from taskmaster.runner.local_slave import LocalSlave
from taskmaster.runner.prefork import Embryo
from taskmaster.runner.sample_run import Rehearsal
from taskmaster.runtime.signals import Signals
from taskmaster.transport import keyfile
from taskmaster.transport.address import Address
from taskmaster.transport.server import Server, bind
from taskmaster.view.console import Console

__all__ = ["Session", "command_again"]

logger = logging.getLogger(__name__)

RECLAIM = 5.0  # seconds that slaves of an earlier session have to come back, before others get what they ran for long
KINDS = 3  # kinds of failure that the end of a run shows
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens there is reached here from this machine


class Session:
    """One session of a run.

    Args:
        source: where jobs come from.
        identity: tells them apart.
        store: where the state is, open.
        target: how messages call the run.
        options: the command's options.
        slave_target: what slaves are started with; None if they cannot be started elsewhere.
        skew: compares slaves with the callback that belongs to the jobs.
        hooks: what the user has named as ``throttle``.
    """

    def __init__(
        self,
        source: Source,
        identity: Identity,
        store: Store,
        target: str,
        options: MasterOptions | RunOptions,
        slave_target: str | None,
        skew: Skew,
        hooks: Sequence[Callable[[], Any]] = (),
    ) -> None:
        self._skew = skew
        self._hooks = hooks
        self._slave_target = slave_target
        self._rehearsal = Rehearsal(source, identity, options.sample) if options.sample is not None else None
        self._source = source if self._rehearsal is None else self._rehearsal.source
        self._identity = identity
        self._store = store
        self._target = target
        self._options = options

    def serve(
        self,
        address: Address,
        key: str,
        *,
        announce: bool,
        generated: bool,
        slave: bool = False,
        template: socket.socket | None = None,
        embryo: Embryo | None = None,
    ) -> Summary:
        """Serve on ``address``.

        Args:
            address: where.
            key: the shared key.
            announce: say where slaves from elsewhere find the master.
            generated: nobody has given the key; slaves of this user on this machine find it.
            slave: bring a slave along.
            template: control socket of a process that holds the callback, where that cannot be
                imported.
            embryo: the slave, where it was forked already.

        Raises:
            TaskmasterError: it could not begin, or did not come to its end.
        """
        options = self._options
        limits = self._limits(RECLAIM if announce else 0.0)
        with ExitStack() as stack:
            server = bind(address, keyfile.as_bytes(key))
            stack.callback(server.stop)
            port = server.where.port
            self._leave_key(port, key, needed=announce and generated)
            stack.callback(keyfile.remove, port, key)
            # Only now: a run is not given up for a command that cannot even begin.
            given_up = self._store.reset() if options.reset else None
            record = self._store.load()
            run = Run(
                self._source,
                self._store,
                record,
                self._identity,
                limits,
                target=self._target,
                grace=options.grace,
                total=None if options.failed or self._rehearsal is not None else options.total,
                throttle=Throttle(options.rate, [*self._hooks, *options.guards()]),
            )
            run.serve_on(server, self._skew)
            self._store.tell(str(self._reached(server.where)))
            command = self._slave_command(server.where)
            respell = str if is_command() else as_keywords
            console = stack.enter_context(Console(options.progress, "" if slave else command, respell))
            self._say_where(console, record, given_up)
            signals = stack.enter_context(Signals())
            companion = None
            if slave:
                companion = LocalSlave(self._slave_config(server.where, key), console.write, template, embryo)
                stack.callback(companion.stop, 0.0)
            if not self._begin(run, console, record):
                return run.summary()
            if announce:
                console.say(f"Taskmaster server running on {str(server.where)!r}")
                console.say(f"Start slaves with: {command}")
            summary = self._work(run, server, console, signals, companion)
            ended = time.monotonic()
            if summary.exit_code == Stopped.exit_code:
                return summary
            if companion is not None:
                companion.stop(5.0)
            if options.failed and record.finished is None:
                return self._say_unfinished(console, summary)
            if self._rehearsal is None:
                console.say_end(summary.settled, summary.failed, summary.elapsed)
                self._say_failures(console, summary)
                return summary
            if summary.failed:
                console.say_kinds(self._store.kinds(KINDS))
            for line in self._rehearsal.report(summary, ended):
                console.say(line)
            return replace(summary, state="")

    def _work(
        self, run: Run, server: Server, console: Console, signals: Signals, companion: LocalSlave | None
    ) -> Summary:
        """The run's work; where that ends early, the command that goes on is told."""
        rehearsal = self._rehearsal
        again = f"esume it with: {command_again()}"
        try:
            view = console if rehearsal is None else rehearsal.watch(console)
            return run.work(server, view, signals, companion, self._options.run_time)
        except Interrupted as exc:
            message = f"The run stopped where it can go on; r{again}"
            if rehearsal is not None:
                message = "The rehearsal was given up; the next one begins anew."
            raise Interrupted(message, exc.exit_code - 128) from None
        except BudgetSpent as exc:
            if rehearsal is None:
                self._say_failures(console, run.summary())
            message = (
                f"{exc} R{again}" if rehearsal is None else str(exc).replace("stopped where it can go on", "fails")
            )
            raise BudgetSpent(message, user_traceback=exc.user_traceback) from None
        except StateUnwritable as exc:
            raise StateUnwritable(f"{exc} Mend that, and r{again}") from None
        except Stopped as exc:
            summary = replace(run.summary(), exit_code=Stopped.exit_code)
            failed = f", {summary.failed} of them failed" if summary.failed else ""
            console.say(f"The run stopped, because {exc}; {summary.settled} jobs are settled so far{failed}.")
            console.say(f"R{again}")
            return summary

    def _begin(self, run: Run, console: Console, record: RunRecord) -> bool:
        """Begin to read, or to run failed jobs again; False if there is nothing to do."""
        if self._options.failed and not record.failures:
            console.say("No job of this run counts as failed: there is nothing to run again.")
            return False
        if self._options.failed:
            run.failed_only()
            console.say(f"Failed jobs are run again ({record.failures}), and nothing else: the source is not read.")
        if not run.begin():
            self._say_finished(console, record, "there is nothing new{}; --reset runs all again")
            self._say_failures(console, run.summary())
            return False
        if record.finished is not None and not self._options.failed:
            self._say_finished(console, record, "it goes on with what is new{}")
        # Only now: whether what get_jobs returns can go on after a key is known when it has been
        # called.
        if record.mark is not None and not self._options.failed and self._source.reads_again:
            console.say(f"{self._source.name} takes no `last`: it is read again up to that key, which is skipped.")
        return True

    def _say_unfinished(self, console: Console, summary: Summary) -> Summary:
        """The failed jobs of a run were run again that has not come to its end: all is not done."""
        console.say(
            f"The failed jobs were run again, and {summary.failed} of them failed once more. The run itself has not "
            f"come to its end; {summary.settled} jobs are settled so far."
        )
        self._say_failures(console, summary)
        console.say(f"Resume it with: {command_again(without='--failed')}")
        return replace(summary, exit_code=Stopped.exit_code)

    def _limits(self, reclaim: float) -> Limits:
        options = self._options
        most, share = failure_budget(options.max_failures)
        return Limits(
            options.size,
            options.span,
            lease=options.lease,
            grace=options.lease_grace,
            jobs=options.limit,
            retries=options.retries,
            backoff=options.backoff,
            crashes=options.crashes,
            job_timeout=options.job_timeout,
            state_timeout=options.state_timeout,
            max_failures=most,
            max_share=share,
            reclaim=reclaim,
        )

    def _say_failures(self, console: Console, summary: Summary) -> None:
        """The most frequent kinds of failure, and what can be done about them."""
        if summary.failed:
            console.say_kinds(self._store.kinds(KINDS))
            console.say(f"List them with: {shlex.join(['tm-ctl', 'failures', self._store.place])}")
            console.say(f"Run them again, when the cause is mended, with: {command_again('--failed')}")

    def _slave_config(self, address: Address, key: str) -> dict[str, Any]:
        options = self._options
        names = ("processes", "threads", "concurrency", "batch", "grace", "log_level", "debug")
        shared = {name: getattr(options, name) for name in names if hasattr(options, name)}
        host = self._reached(address).host
        shared["processes"] = shared["processes"] or usable_cpus()
        shared["target"] = self._slave_target or self._target
        shared["code"] = self._skew.code
        return {**shared, "host": host, "port": address.port, "key": key, "wait": 60.0, "path": sys.path, "quiet": True}

    @staticmethod
    def _reached(address: Address) -> Address:
        """Where the master is reached from this machine."""
        return Address(EVERYWHERE.get(address.host, address.host), address.port)

    @staticmethod
    def _leave_key(port: int, key: str, *, needed: bool) -> None:
        """Leave the key for slaves on this machine; a home that cannot be written only matters if
        it is the one way.
        """
        try:
            keyfile.leave(port, key)
        except UsageError as exc:
            if needed:
                raise
            logger.info("%s", exc)

    def _slave_command(self, address: Address) -> str:
        """The command that a person copies to another terminal or machine."""
        options = self._options
        host = socket.gethostname() if address.host in EVERYWHERE else address.host
        target = self._slave_target or "MODULE:FUNCTION"
        parts = ["tm-slave", target, f"--host={Address(host, address.port)}"]
        if options.key_file:
            parts.append(f"--key-file={options.key_file}")
        elif options.key:
            parts.append(f"--key={options.key}")
        return shlex.join(parts)

    def _say_where(self, console: Console, record: RunRecord, given_up: RunRecord | None) -> None:
        if self._rehearsal is not None:
            console.say(self._rehearsal.announce())
            return
        place = self._store.place
        if given_up is not None:
            reached = f"key {keys.show(given_up.mark)}" if given_up.mark is not None else "no key"
            console.say(
                f"The run {given_up.id} is given up; it had reached {reached} ({given_up.settled} jobs settled). "
                f"Take it back with: {shlex.join(['tm-ctl', 'restore', given_up.id, '--state', place])}"
            )
        if record.finished is not None:
            pass  # said when it is known whether there is anything new
        elif record.mark is None and not record.settled:
            console.say(f"New run; its state is {place}")
        else:
            reached = f"key {keys.show(record.mark)}" if record.mark is not None else "the beginning"
            # They are counted for whoever wonders how the key can be further than what is settled.
            parked = f", {len(record.parked)} parked ones go first" if record.parked else ""
            console.say(f"Resuming at {reached} ({record.settled} jobs settled so far{parked}); the state is {place}")

    def _say_finished(self, console: Console, record: RunRecord, now: str) -> None:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.finished))
        after = f" after key {keys.show(record.mark)}" if record.mark is not None else ""
        failed = f", {record.failures} of them failed" if record.failures else ""
        console.say(
            f"This run finished at {at} with {record.settled} jobs{failed}; {now.format(after)}. Its state is "
            f"{self._store.place}"
        )


def command_again(*more: str, without: str = "") -> str:
    """The command line that this process was started with, without what must not be said twice.

    Args:
        more: options to add; a script that calls ``Taskmaster`` has them as keywords.
        without: an option to leave out.
    """
    rest = [without_password(word) for word in sys.argv[1:] if word not in ("--reset", without, *more)]
    if is_command():
        return shlex.join([Path(sys.argv[0]).name, *rest, *more])
    script = shlex.join(["python", sys.argv[0], *rest])
    keywords = "".join(f", {word.lstrip('-').replace('-', '_')}=True" for word in more)
    return f"{script}, with Taskmaster(...{keywords})" if more else script
