"""The service: what slaves and ``tm-ctl`` may call of the master.

One thread answers all slaves, one after the other. Nothing that a
slave sends is trusted to be well-formed. What goes out is made in ``dispatch``, what comes back is
taken in ``reports``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster import __version__
from taskmaster.django_orm.integration import script_facts
from taskmaster.errors import StateBusy
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.dispatch import Dispatch
from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.records.steering_records import SessionCommand
from taskmaster.master.reports import Reports
from taskmaster.master.skew import Skew
from taskmaster.master.steer_service import SteerService
from taskmaster.model import PROTOCOL, Answer, AnswerState, Report, Want
from taskmaster.redaction import clean, clean_short
from taskmaster.runtime.log import clean_logger
from taskmaster.units import show_count
from taskmaster.view.snapshot import SlaveState

__all__ = ["Service"]

logger = clean_logger(__name__)

MAX_WORKERS = 4096
MAX_SLOTS = 65_536  # jobs that one slave runs at once
MAX_OFFERS = 100_000
LONGEST_NAME = 200  # characters of a slave's name
MAX_BAD_ENDS, LONGEST_BAD_END = 100, 300  # of slaves that are remembered; characters of one
FAILURES_PAGE_JOBS = 200  # failed jobs in one answer
FAILURES_PAGE_CHARACTERS = 1024 * 1024  # about how many characters of failed jobs in one answer
FAILURES_WAIT_SECONDS = 0.1  # the longest wait of failures() for a running checkpoint; no slave is answered meanwhile


def _other_protocol(info: dict[str, Any]) -> str:
    theirs, spoken = clean_short(info.get("version"), 50) or "that does not tell its version", info.get("protocol")
    spoken = spoken if type(spoken) is int else "none"
    return (
        f"It runs Taskmaster {theirs}, which speaks protocol {spoken}, and the master runs Taskmaster {__version__}, "
        f"which speaks protocol {PROTOCOL}. Install Taskmaster {__version__} on the slave's machine, or the slave's "
        "version on the master's."
    )


def _tells_what_it_holds(info: dict[str, Any]) -> bool:
    """Return whether a hello is well-formed in what it says of batches, before anything is changed
    by it: a slave that is let in by half would stay for a minute after its connection has ended.
    """
    held, offers = info.get("held", ()), info.get("offers", ())
    if not (isinstance(held, list | tuple) and isinstance(offers, list | tuple)):
        return False
    if not all(isinstance(offer, list | tuple) and len(offer) == 3 for offer in offers):
        return False
    known = all(type(token) is str and type(index) is type(ticket) is int for token, index, ticket in offers)
    return known and all(isinstance(token, str) for token in held)


class Service:
    """The object that the server serves.

    Args:
        broker: which job is where.
        lock: guards the broker.
        dispatch: hands batches out.
        reports: takes reports.
        run: id of the run.
        incarnation: the random name of this master's process, part of each token.
        took: called when jobs were handed out or reported: there may be room in the queue, or
            nothing left to do.
        status: gives what ``status()`` answers.
        failures: gives a page of the failed jobs, as ``Store.failed``.
        skew: compares the slaves of the run.
        steers: Applies the requests of operators; None: the run cannot be steered.
        clock: monotonic seconds.

    Attributes:
        over: whether the run is over, which every slave is told.
        met: whether a slave was let in, which has to be told when the run is over.
        bad_ends: what workers of slaves that have left could not do at their end, a sentence each.
        unheard: names of the slaves that were there when the run was over and have not said goodbye
            since, by the id.
        refused: What the last slave that was not let in was told, with its name.
        refusals: How many were not let in.
    """

    def __init__(  # noqa: PLR0913  # what the run is made of, each part once
        self,
        broker: Broker,
        lock: threading.Lock,
        dispatch: Dispatch,
        reports: Reports,
        *,
        run: str,
        incarnation: str,
        took: Callable[[], None],
        status: Callable[[], dict[str, Any]],
        failures: Callable[[int, int, str | None, float], Sequence[FailedJob]] = lambda *_: (),
        skew: Skew | None = None,
        steers: SteerService | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.over = False
        self.met = False
        self.bad_ends: list[str] = []
        self._bad_ends_noted = 0
        self.unheard: dict[str, str] = {}
        self._broker = broker
        self._lock = lock
        self._dispatch = dispatch
        self._reports = reports
        self._run = run
        self._incarnation = incarnation
        self._took = took
        self._status = status
        self._failures = failures
        self._skew = skew or Skew()
        self._steers = steers
        self._clock = clock
        self.refused = ""
        self.refusals = 0

    def hello(self, info: Any) -> dict[str, Any]:
        """Welcome a slave, or refuse it.

        Args:
            info: what the slave says of itself: ``protocol`` and ``version``; ``session``, random
                text that names its process; ``name``, "host:pid"; ``workers`` and ``slots``, its
                processes and the jobs that it runs at once; ``held``, tokens of the batches that it
                has; ``run`` and ``offers``, jobs that it has been running since an earlier master
                (token, index, ticket); and what ``Skew`` compares.

        Returns:
            ``ok``, and ``why`` if it is not; else what the slave has to know of the run.
        """
        if not isinstance(info, dict) or info.get("protocol") != PROTOCOL:
            return self._refuse(info, _other_protocol(info if isinstance(info, dict) else {}))
        ident, name = info.get("session"), info.get("name")
        workers, slots = info.get("workers"), info.get("slots")
        texts = isinstance(ident, str) and isinstance(name, str) and 0 < len(ident) <= 64
        if not texts or type(workers) is not int or type(slots) is not int or not _tells_what_it_holds(info):
            return self._refuse(info, "The slave's hello lacks its session, name, workers, slots or batches.")
        name = clean_short(name, LONGEST_NAME)  # it is shown and written down in many places
        admission = self._skew.compare(info, name, self._is_connected)
        if admission.refusal:
            return self._refuse(info, admission.refusal)
        workers = min(max(1, workers), MAX_WORKERS)
        slave = ConnectedSlave(str(ident), name, workers, min(max(1, slots), MAX_SLOTS), self._clock())
        return self._welcome(slave, info, admission.warning)

    def _welcome(self, slave: ConnectedSlave, info: dict[str, Any], warning: str) -> dict[str, Any]:
        """Let a slave in; return what it has to know of the run."""
        slave.told = self._broker.limits.told_slaves
        with self._lock:
            self._broker.enter(slave, list(info.get("held", ())))
            taken = self._take_over(slave, info)
            self._reports.figures.meet(slave, info)
        logger.info(
            "the slave %s is connected: %s, %s at once",
            slave.name,
            show_count(slave.workers, "worker process", "es"),
            show_count(slave.slots, "job"),
        )
        self.met = True
        return {
            "ok": True,
            "run": self._run,
            "incarnation": self._incarnation,
            "lease": self._broker.limits.lease,
            "job_timeout": self._broker.limits.job_timeout,
            "nice": self._dispatch.rest,
            "taken": taken,
            "warn": warning,
            "project": script_facts(),
        }

    def exchange(self, ident: Any, reports: Any, want: Any) -> tuple[Any, ...]:
        """Take a slave's reports and hand it more; the answer never waits.

        Args:
            ident: names the slave's process.
            reports: a ``Report`` of each batch of which there is news.
            want: the ``Want`` of the slave.
        """
        wish = Want.from_wire(want)
        if not isinstance(ident, str) or not isinstance(reports, list | tuple):
            raise ValueError("exchange(ident, reports, want): a text and a list are expected")  # noqa: TRY004
        with self._lock:
            slave = self._broker.slaves.heard(ident, self._clock())
        if slave is None or slave.told != self._broker.limits.told_slaves:
            # The answer to its next hello has what was set meanwhile; what it reports now, it
            # reports again.
            return Answer(AnswerState.UNKNOWN).to_wire()
        said = [Report.from_wire(report) for report in reports]
        # Keys are the user's code, and run in the thread that hears the slaves.
        self._broker.slaves.stalled(self._clock())
        try:
            stale = self._reports.take_all(slave, said)
        finally:
            self._broker.slaves.stalled(None)
        if self.over or slave.may_end:
            return Answer(AnswerState.OVER if self.over else AnswerState.LEAVE, stale=stale).to_wire()
        batches = self._dispatch.batches(slave, wish)
        if said and not batches:
            self._took()  # where there were batches, that is done
        with self._lock:
            back = self._broker.draining or self._broker.hand_out.asks_all_back(slave)
            answer = Answer(
                AnswerState.DRAIN if back else AnswerState.RUN,
                self._dispatch.pause(slave, wish, fed=bool(batches)),
                batches,
                self._broker.recalls.of(slave),
                stale,
                self._broker.takeover.tickets(slave),
                self._dispatch.rest,
                self._dispatch.work,
            )
        return answer.to_wire()

    def bye(self, ident: Any, bad_end: Any = "") -> None:
        """Let a slave go; what it holds goes back.

        Args:
            ident: names the slave's process.
            bad_end: what its workers could not do at their end; "" if they ended well.
        """
        said = clean_short(bad_end, LONGEST_BAD_END).rstrip(".")
        with self._lock:
            slave = self._broker.slaves.get(ident) if isinstance(ident, str) else None
            # One whose workers took long to end counts as lost meanwhile.
            name = self._reports.figures.take_goodbye(ident) if slave is None else slave.name
            if not name:
                return
            if said:  # before it is gone, for which the end of a run waits
                self.bad_ends.append(f"{name}: {said}")
                del self.bad_ends[:-MAX_BAD_ENDS]
            if slave is not None:
                self._broker.leave(slave)
                self._reports.figures.leave(slave, SlaveState.SAID_GOODBYE)
            self.unheard.pop(ident, None)
        logger.info("the slave %s has left", name)
        if said:
            logger.warning("workers of the slave %s could not end as they should: %s", name, said)
            # The next checkpoint has it, for this session may be killed. Of many, the state keeps
            # the first ones, and the first one after somebody has said that nothing is lost.
            steers, many = self._steers, self._bad_ends_noted >= MAX_BAD_ENDS
            if steers is not None and not (many and steers.steering.trail.bad_end):
                self._bad_ends_noted += 1
                steers.note(SessionCommand.ENDED_BADLY, f"{name}: {said}", "exit code 1")

    def status(self) -> dict[str, Any]:
        """Return the run at this moment, as plain values."""
        return self._status()

    def _refuse(self, info: Any, why: str) -> dict[str, Any]:
        """Return the answer to a slave that is not let in, and remember it for ``why``."""
        name = info.get("name") if isinstance(info, dict) else None
        self.refused = f"{clean_short(name, LONGEST_NAME)}: {clean(why)}" if isinstance(name, str) else clean(why)
        self.refused = self.refused.rstrip(".")
        self.refusals += 1
        return {"ok": False, "why": why}

    def failures(self, after: Any, kind: Any) -> list[tuple[Any, ...]] | None:
        """Return a page of the run's failed jobs, by their id: (id, key, job, attempts). The last
        checkpoint has them.

        Args:
            after: ids above this one.
            kind: only those that failed with this class of exception at last; None: all.

        Returns:
            Empty at the end; None while a checkpoint is being written: ask again.
        """
        if type(after) is not int or not 0 <= after < 2**62 or not (kind is None or isinstance(kind, str)):
            raise ValueError("failures(after, kind): an id and a class are expected")
        try:
            page = self._failures(after, FAILURES_PAGE_JOBS, kind, FAILURES_WAIT_SECONDS)
        except StateBusy:
            return None
        found: list[tuple[Any, ...]] = []
        size = 0
        for job in page:
            if size > FAILURES_PAGE_CHARACTERS:
                break
            size += len(job.job) + sum(len(a.message) + len(a.traceback) for a in job.attempts)
            found.append((job.id, job.key, job.job, [tuple(attempt) for attempt in job.attempts]))
        return found

    def end(self) -> None:
        """Tell every slave from now on that the run is over."""
        with self._lock:
            self.unheard = {slave.id: slave.name for slave in self._broker.slaves}
        self.over = True

    def steer(self, request: Any, peer: str = "") -> dict[str, Any]:
        """Apply what an operator asks for.

        Args:
            request: See ``taskmaster.master.steering.request``.
            peer: The address that it comes from; the server adds it.
        """
        if self._steers is None:
            raise ValueError("this run cannot be steered")
        return self._steers.steer(request, peer)

    def look(self, what: Any, arguments: Any = None) -> Any:
        """Answer what somebody wants to see; nothing is changed."""
        if self._steers is None:
            raise ValueError("this run cannot be looked at")
        return self._steers.look(what, arguments)

    def closed(self, ident: str) -> None:
        """Note that a slave's connection has ended; it has a short grace to come back."""
        with self._lock:
            self._broker.slaves.closed(ident, self._clock())

    def _is_connected(self, ident: str) -> bool:
        with self._lock:
            return self._broker.slaves.is_connected(ident)

    def _take_over(self, slave: ConnectedSlave, info: dict[str, Any]) -> list[tuple[str, int, str]]:
        """Return the leases of what the slave has been running since before this master was
        started.
        """
        taken: list[tuple[str, int, str]] = []
        if info.get("run") != self._run:
            return taken
        for token, index, ticket in info.get("offers", ())[:MAX_OFFERS]:
            new = self._broker.takeover.reclaim(slave, ticket)
            if new is not None:
                taken.append((token, index, new))
        return taken
