"""Slaves in virtual time, and the loop that drives them.

What a slave does is what ``taskmaster.slave.supervisor`` does, short of running anything: it
reports when batches have ended, asks for others with it, tells of jobs that run for long, renews
its leases, and says hello again when its master has been restarted, with what it is running. The
master answers one after the other: while it is at something, what arrives waits. Its reader and its
checkpointer have threads of their own, which take half of its one core while they have something to
do.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import platform
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.fleet.simulated_master import SimulatedMaster
from taskmaster import __version__
from taskmaster.job_times import NO_TIMES, counted
from taskmaster.model import BATCH_SECONDS, GATHERING_WORKERS, LONG_JOB_SECONDS, PROTOCOL, Report, ReportEnd
from taskmaster.slave.exchange_schedule import GATHERED
from taskmaster.slave.worker.worker import TIMED_SECONDS

LATENCY_SECONDS = 0.0005  # of a message
NEVER = float("inf")
RENEW_SECONDS = 10.0  # of silence after which a slave renews its leases: a sixth of their term
RECONNECT_SECONDS = 5.0  # within which the slaves come back to a master that was restarted
TICK_SECONDS = 0.2  # as in ``taskmaster.master.run``
READ_SECONDS = 0.05  # between two readings of the source, as in ``taskmaster.master.reading.reader``
CONNECT_SECONDS = 0.0007  # of the master's core: a connection and its handshake, as ``benchmarks.wire`` measures it


@dataclass(frozen=True)
class Shape:
    """What is simulated.

    Attributes:
        slaves: How many.
        workers: Worker processes of each.
        seconds: What a job takes.
        spread: How far jobs are off that, as a share of it.
        batch: Most jobs in a batch.
        seed: Decides how long each takes.
    """

    slaves: int
    workers: int
    seconds: float
    spread: float = 0.5
    batch: int = 1
    seed: int = 1


def finished(token: str, jobs: int, seconds: float) -> tuple[Any, ...]:
    """Return the report of a batch whose jobs have all gone well, as a slave sends it."""
    each = seconds / max(1, jobs)
    times = counted([each] * jobs) if each >= TIMED_SECONDS else NO_TIMES
    return Report(token, jobs, keep=jobs, end=ReportEnd.FINISHED, seconds=seconds, times=times).to_wire()


class Work:
    """A batch in a slave's hands; without a token, it is not the slave's any more, and runs on."""

    __slots__ = ("began", "jobs", "seconds", "ticket", "token")

    def __init__(self, token: str, jobs: int) -> None:
        self.token, self.jobs = token, jobs
        self.began = self.seconds = 0.0
        self.ticket: int | None = None


class Slave:
    """One slave."""

    __slots__ = (
        "ask_at",
        "away",
        "begun",
        "due",
        "ended",
        "every",
        "fresh",
        "gather",
        "id",
        "patient",
        "running",
        "said_at",
        "stale",
        "waiting",
    )

    def __init__(self, ident: str) -> None:
        self.id = ident
        self.away = True  # it has no connection
        self.due = NEVER  # when it is going to say something
        self.running: dict[str, Work] = {}
        self.stale: dict[Work, None] = {}  # what runs although it is not this slave's any more
        self.waiting: deque[Work] = deque()
        self.fresh: deque[Work] = deque()  # runs, and was not told as running for long
        self.ended: list[Work] = []
        self.begun = 0
        self.said_at = self.ask_at = 0.0
        self.every = RENEW_SECONDS
        self.patient = False  # these pass although a worker has nothing
        self.gather = 0.0  # seconds from one exchange to the next one, while all workers have something to do

    @property
    def held(self) -> list[Work]:
        """What it shows to a master that is new."""
        return [*self.running.values(), *self.waiting, *self.ended]


class Fleet:
    """All slaves, and the clock.

    Args:
        shape: How many slaves, of which kind.
        start: Makes the master that is started next.

    Attributes:
        now: Virtual seconds.
        master: The master that runs.
        slaves: Those that are connected.
        handled: Jobs that have ended, and were reported.
        welcome: Slaves that have said hello to this master.
        late: Longest time that an exchange waited for the master.
    """

    def __init__(self, shape: Shape, start: Callable[[Callable[[], float]], SimulatedMaster]) -> None:
        self.now = 1000.0
        self.shape = shape
        self.handled = self.welcome = 0
        self.late = 0.0
        self._random = random.Random(shape.seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._free_at = self.now
        self._debt = 0.0  # seconds of work that other threads of the master have left to do
        self._start = start
        self._busy = 0
        self.slaves = [Slave(f"{number:032x}") for number in range(shape.slaves)]
        self.master = self._started()
        for slave in self.slaves:
            self._at(self.now + RENEW_SECONDS * (1 + self._random.random()), self._renew, slave)
        self._at(self.now, self._tick)
        self._at(self.now, self._read)
        self._at(self.now, self._checkpoint)

    @property
    def busy(self) -> int:
        """Workers that run something."""
        return self._busy

    def memory(self) -> float:
        """Return the MB that the slaves take, with what they are going to do."""
        kinds = ("running", "stale", "waiting", "fresh", "ended")
        held = [getattr(slave, kind) for slave in self.slaves for kind in kinds]
        works = [work for slave in self.slaves for work in slave.held]
        parts = [part for work in works for part in (work, work.token, work.began, work.seconds, work.ticket)]
        due = [part for event in self._events for part in (event, *event)]
        return sum(map(sys.getsizeof, (*self.slaves, *held, *parts, self._events, *due))) / 1024**2

    def run(self, until: Callable[[], bool]) -> None:
        """Let things happen until something is so."""
        while not until():
            self.now, _, what, args = heapq.heappop(self._events)
            what(*args)

    def restart(self) -> float:
        """Kill the master and start another one; give the processor seconds of its start."""
        self.master.close()
        del self.master  # its memory goes with its process
        for slave in self.slaves:
            slave.away = True
        self.master = self._started()
        return self.master.costs.seconds["start"]

    def lose(self, count: int) -> int:
        """Take slaves away with all that they hold, as when a rack loses its power; return how many
        batches that is.
        """
        lost, self.slaves = self.slaves[:count], self.slaves[count:]
        held = sum(len(slave.running) + len(slave.waiting) for slave in lost)
        for slave in lost:
            slave.away = True
            self._busy -= len(slave.running)
            self._free_at = max(self.now, self._free_at) + self.master.closed(slave.id)
            slave.running.clear()
        return held

    def _started(self) -> SimulatedMaster:
        # The slaves are not in a master's process: its garbage collections do not walk them, nor
        # what the master before has left.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        master = self._start(lambda: self.now)
        self._free_at = max(self.now, self._free_at) + master.costs.seconds["start"]
        self.welcome = 0
        for slave in self.slaves:
            self._at(self._free_at + RECONNECT_SECONDS * self._random.random(), self._hello, slave)
        return master

    def _at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what, args))

    def _serve(self, method: str, *args: Any, extra: float = 0.0) -> Any:
        """Have the master answer when it has time for it; the clock is at the answer then."""
        arrived = self.now + LATENCY_SECONDS
        self.now = begun = max(arrived, self._free_at)
        self.late = max(self.late, begun - arrived)
        self._debt = max(0.0, self._debt - max(0.0, arrived - self._free_at))  # done while nobody asked
        answer, spent = self.master.call(method, *args)
        if extra:
            self.master.costs.add("connect", extra)
        others = min(self._debt, spent + extra)  # of two threads, each gets half of the core
        self._debt -= others
        self._free_at = begun + spent + extra + others
        self.now = self._free_at + LATENCY_SECONDS
        return answer

    def _tick(self) -> None:
        """Let time pass, in the run's own thread, which does not stand behind what slaves ask."""
        spent = self.master.tick()
        self._debt += spent
        self._at(self.now + 2 * spent + TICK_SECONDS, self._tick)

    def _read(self) -> None:
        """Read a chunk, in the reader's thread; the next one when it has had time for this one."""
        spent, more = self.master.read()
        self._debt += spent
        self._at(self.now + (2 * self._debt if more else READ_SECONDS), self._read)

    def _checkpoint(self) -> None:
        """Write a checkpoint, in the checkpointer's thread."""
        spent, pause = self.master.checkpoint()
        self._debt += spent
        self._at(self.now + 2 * self._debt + pause, self._checkpoint)

    # -- what a slave does -------------------------------------------------------------------------

    def _hello(self, slave: Slave) -> None:
        shape = self.shape
        works = slave.held
        offers = [(work.token, 0, work.ticket) for work in works if work.ticket is not None]
        info = {
            "protocol": PROTOCOL, "session": slave.id, "name": f"simulated:{slave.id[-6:]}", "workers": shape.workers,
            "slots": shape.workers, "held": [work.token for work in works], "offers": offers, "run": self.master.run,
            "code": "c", "callback": "fleet", "target": "fleet", "place": "", "version": __version__,
            "python": platform.python_version(),
        }  # fmt: skip
        welcome = self._serve("hello", info, extra=CONNECT_SECONDS)
        taken = {token: new for token, _, new in welcome["taken"]}
        for work in works:
            work.token = taken.get(work.token, "")
        slave.stale.update((work, None) for work in slave.running.values() if not work.token)
        slave.running = {work.token: work for work in slave.running.values() if work.token}
        slave.waiting = deque(work for work in slave.waiting if work.token)
        slave.ended = [work for work in slave.ended if work.token]
        slave.fresh.clear()
        slave.away, slave.said_at, slave.ask_at, slave.due = False, self.now, 0.0, NEVER
        self.welcome += 1
        self._soon(slave)

    def _soon(self, slave: Slave, when: float = 0.0) -> None:
        """Let a slave say something, as soon as it has had the answer to what it has said last."""
        when = max(self.now, slave.said_at, when)
        if not slave.away and when < slave.due:
            slave.due = when
            self._at(when, self._exchange, slave, when)

    def _renew(self, slave: Slave) -> None:
        if self.now >= slave.said_at + slave.every:
            self._soon(slave)
        self._at(max(self.now, slave.said_at) + slave.every, self._renew, slave)

    def _exchange(self, slave: Slave, due: float) -> None:
        if slave.away or due != slave.due:
            return  # it has said it earlier
        slave.due = NEVER
        workers = self.shape.workers
        ended, slave.ended = slave.ended, []
        reports = [finished(work.token, work.jobs, work.seconds) for work in ended]
        while slave.fresh and slave.fresh[0].began <= self.now - LONG_JOB_SECONDS:
            work = slave.fresh.popleft()
            if work.token in slave.running and work.ticket is None:
                reports.append(Report(work.token, 0, keep=work.jobs, long=(0,), worker=1).to_wire())
        free = 2 * workers - len(slave.running) - len(slave.stale) - len(slave.waiting)
        asks = free if ended or self.now >= slave.ask_at else 0
        answer = self._serve("exchange", slave.id, reports, (asks, self.shape.batch, 0, ""))
        _, pause, batches, _, _, tickets, _, work = answer
        slave.gather = GATHERED * work if workers >= GATHERING_WORKERS else 0.0
        slave.patient = slave.gather > 0 and work > BATCH_SECONDS
        slave.said_at = self.now
        self.handled += sum(work.jobs for work in ended)
        given = {token: Work(token, jobs) for token, jobs, *_ in batches}
        slave.waiting.extend(given.values())
        for token, _, ticket in tickets:
            work = given.get(token) or slave.running.get(token)
            if work is not None:
                work.ticket = ticket
        self._fill(slave)
        slave.every = min(RENEW_SECONDS, pause)
        if batches and asks > len(batches):
            self._soon(slave, slave.said_at + (slave.gather if slave.patient else 0.0))
        elif asks and not batches:
            slave.every = RENEW_SECONDS
            slave.ask_at = self.now + pause
            self._soon(slave, max(slave.ask_at, slave.said_at + slave.gather) if slave.patient else slave.ask_at)

    def _fill(self, slave: Slave) -> None:
        """Begin what waits, where a worker is free."""
        while slave.waiting and len(slave.running) + len(slave.stale) < self.shape.workers:
            work = slave.waiting.popleft()
            slave.running[work.token] = work
            slave.fresh.append(work)
            spread = self.shape.spread
            each = (1 - spread + 2 * spread * self._random.random() for _ in range(work.jobs))
            work.began, work.seconds = self.now, self.shape.seconds * sum(each)
            if slave.begun < self.shape.workers:
                # As if it had been at work for some time: jobs of a steady state end at all times.
                work.seconds *= self._random.random()
            slave.begun += 1
            self._busy += 1
            self._at(self.now + work.seconds, self._end, slave, work)

    def _end(self, slave: Slave, work: Work) -> None:
        """End a batch, and begin the next one."""
        if work in slave.stale:
            del slave.stale[work]
        elif slave.running.pop(work.token, None) is None:
            return  # it was lost with its slave
        else:
            slave.ended.append(work)
        self._busy -= 1
        self._fill(slave)
        gathered = slave.said_at + slave.gather
        all_busy = len(slave.running) + len(slave.stale) >= self.shape.workers
        self._soon(slave, gathered if all_busy or slave.patient else min(gathered, slave.ask_at))
