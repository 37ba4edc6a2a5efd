"""A run: wires source, broker, checkpointer and server together, watches over them, and brings them
to an end.

The main thread only watches: it takes lost leases back, draws the progress and hears signals.
However a run ends, the last thing that it writes is a checkpoint.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

from taskmaster.errors import StateUnwritable, TaskmasterError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.checkpointer import Checkpointer, within
from taskmaster.master.completion import Completion
from taskmaster.master.dispatch import Dispatch
from taskmaster.master.ending import Ending
from taskmaster.master.event_feed import DEFAULT_STALL_SECONDS, EventFeed
from taskmaster.master.failed_choice import FailedChoice
from taskmaster.master.farewell import Farewell
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.reader_by_turns import ReaderByTurns
from taskmaster.master.reading.source import Source
from taskmaster.master.reading.successor import expected, successor
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.remarks import OutageRemark, remarks
from taskmaster.master.reports import Reports
from taskmaster.master.run_details import RunDetails
from taskmaster.master.run_status import RunParts, RunStatus
from taskmaster.master.service import Service
from taskmaster.master.skew import Skew
from taskmaster.master.steer_service import LiveSettings, SteerService
from taskmaster.master.stores.contract import Store
from taskmaster.master.summary import OwnSlave, SlaveServer, Summary, View
from taskmaster.master.tally.failure_kinds import MOST_KINDS_COUNTED
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.runtime.garbage import Collector
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.malloc import keep_freed_memory
from taskmaster.runtime.signals import Signals
from taskmaster.view.snapshot import RunState, Snapshot

__all__ = ["Run"]

logger = clean_logger(__name__)

TICK_SECONDS = 0.2  # between two ticks of the leases, and two updates of the progress
HANGING_SECONDS = 5.0  # longest wait at the end of a run for a checkpoint that is under way
FIRST_JOB_SECONDS = 1.0  # longest wait at the start for the first job: a source that fails at once is reported first
SOURCE_CLOSING_SECONDS = 1.0  # longest wait at the end of a run for the source's ``finally`` blocks


class Run:
    """One session of a run.

    Args:
        source: the source of the jobs.
        store: where checkpoints go; opened by the caller, closed by the caller.
        record: the run as the store remembers it.
        identity: tells jobs apart.
        limits: caps of the broker.
        target: what the user named, for display.
        grace: seconds that running jobs have to end after the first signal.
        total: how many jobs there are, if the user said so.
        throttle: holds the handing out back; None: nothing does.
        skew: compares the slaves of the run.
        by_turns: whether the source is read by ``read_here``, in no thread of its own.
        settings: The settings that can be changed in a running run; None: none.
        resume: The command that resumes the run.
        stall: Seconds without a settled job after which the run counts as stalled.

    Attributes:
        steers: What an operator has changed, and how.
        events: What has happened in the run.
    """

    def __init__(  # noqa: PLR0913  # what a run is made of, each part once
        self,
        source: Source,
        store: Store,
        record: RunRecord,
        identity: JobIdentity,
        limits: Limits,
        *,
        target: str,
        grace: float = 30.0,
        total: int | None = None,
        throttle: Throttle | None = None,
        skew: Skew | None = None,
        by_turns: bool = False,
        settings: LiveSettings | None = None,
        resume: str = "",
        stall: float = DEFAULT_STALL_SECONDS,
    ) -> None:
        keep_freed_memory()
        self._source, self._store, self._identity = source, store, identity
        self._grace, self._count_wanted = grace, total is None
        self._throttle = throttle = throttle or Throttle()
        self._run_time: float | None = None
        self._is_timed = False  # by an operator, not by the command line
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._collector = Collector()
        incarnation, dedup = f"{record.id}.{secrets.token_hex(8)}", Dedup(record)
        self._broker = broker = Broker(incarnation, limits, record)
        self._outage, completion = OutageRemark(lambda: broker.outage.reason), Completion(source, record)
        self._record = record = record.without_jobs()
        guarded = (self._broker, self._lock)
        steers = SteerService(*guarded, throttle, record, settings=settings, apply=self._change, line=resume)
        self.steers, known = steers, (*guarded, identity, dedup)
        self._checkpointer = Checkpointer(store, *known, record, completion=completion, steers=steers)
        self._checks = checks = JobChecks(identity, record, steers.note_left_out)
        hurry, kind = self._checkpointer.hurry, ReaderByTurns if by_turns else Reader
        self._reader = reader = kind(
            source, *known, record.mark, planned=hurry, checks=checks, expected=expected(record)
        )
        parts = RunParts(*guarded, reader, source, throttle, completion, record, checks, steers)
        self._status = RunStatus(parts, target=target, total=total, facts=self._facts)
        kinds = store.kinds(MOST_KINDS_COUNTED) if record.failures else ()
        self._reports = Reports(*guarded, identity, record.next_failed, throttle, kinds)
        self._known_to_steers = self._reports.figures, FailedChoice(*guarded, self._reports.kinds, store.failed)
        self._service = self._served(incarnation, skew)
        self._details = self._shown(parts, incarnation, resume)
        self.events = EventFeed(record, self._lock, self.steers, self._reports, stall)
        self.steers.show("events", self.events.page)

    def _shown(self, parts: RunParts, incarnation: str, resume: str) -> RunDetails:
        """Let clients look at how the run stands."""
        details = RunDetails(
            parts,
            checkpointer=self._checkpointer,
            reports=self._reports,
            refusals=lambda: self._service.refusals,
            incarnation=incarnation,
            resume=resume,
        )
        self.steers.show("status", lambda _: details.status(self._status.snapshot()))
        self.steers.show("history", details.look_history)
        self.steers.show("kinds", details.look_kinds)
        return details

    def _served(self, incarnation: str, skew: Skew | None) -> Service:
        """Make what slaves and ``tm-ctl`` may call."""
        took, guarded = self._after_exchange, (self._broker, self._lock)
        busy, slaves = self._broker.leases, self._broker.slaves
        self._throttle.watch(lambda: (len(busy), slaves.fed_workers), partial(self._source.tell, "lend_target"))
        return Service(
            *guarded,
            Dispatch(*guarded, self._reports, took=took, throttle=self._throttle, checks=self._checks),
            self._reports,
            run=self._record.id,
            incarnation=incarnation,
            took=took,
            status=lambda: self._status.snapshot().to_wire(),
            failures=self._store.failed,
            skew=skew,
            steers=self.steers,
        )

    @property
    def id(self) -> str:
        """The run's id."""
        return self._record.id

    @property
    def service(self) -> Service:
        """What slaves call; it knows whether one has come, and what they could not do."""
        return self._service

    def status(self, end: RunState | None = None) -> dict[str, Any]:
        """Return the status of the run now, or at the end that is named; any thread may ask."""
        return self._details.status(self._status.snapshot(end))

    def has_handed_out(self) -> bool:
        """Return whether a slave was given a job in this session."""
        return self._broker.leases.lent > 0

    def describe(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the status of the run for programs, as ``look("status")`` answers."""
        return self._details.status(snapshot)

    def serve_on(self, server: SlaveServer) -> None:
        """Name the server that slaves reach; nobody is answered before ``work``."""
        server.serve(self._service)
        self._status.serves_at(str(server.where))

    def failed_only(self) -> None:
        """Run failed jobs again in this session, and nothing else; said before ``begin``."""
        self._broker.replay_only()

    def begin(self) -> bool:
        """Start to read.

        Returns:
            False if the run was finished before and there is nothing new.

        Raises:
            TaskmasterError: the source failed before its first job.
        """
        if self._broker.replay.on:
            self._checkpointer.refill()
            return True
        self._reader.begin(FIRST_JOB_SECONDS)
        error = self._reader.error
        if error is not None and not self._broker.intake.read and not self._broker.intake.write_ahead.made:
            raise error
        if self._count_wanted:
            self._reader.beside(self._status.count_jobs)
        if self._record.finished is None:
            return True
        with self._lock:
            self._broker.intake.settle_known()  # a source that includes `last` yields the last job again: nothing new
            if not self._broker.over:
                return True
        self._reader.wait_closed(FIRST_JOB_SECONDS)  # the caller asks the source, and alone
        return False

    def read_here(self) -> bool:
        """Read some of the source by turns; False if nothing was read."""
        return not self._broker.replay.on and self._reader.turn()

    def work(
        self,
        server: SlaveServer,
        view: View,
        signals: Signals,
        own_slave: OwnSlave | None = None,
        run_time: float | None = None,
    ) -> Summary:
        """Serve until the run is over.

        Args:
            server: what slaves reach.
            view: shows the progress.
            signals: what ends the run early.
            own_slave: the slave that was started together with the run.
            run_time: seconds of this session after which the run stops.

        Raises:
            Interrupted: a signal ended it.
            Stopped: ``--limit`` or ``--run-time`` did.
            TaskmasterError: the source failed, or its own slave did.
        """
        self._run_time = self._run_time if self._is_timed else run_time
        self.steers.connect(self._checkpointer.press, signals, self._wake.set, own_slave, *self._known_to_steers)
        self._throttle.start()
        server.start()
        self._checkpointer.start()
        try:
            ending = self._watch(view, signals, own_slave)
            self._write_end(ending, view, signals)
            farewell = Farewell(self._service, self._broker, self._lock, own_slave, signals)
            farewell.say(server, view, self._grace, over=ending is None)
            self.events.wait_for_followers()
        except BaseException as exc:
            # Whatever ended it: what slaves have reported is written down, if that can be done now.
            self._reader.stop()
            self.steers.note_end(exc)
            if self._checkpointer.stop(HANGING_SECONDS):
                with suppress(StateUnwritable):
                    self._checkpointer.last_checkpoint(within(HANGING_SECONDS))
            self.events.end(self._status.snapshot(), exc)
            raise
        finally:
            self._reader.stop()
            self._checkpointer.stop(HANGING_SECONDS)
            server.stop()
            self._throttle.stop()
            self._collector.stop()
            self._reader.wait_closed(SOURCE_CLOSING_SECONDS)
            view.close(self._status.snapshot(RunState.FINISHED if self._broker.over else RunState.STOPPED))
        summary = self.summary()
        for line in (*self._throttle.cost(), *remarks(self._source, summary, self._checks, over=ending is None)):
            view.say(line)
        if ending is not None:
            raise ending
        return summary

    def gave_up(self, error: BaseException | None) -> None:
        """Tell that the session ends with an error, if there is one that ``work`` has not told."""
        if error is not None:
            self.events.end(self._status.snapshot(), error)

    def summary(self) -> Summary:
        """Return the summary of the run as it would be if the run ended now."""
        return self._status.summary(self._store.location)

    # -- inside ------------------------------------------------------------------------------------

    def _facts(self) -> dict[str, Any]:
        """Return what other parts know of why the run is no faster."""
        return {
            "unwritable_seconds": self._checkpointer.failing_seconds,
            "refused": self._service.refused,
            "engine": self.steers.engine,
            **self._reports.figures.job_facts(),
        }

    def _change(self, run_time: float | None, grace: float) -> None:
        self._run_time, self._grace, self._is_timed = run_time, grace, True

    def _after_exchange(self) -> None:
        if self._broker.is_behind:
            self._checkpointer.press()
        if 2 * self._broker.intake.queued < self._broker.limits.size:
            self._reader.room.set()
        if self._broker.over or self._broker.spent:
            self._wake.set()

    def _give_up(self, seconds: float, why: str) -> None:
        """End the run when its state could not be written for too long."""
        if seconds > self._broker.limits.state_timeout:
            raise StateUnwritable(
                f"The run gives up after {seconds:.0f} s without a checkpoint (--state-timeout): {why} The state "
                f"{self._store.location} is as it was at the last one that succeeded."
            )

    def _watch(self, view: View, signals: Signals, own_slave: OwnSlave | None) -> TaskmasterError | None:
        """Wait until the run is over; return why it ended if not because all is done."""
        known, show = (self._broker, self._lock, self._reader, self._checks), partial(self._show, view)
        ending = Ending(*known, view, signals, grace=lambda: self._grace, show=show)
        self._collector.start(len(self._broker.parking))
        while True:
            with self._lock:
                self.steers.tick(self._status.condition.code)
                self._details.tick(self._status.condition.code)
                lost = self._broker.tick(time.monotonic())
                error = self._reader.error
                finished = self._broker.over and error is None
                if finished:
                    self.steers.close()  # a retry that is asked for now would be forgotten
                pending = not (self._broker.at_rest or self._broker.intake.seeking)
            self._collector.tick(max(len(self._broker.leases), len(self._broker.parking)), time.monotonic())
            for name in lost:
                logger.warning("lost the slave %s; its jobs are handed out again", name)
            self._reports.fail_doomed()
            if finished:
                return None
            if signals.received:
                return ending.by_signal()
            if self._broker.settlement.stop or self._checks.error is not None:
                return ending.by_failures(self._broker.settlement.stop)
            self._give_up(*self._checkpointer.trouble())
            if error is not None and not pending:
                return error
            if self._broker.spent:
                return ending.at_limit()
            if self._out_of_time():
                return ending.in_time(self._run_time or 0.0)
            if own_slave is not None:
                own_slave.check()
            self._show(view, TICK_SECONDS if own_slave is None else own_slave.pause)

    def _show(self, view: View, seconds: float = TICK_SECONDS) -> None:
        """Show how the run stands, and wait a moment."""
        snapshot = self._status.snapshot()
        view.update(snapshot)
        self.events.observe(snapshot)
        self._outage.make()
        self._wake.wait(seconds)
        self._wake.clear()

    def _out_of_time(self) -> bool:
        return self._run_time is not None and self._status.elapsed >= self._run_time

    def _write_end(self, ending: TaskmasterError | None, view: View, signals: Signals) -> None:
        """Write down how the session ends: nothing more is handed out."""
        self._reader.stop()
        self._status.condition.end()
        self.steers.note_end(ending, successor(self._broker, self._lock, self._identity), self._checks.left_out)
        while not self._checkpointer.stop(TICK_SECONDS):
            self._give_up(*self._checkpointer.trouble())
        self._last_checkpoint(view, signals)
        self.events.end(self._status.snapshot(), ending)

    def _last_checkpoint(self, view: View, signals: Signals) -> None:
        """Write the last checkpoint, again and again if it cannot be written: nothing may be called
        over before it is durable.
        """
        attempts, began = 0, time.monotonic()
        while True:
            try:
                self._checkpointer.last_checkpoint(lambda: self._give_up(*self._checkpointer.trouble()))
                return
            except StateUnwritable as exc:
                attempts += 1
                if (signals.received or self._out_of_time()) and (attempts >= 10 or signals.repeated):
                    raise
                self._give_up(time.monotonic() - began, str(exc))
                if attempts == 1:
                    view.say(f"The last checkpoint cannot be written, which is tried again until it can: {exc}")
                self._wake.wait(1.0)
