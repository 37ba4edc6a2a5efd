"""From one value that says what is run to a summary: a master's work from its first word to its
last.

Here a master's run, its console and the slave of this machine come together.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskmaster.errors import BudgetSpent, Interrupted, StateUnwritable, Stopped
from taskmaster.master.event_feed import DEFAULT_STALL_SECONDS
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.run import Run
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.master.summary import Summary, View
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.options.commands import MasterOptions
from taskmaster.options.script_spelling import as_keywords
from taskmaster.records import record
from taskmaster.runner import optional_parts
from taskmaster.runner.announcements import Announcements, command_again, without_message
from taskmaster.runner.bad_ends import BadEnds
from taskmaster.runner.blank_state import taken_back_if_blank
from taskmaster.runner.identities import unfinished_elsewhere
from taskmaster.runner.last_events import LastEvents
from taskmaster.runner.live_settings import SettingsOfRun, limits_of
from taskmaster.runner.loading import LoadedRun
from taskmaster.runner.local_slave import LocalSlave, LocalSlaveEnded, LocalSlaveSpec, SlaveKind
from taskmaster.runner.notifications import Notifications
from taskmaster.runner.repeated import note_run, refuse_repeated
from taskmaster.runner.shared_key import SharedKey, address_of
from taskmaster.runner.slave_command import slave_command
from taskmaster.runner.throttling import throttle_of
from taskmaster.runtime.exit_guard import exit_guarded
from taskmaster.runtime.invocation import is_command
from taskmaster.runtime.signals import Signals
from taskmaster.transport import keyfile
from taskmaster.transport.server import Server, bind
from taskmaster.units import show_settled
from taskmaster.view.console import Console

if TYPE_CHECKING:  # a run that has none of them does not load them
    from taskmaster.runner.engine_slaves import EngineSlaves, EngineSpec
    from taskmaster.runner.in_process import InProcessSlave, InProcessSpec
    from taskmaster.runner.in_process_server import InProcessServer
    from taskmaster.runner.page import ServedPage
    from taskmaster.runner.page_plan import PagePlan
    from taskmaster.runtime.log_file import LogFile

__all__ = ["RunSession"]


@record()
class _Parts:
    """What a session that has begun works with."""

    run: Run
    record: RunRecord
    server: Server | InProcessServer
    console: Console
    says: Announcements
    signals: Signals
    bad_ends: BadEnds
    page: ServedPage | None
    slave: LocalSlave | InProcessSlave | EngineSlaves | None


class RunSession:
    """One session of a run.

    Args:
        loaded: What is run.
        options: The command's options, checked.
        slave: The slave of this machine that belongs to the run, or those on an engine; None if
            there is none.
        key: Gives the shared key; called after the slave's workers have been provided for, so that
            none of them has the key in its memory.
        on_progress: Function that gets the status about once a second; None: none.
    """

    def __init__(
        self,
        loaded: LoadedRun,
        options: MasterOptions,
        slave: LocalSlaveSpec | InProcessSpec | EngineSpec | None,
        key: Callable[[], SharedKey],
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self._on_progress, self._loaded, self._options = on_progress, loaded, options
        self._slave, self._key, self._key_file = slave, key, options.key_file
        self._sample = optional_parts.sample_run(options, loaded)
        self._source = loaded.source if self._sample is None else self._sample.source
        self._page_plan = optional_parts.page_plan(options)
        self._in_process = slave is not None and slave.kind is SlaveKind.IN_PROCESS
        self._log: LogFile | None = None
        self._run: Run | None = None  # until there is a state, and somebody may be served
        self._exit_code: int | None = None  # until it is known
        self._announce = bool(options.host)  # else nobody from elsewhere is awaited

    def run(self) -> Summary:
        """Run until all jobs are settled, or only look at the first ones.

        Raises:
            TaskmasterError: It could not begin, or did not come to its end.
        """
        if self._options.dry_run is not None:
            path = self._state_path()
            return optional_parts.dry_run(self._options.dry_run, self._loaded, path, adopt=self._options.adopt)
        optional_parts.check_files(self._options)
        with ExitStack() as stack:
            self._log = optional_parts.log_of(self._options, stack)
            if self._slave is not None:
                self._slave.provide(stack)
            key = None if self._in_process else self._key()
            store = stack.enter_context(self._opened_store())
            with taken_back_if_blank(store, lambda: self._run is not None and self._run.has_handed_out()):
                return self._serve(store, key)

    # -- the state ---------------------------------------------------------------------------------

    def _state_path(self) -> Path | None:
        """Return the path of the state; None if the run keeps none."""
        return self._loaded.state_path(self._options.state, existing=self._options.failed)

    def _opened_store(self) -> AbstractContextManager[Store]:
        options, loaded = self._options, self._loaded
        if options.sample is not None:
            return optional_parts.scratch_store(loaded.name)
        if (state_path := self._state_path()) is None:
            return closing(MemoryStore())
        refuse_repeated(state_path, loaded.given, chosen=options.state is not None or options.reset or options.adopt)
        identity = loaded.known.identity
        return closing(SqliteStore.open(state_path, identity, loaded.name, reset=options.reset, adopt=options.adopt))

    # -- the work ----------------------------------------------------------------------------------

    def _serve(self, store: Store, key: SharedKey | None) -> Summary:
        with ExitStack() as stack:
            summary = self._ended(self._begin(stack, store, key), store)
            self._exit_code = summary.exit_code
            return summary

    def _ended(self, parts: _Parts, store: Store) -> Summary:
        """Run to the end, or find that there is nothing to do."""
        if not self._read(parts):
            summary = parts.run.summary()
            # What the run had settled before is not what this call has done.
            return replace(summary, exit_code=parts.bad_ends.remind(summary.exit_code), settled=0)
        if self._announce:
            parts.says.serving(parts.server, self._slave_command(parts.server))
        came_to = self._worked(parts)
        if isinstance(came_to, BaseException):
            self._end_early(parts, came_to)
            raise came_to
        note_run(Path(store.location), self._loaded.given, finished=came_to.exit_code != Stopped.exit_code)
        return self._end(parts, came_to)

    def _begin(self, stack: ExitStack, store: Store, key: SharedKey | None) -> _Parts:
        """Listen, open the run, and start what belongs to it."""
        options, loaded = self._options, self._loaded
        server, throttle = self._listen(stack, key), throttle_of(options, loaded)
        # Only now: a run is not given up for a command that cannot even begin.
        given_up = store.reset() if options.reset else None
        record = store.load()
        self._run = run = self._made_run(store, record, throttle)
        run.serve_on(server)
        if key is not None:
            store.tell(str(server.where.from_here()))
        respell = str if is_command() else as_keywords
        command = "" if self._slave is not None else self._slave_command(server)
        as_json = options.log_json and self._log is None
        progress = self._progress(as_json=as_json)
        console = stack.enter_context(Console(progress, command, respell, run.describe, self._log, as_json=as_json))
        says = Announcements(console, store)
        self._say_start(console, says, store, record, given_up)
        record = record.without_jobs()
        for line in run.steers.steering.at_start(shlex.quote(store.location)):
            console.say(line)
        signals, told = stack.enter_context(self._signals()), self._notifications(record, store)
        bad_ends = BadEnds(run, store, console)
        stack.callback(told.close, lambda: signals.repeated)
        events = LastEvents(console.tell, told.tell)
        run.events.listeners.append(events.tell)
        stack.callback(lambda: events.release(self._exit_code, bad_ends.why, bad_ends.remark))
        stack.push(lambda _kind, exc, _tb: run.gave_up(exc))
        stack.enter_context(exit_guarded())
        note_run(Path(store.location), loaded.given, finished=False)
        page = None if self._page_plan is None else self._served_page(self._page_plan, run, store, command)
        if page is not None:
            console.say(stack.enter_context(page).sentence)
        if page is not None and as_json:
            console.say(f"`tm-ctl web-url {shlex.quote(store.location)}` prints that address with its token.")
        slave = self._started_slave(run, server, signals, console, key)
        if slave is not None:
            stack.callback(slave.stop, lambda: signals.repeated)
        optional_parts.report_at_end(options, run, store, lambda: self._exit_code, stack)
        return _Parts(run, record, server, console, says, signals, bad_ends, page, slave)

    def _served_page(self, plan: PagePlan, run: Run, store: Store, command: str) -> ServedPage:
        return optional_parts.page_of(plan, run, store, command, sampled=self._sample is not None)

    def _made_run(self, store: Store, record: RunRecord, throttle: Throttle) -> Run:
        """Make the run of what was loaded and what the options say."""
        options, loaded = self._options, self._loaded
        return Run(
            self._source,
            store,
            record,
            loaded.identity,
            limits_of(options, announced=self._announce),
            target=loaded.name,
            grace=options.grace,
            total=None if options.failed or self._sample is not None else options.total,
            throttle=throttle,
            skew=loaded.skew(strict=options.strict_code),
            by_turns=self._in_process,
            settings=SettingsOfRun(options, announced=self._announce, named=loaded.pace),
            resume=command_again(),
            stall=DEFAULT_STALL_SECONDS if options.stall is None else options.stall,
        )

    def _signals(self) -> Signals:
        own = self._slave
        return Signals(own.notify if own is not None and own.kind is SlaveKind.IN_PROCESS else None)

    def _progress(self, *, as_json: bool) -> str:
        """Return how the progress is shown."""
        if self._options.progress != "auto" or not (as_json or self._in_process):
            return self._options.progress
        return "none" if as_json else "lines"  # what callbacks print in this process is not led past a bar

    def _notifications(self, record: RunRecord, store: Store) -> Notifications:
        """Make what notifies of the run's events; nobody is told of a rehearsal."""
        notifiers = [] if self._sample is not None else optional_parts.notifiers_of(self._options)
        about = {"state_file": store.location, "resume": command_again()}
        return Notifications(notifiers, self._options.notified, about, failed=record.failures)

    def _listen(self, stack: ExitStack, key: SharedKey | None) -> Server | InProcessServer:
        """Listen where slaves reach this master, and leave the key for those of this machine."""
        if key is None:
            return optional_parts.in_process_server()
        server, self._key_file = bind(address_of(self._options), keyfile.as_bytes(key.text)), key.file
        stack.callback(server.stop)
        port = server.where.port
        key.leave(port, needed=self._announce and key.generated)
        stack.callback(keyfile.remove, port, key.text)
        return server

    def _started_slave(
        self, run: Run, server: Server | InProcessServer, signals: Signals, console: Console, key: SharedKey | None
    ) -> LocalSlave | InProcessSlave | EngineSlaves | None:
        slave = self._slave
        if slave is None:
            return None
        if slave.kind is SlaveKind.IN_PROCESS:
            return None if isinstance(server, Server) else slave.start(self._loaded, run, server, signals)
        if key is None:
            return None
        where = server.where.from_here() if slave.kind is SlaveKind.LOCAL else server.where
        return slave.start(self._loaded, where, key.text, console.write)

    def _say_start(
        self, console: Console, says: Announcements, store: Store, record: RunRecord, given_up: RunRecord | None
    ) -> None:
        if self._sample is not None:
            console.say(self._sample.announce())
            return
        if isinstance(store, SqliteStore) and store.remark:
            console.say(store.remark)
        if isinstance(store, MemoryStore):
            console.say(self._loaded.stateless)
        elif not self._options.failed:
            says.start(record, given_up)
            if self._options.state is None and not record.settled and given_up is None:
                other = unfinished_elsewhere(self._loaded.known, Path(store.location))
                if other:
                    console.say(other)
        elif record.failures:
            says.start_of_failed(record)

    def _read(self, parts: _Parts) -> bool:
        """Begin to read, or to run failed jobs again; False if there is nothing to do."""
        run, record, failed = parts.run, parts.record, self._options.failed
        if failed and not record.failures:
            parts.console.say("No job of this run counts as failed: there is nothing to run again.")
            return False
        if failed:
            run.failed_only()
        if not run.begin():
            parts.says.finished_before(record, parts.says.nothing_new(record, later=self._source.later()))
            parts.says.left_out(run.summary())
            parts.says.failures(run.summary())
            return False
        if record.finished is not None and not failed:
            parts.says.finished_before(record, f"it goes on with what is new{parts.says.after(record)}")
        # Only now: whether what get_jobs returns can go on after a key is known when it has been
        # called.
        if record.mark is not None and not failed and self._source.reads_again:
            parts.console.say(
                f"{self._source.name} takes no `last`: it is read again up to that key, which is skipped."
            )
        return True

    def _worked(self, parts: _Parts) -> Summary | BaseException:
        """Work until the run ends; return the error that ends it early. It is no longer at work
        when workers end: what they raise then has nothing to do with it.
        """
        try:
            return self._work(parts)
        except BaseException as exc:
            return exc

    def _work(self, parts: _Parts) -> Summary:
        """Work until the run ends; where it ends early, tell the command that goes on."""
        run, console, sample = parts.run, parts.console, self._sample
        again = parts.says.how_to_go_on()
        try:
            view: View = console if sample is None else sample.watch(console)
            view = optional_parts.also_shown(view, run, self._on_progress, self._options.metrics_file, parts.page)
            return run.work(parts.server, view, parts.signals, parts.slave, self._options.run_time)
        except Interrupted as exc:
            message = f"The run stopped{' where it can go on' if parts.says.keeps_state else ''}; r{again}"
            if sample is not None:
                message = "The rehearsal was given up; the next one begins anew."
            raise Interrupted(message, exc.exit_code - 128, exc.why) from None
        except BudgetSpent as exc:
            shown = parts.says.failures(run.summary()) if sample is None else set()
            message = f"{exc} R{again}" if sample is None else str(exc).replace("stopped where it can go on", "fails")
            if not parts.says.keeps_state:
                message = message.replace("stopped where it can go on", "stopped")
            traceback = None if without_message(exc.user_traceback or "") in shown else exc.user_traceback
            raise BudgetSpent(message, user_traceback=traceback) from None
        except StateUnwritable as exc:
            raise StateUnwritable(f"{exc} Mend that, and r{again}") from None
        except LocalSlaveEnded as exc:
            raise LocalSlaveEnded(f"{exc} R{again}" if sample is None else str(exc), exc.exit_code) from None
        except Stopped as exc:
            summary = replace(run.summary(), exit_code=Stopped.exit_code)
            failed = f", {summary.failed} of them failed" if summary.failed else ""
            console.say(f"The run stopped, because {exc}; {show_settled(summary.settled)} so far{failed}.")
            console.say(f"R{again}")
            return summary

    def _end(self, parts: _Parts, summary: Summary) -> Summary:
        """Say how the run ended."""
        ended = time.monotonic()
        stopped = summary.exit_code == Stopped.exit_code
        own = parts.bad_ends.see_to(parts.slave, lambda: parts.signals.repeated)
        parts.bad_ends.tell_unheard()
        if why := parts.console.problem or parts.bad_ends.sentence(own):
            failed = f", {summary.failed} of them failed" if summary.failed else ""
            parts.console.say(f"{show_settled(summary.settled)}{failed}, but {why}")
            if self._sample is None and not stopped:
                parts.says.failures(summary)
            if self._sample is None:
                parts.bad_ends.keep(why)
            return summary if stopped else replace(summary, exit_code=1)
        parts.bad_ends.keep("")
        if stopped:
            return summary
        if self._options.failed and parts.record.finished is None:
            parts.says.failed_again(summary)
            return replace(summary, exit_code=Stopped.exit_code)
        if self._sample is None:
            nothing = parts.record.finished is not None and not summary.settled_here and not self._options.failed
            if nothing:  # the source took longer to say so than the start waits for it
                parts.says.nothing_came(parts.record, later=self._source.later())
                parts.says.left_out(summary)
            else:
                parts.says.end(summary)
            parts.says.failures(summary)
            exit_code = parts.bad_ends.remind(summary.exit_code)
            return replace(summary, exit_code=exit_code, settled=0 if nothing else summary.settled)
        if summary.failed:
            parts.says.kinds()
        for line in self._sample.report(summary, ended):
            parts.console.say(line)
        return replace(summary, state="")

    def _end_early(self, parts: _Parts, error: BaseException) -> None:
        """See to the slave's end where the run has not come to its own, and say how it went."""
        own = parts.bad_ends.see_to(parts.slave, lambda: parts.signals.repeated)
        # A slave that had ended before the run has told this master what its workers could not do.
        why = parts.bad_ends.sentence("" if isinstance(error, LocalSlaveEnded) else own)
        if why:
            parts.console.say(f"{show_settled(parts.run.summary().settled)}, but {why}")
        if self._sample is None:
            parts.bad_ends.keep(why)

    def _slave_command(self, server: Server | InProcessServer) -> str:
        return slave_command(self._options, self._loaded.slave_target, server.where, self._key_file)
