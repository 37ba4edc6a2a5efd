"""The supervisor: takes batches from the master, has the workers run them, and reports.

One thread, one loop; it runs none of the user's code, so that it goes on reporting and renewing its
leases whatever a callback does. ::

    master ◄──exchange──► MasterLink ◄──► Supervisor ◄──► InFlight
                                              ▲
                                              └──► Pool ◄──socket, scoreboard──► workers

Guarantees: each job that has ended is reported, or run again by another worker; no process outlives
the supervisor's.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from datetime import timedelta

from taskmaster.errors import ConnectError
from taskmaster.model import Answer, AnswerState
from taskmaster.runtime.command_log import CommandLog
from taskmaster.runtime.malloc import keep_freed_memory
from taskmaster.runtime.signals import Signals
from taskmaster.slave.config import SlaveConfig
from taskmaster.slave.exchange_schedule import ExchangeSchedule
from taskmaster.slave.interruption import Interruption
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.unusable import Cause, Unusable
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.last_words import NOT_HEARD, RUN_IS_OVER, TOLD_TO_END
from taskmaster.slave.master_link import MasterLink, SlaveFacts, Welcome
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.buffers import Buffer
from taskmaster.slave.pool.contract import MakePool, Room, SlavePool
from taskmaster.slave.pool.fork_client import ForkClient
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.pool import Pool
from taskmaster.slave.pool.retirement import Retirement
from taskmaster.units import show_count
from taskmaster.user_code.code_version import callback_of, real_path_of

__all__ = ["Supervisor", "run_slave"]

LOOP_WAIT_SECONDS = 1.0  # longest wait of the loop while nothing is due
LONGEST_SHOWN_SECONDS = 1e9  # a longer wait for the master is shown as "for ever"
LAST_REPORTS_SECONDS = 2.0  # longest wait at the end to bring the last reports to the master


def run_slave(
    config: SlaveConfig,
    key: Callable[[], str | None],
    log: CommandLog | None = None,
    make_pool: MakePool | None = None,
    *,
    final: bool = False,
) -> int:
    """Run a slave to its end.

    Args:
        config: What to do, and how.
        key: Gives the key for the next attempt to connect.
        log: Shows what the slave says; None: standard error alone does.
        make_pool: Gives what runs its batches, if that is not processes of its own.
        final: Whether the process does nothing else: see ``Signals``.

    Returns:
        The exit code: 0 if the run is over; 1 if it is and a worker could not do what it had left
            to do at its end, or if no worker can be started or get through ``setup``; 2 if the
            target cannot be used; 6 if the master cannot be reached, or refuses this slave; 128
            and its number after a signal.
    """
    keep_freed_memory()
    with Signals(final=final) as signals:
        supervisor = Supervisor(config, key, signals, log or CommandLog(), make_pool)
        try:
            return supervisor.run()
        finally:
            supervisor.close()


class Supervisor:
    """The loop of one slave; it is the ``Talk`` of its link.

    Args:
        config: What to do, and how.
        key: Gives the key for the next attempt to connect.
        signals: Those that the process has received.
        log: Shows what the slave says.
        make_pool: As for ``run_slave``.
    """

    def __init__(
        self,
        config: SlaveConfig,
        key: Callable[[], str | None],
        signals: Signals,
        log: CommandLog,
        make_pool: MakePool | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._signals = signals
        self._began = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._in_flight = InFlight()
        spec = WorkerSpec.of(config)
        self._batch_size = BatchSize(fixed=config.batch, most=config.jobs_per_worker)
        make_pool = make_pool or self._own_pool
        self._pool = make_pool(self._in_flight, self._batch_size, self._selector)
        target = "" if config.fork_server else config.target  # such a fork server brings its callback along
        path = real_path_of(target) if target else ""
        slots = config.processes * spec.slots
        facts = SlaveFacts(config.processes, slots, config.code, callback_of(target), target, path)
        self._link = MasterLink(config.address, key, facts, self._selector, self)
        self._warned = ""
        self._schedule = ExchangeSchedule()
        self._enforce_at = 0.0
        self._said_waiting = self._said_connected = False
        self._over = self._leaves = False
        self._stop_by: float | None = None
        self._interruption = Interruption(signals, self._selector, config.lifeline)

    def _own_pool(self, in_flight: InFlight, batch_size: BatchSize, selector: selectors.BaseSelector) -> SlavePool:
        config, signals = self._config, self._signals
        return Pool(
            WorkerSpec.of(config),
            config.processes,
            in_flight,
            batch_size,
            selector,
            ForkClient(config.fork_server, config.fork_server_process),
            Retirement(config.jobs_per_worker, config.memory_per_worker),
            stopping=lambda: signals.received > 0,
        )

    def run(self) -> int:
        """Run to the end; return the exit code."""
        try:
            while True:
                now = time.monotonic()
                if (code := self._turn(now)) is not None:
                    return code
                # The link first: it connects, in its own thread, while the workers are forked.
                waits = self._link.keep_up(now), self._pool.keep_up(now), self._watch_time(now)
                timeout = min(*waits, self._until_next(time.monotonic()))
                for key, _ in self._selector.select(max(0.0, timeout)):
                    key.data()
        except Unusable as exc:
            self._log.give_up(exc.traceback, f"tm-slave: {exc}")
            if exc.cause != Cause.FORK_SERVER:  # a job may have killed that: then this slave is lost with it
                self._pool.workforce.kill()
                self._link.bye(self._pool.workforce.ends.loss)
            return 2 if exc.cause == Cause.TARGET else 1

    def close(self) -> None:
        """End everything that was started here."""
        self._link.close()
        self._pool.close(self._may_give_up)
        self._interruption.close()
        self._selector.close()

    # -- the loop ----------------------------------------------------------------------------------

    def _turn(self, now: float) -> int | None:
        """Do what is due now; return an exit code to end the loop."""
        if self._interruption.by_master:
            return self._end_with_master()
        if self._interruption.by_signal:
            return self._turn_to_stop(now)
        if self._over:
            return self._end_over()
        if self._link.refusal is not None:
            self._say(str(self._link.refusal), always=True)
            self._wind_up()
            return self._link.refusal.exit_code
        if self._link.lost_at is not None and not self._wait_for_master(now):
            self._wind_up()
            return ConnectError.exit_code
        self._exchange(now)
        return None

    def _watch_time(self, now: float) -> float:
        """See that no job takes too long; return the seconds until that is due again."""
        if not len(self._in_flight):
            self._enforce_at = now
            return 1.0
        if now >= self._enforce_at:
            self._enforce_at = now + self._pool.enforce(now)
        return self._enforce_at - now

    def _until_next(self, now: float) -> float:
        """Return the seconds until an exchange, or the end, is due."""
        wait = LOOP_WAIT_SECONDS if self._stop_by is None else min(LOOP_WAIT_SECONDS, self._stop_by - now)
        if not self._link.up:
            return wait
        room, lease, working, rest = self._pool.room, self._link.lease, len(self._in_flight) > 0, self._pool.resting
        free, until = self._wanted(room) > 0, self._schedule.until_next
        return min(wait, until(now, lease, working=working, resting=rest, free=free, idle=room.idle))

    def _exchange(self, now: float) -> None:
        """Report and ask, if there is a reason to."""
        if not self._link.up:
            return
        in_flight, schedule, room = self._in_flight, self._schedule, self._pool.room
        working, free = len(in_flight) > 0, self._wanted(room)
        gathers = schedule.gathers(now, free=free > 0, idle=room.idle)
        urgent = in_flight.urgent(gathers=gathers) or in_flight.singly
        may = free > 0 and (urgent or schedule.may_ask(now))
        ask = may and schedule.has_gathered(now, idle=room.idle)
        read = working and schedule.reads_progress(now)
        if read:
            self._read_progress(now)
        due = schedule.must_exchange(now, self._link.lease, working=working, resting=self._pool.resting)
        if ask or urgent or due or (read and in_flight.news()):
            if not read and working and schedule.would_soon(now):
                self._read_progress(now)
            schedule.posted(now, asked=may)
            self._link.post(in_flight.reports(), self._batch_size.want(free if may else 0))

    def _wanted(self, room: Room) -> int:
        """Return how many batches may be asked for."""
        return room.batches if self._stop_by is None and not self._in_flight.singly else 0

    def _read_progress(self, now: float) -> None:
        self._schedule.read(now)
        self._pool.read_progress()

    # -- what the link is told and says ------------------------------------------------------------

    def held(self) -> tuple[list[str], list[tuple[str, int, int]]]:
        """Return what a hello says of the batches in flight, as in ``Talk``."""
        return self._in_flight.tokens, self._in_flight.offers

    def buffer(self, size: int) -> Buffer | None:
        """Return where a batch of ``size`` bytes is to be received."""
        return self._pool.buffer(size)

    def answered(self, answer: Answer) -> None:
        """Take the answer to an exchange."""
        self._in_flight.answered()
        now = time.monotonic()
        for held in self._in_flight.void(answer.stale):
            self._pool.recall(held, 0)
        if answer.state in (AnswerState.OVER, AnswerState.LEAVE):
            self._over, self._leaves = True, answer.state is AnswerState.LEAVE
            return
        self._pool.rest(answer.rest)
        self._batch_size.aim(answer.work)
        self._schedule.gather(answer.work, self._config.processes)
        for lent in answer.batches:
            if self._stop_by is None:
                self._pool.give(lent)
            else:
                self._in_flight.drop(self._in_flight.take(lent))  # it was asked for before the signal came
        for token, index, number in answer.tickets:
            self._in_flight.ticket(token, index, number)
        for token, keep in answer.recalls:
            asked = self._in_flight.by_token(token)
            if asked is not None:
                self._pool.recall(asked, keep)
        if answer.state is AnswerState.DRAIN:
            self._pool.recall_all()
        if self._schedule.answered(now, answer.pause, fed=bool(answer.batches)):
            self._pool.give_back_waiting()

    def declined(self, why: str) -> bool:
        """Note that the master could not do the last exchange; return whether to keep the
        connection.
        """
        token = self._in_flight.refused(why)
        if token is None:
            # The master may have lent a batch before it failed: only a hello, which says what is
            # held here, has it given back. Exchanges alone would renew its lease for ever.
            return not self._schedule.asked
        for held in self._in_flight.void([token]):
            self._pool.recall(held, 0)  # the next hello says that it is not held any more
        return False

    def entered(self, welcome: Welcome, another: bool) -> None:
        """Go on with a master that has said welcome."""
        if self._said_waiting or not self._said_connected:
            workers = f"{show_count(self._config.processes, 'worker process', 'es')} {self._pool.where}"
            self._say(f"connected to the master at {self._config.address}: run {welcome.run}, {workers}.")
        self._said_waiting, self._said_connected = False, True
        if welcome.warning != self._warned:
            self._warned = welcome.warning
            self._say(f"warning: {self._warned}" if self._warned else "the other slaves have the same callback now.")
        self._schedule.welcomed()
        about = AboutRun(welcome.run, self._link.name, welcome.job_timeout, welcome.project)
        self._pool.tell(about, welcome.nice)
        former = self._in_flight.tokens
        for token, index, new in welcome.taken:
            self._in_flight.adopt(token, index, new)
        if another:
            # Its leases are all its own: what runs may run on, what is leased anew may start.
            for held in self._in_flight.void(former):
                if len(held.heirs) < held.lent.count:
                    self._pool.recall(held, 0)
        else:
            self._in_flight.unanswered()

    # -- ends --------------------------------------------------------------------------------------

    def _wait_for_master(self, now: float) -> bool:
        """Say that the master is waited for; return False when that has taken too long."""
        waited = now - (self._link.lost_at or now)
        if (tried := self._link.problem != "") and waited >= self._config.wait:
            self._say(f"{self._link.problem} It was waited for {waited:.0f} s, which --wait allows.", always=True)
            return False
        if tried and not self._said_waiting:
            self._said_waiting = True
            wait = self._config.wait
            left = f"up to {timedelta(seconds=round(wait))}" if wait < LONGEST_SHOWN_SECONDS else "for ever"
            if self._link.welcome is not None:
                self._say(f"lost the master at {self._config.address}; it is waited for, {left} (--wait).")
            else:
                self._say(f"waiting for the master at {self._config.address}, {left} (--wait). {self._link.problem}")
        return True

    def _end_over(self) -> int:
        """End because the run is over, or because this slave is to get nothing more of it."""
        self._wind_up()
        took = timedelta(seconds=round(time.monotonic() - self._began))
        done = _work_done(self._in_flight.done, self._in_flight.failed)
        self._say(f"{TOLD_TO_END if self._leaves else RUN_IS_OVER}: {done} by this slave in {took}.")
        self._link.bye(self._pool.workforce.ends.loss)
        return self._exit_code

    def _end_with_master(self) -> int:
        """End because the command that started this slave ends, or is gone: nobody would hear of
        what is done here.
        """
        self._pool.read_progress()
        self._wind_up()
        return self._exit_code

    @property
    def _exit_code(self) -> int:
        """0, if all that callbacks wrote is where they wanted it."""
        return 1 if self._pool.workforce.ends.loss else 0

    def _turn_to_stop(self, now: float) -> int | None:
        """End after a signal: give back what has not started, let the rest end in its time, and
        report; return the exit code once that is done.
        """
        if self._stop_by is None:
            self._stop_by = now + self._config.grace
            self._pool.recall_all()
            if len(self._in_flight):
                self._say(
                    f"{self._signals.name}: running jobs have {self._config.grace:g} s to end (the same signal again "
                    "ends at once)."
                )
        if self._signals.repeated or now >= self._stop_by:
            self._pool.workforce.kill(idle=self._signals.repeated)
        if len(self._in_flight):
            self._exchange(now)
            return None
        self._deliver(now)
        self._wind_up(self._stop_by - now)
        heard = self._link.bye(loss := self._pool.workforce.ends.loss) or not loss
        done = _work_done(self._in_flight.done, self._in_flight.failed)
        self._say(f"stopped: {done} by this slave.{'' if heard else f' {NOT_HEARD}'}", always=not heard)
        return 128 + self._signals.received if heard else 1

    def _deliver(self, now: float) -> None:
        """Bring the last reports to the master, if it is there."""
        deadline = now + LAST_REPORTS_SECONDS
        while not self._in_flight.settled and self._link.lost_at is None and time.monotonic() < deadline:
            if self._link.up:
                self._schedule.posted(time.monotonic(), asked=False)
                self._link.post(self._in_flight.reports(), self._batch_size.want(0))
            for key, _ in self._selector.select(0.05):
                key.data()

    def _wind_up(self, seconds: float | None = None) -> None:
        """Have the workers end; they have as long as running jobs, where nothing else is said."""
        self._pool.workforce.wind_up(
            self._config.grace if seconds is None else seconds,
            hurry=lambda: self._signals.repeated,
            orphaned=lambda: self._interruption.orphaned,
        )
        self._pool.workforce.finish_output(self._may_give_up)
        for sentence in (self._pool.workforce.ends.summary(), *self._pool.workforce.ends.lost):
            if sentence:
                self._say(sentence, always=True)

    def _may_give_up(self) -> bool:
        """Return whether output that nobody reads may be lost."""
        return self._interruption.orphaned or self._interruption.by_signal

    def _say(self, sentence: str, *, always: bool = False) -> None:
        if always or not self._config.quiet:
            self._log.say(f"tm-slave: {sentence}")


def _work_done(done: int, failed: int) -> str:
    return f"{show_count(done, 'job')} done and {show_count(failed, 'failed attempt')}"
