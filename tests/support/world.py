"""A world in one thread: the real service, broker, checkpointer and reader, with slaves, a
network and a clock that misbehave.

Every choice comes from one seeded generator, so a seed replays a schedule. What is executed is
written to a ledger that shares no code with Taskmaster.

The master's threads are four: one answers slaves, one reads the source, one writes checkpoints, one
looks at the clock. Wherever one of them is outside the lock, in the user's code or in the store,
another may get ahead of it: ``_meanwhile``.
"""

from __future__ import annotations

import pickle
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from support.master import Master
from taskmaster import keys
from taskmaster.errors import StateUnwritable
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.checkpointer import Checkpointer
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.model import PROTOCOL, Answer, Failure, FailureKind, Job
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight


class Violation(AssertionError):
    """A promise was broken."""


@dataclass
class Disk:
    """What survives the master: a store that does what the contract of
    ``taskmaster.master.stores.contract`` says, and no more.
    """

    mark: str | None = None
    edge: bytes = b""
    waiting: bytes = b""
    above: dict = field(default_factory=dict)
    parked: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)
    settled: int = 0
    failures: int = 0
    skipped: int = 0
    finished: bool = False
    session: int = 0
    bound: str | None = None
    broken: bool = False
    check: object = None
    meanwhile: object = None

    place = "a simulated disk"

    def open(self) -> RunRecord:
        self.session += 1
        remembered = self.waiting + b"".join(self.above[at] for at in sorted(self.above))
        return RunRecord(
            "run", self.mark is not None, self.mark, self.edge, remembered,
            tuple(self.parked[number] for number in sorted(self.parked)), self.settled, self.failures, self.skipped,
            next_failed=max(self.failed, default=0) + 1, bound=self.bound,
        )  # fmt: skip

    def write(self, checkpoint: Checkpoint) -> None:
        if self.meanwhile:
            self.meanwhile()
        if self.broken:
            raise StateUnwritable("the simulated disk is full")
        if checkpoint.waiting is not None:
            self.waiting = checkpoint.waiting
            self.above = {at: prints for at, prints in self.above.items() if at[0] == self.session}
        for row in checkpoint.add:
            self.above[self.session, row.first, row.end] = row.fingerprints
        for at in [at for at in self.above if at[0] == self.session and at[2] <= checkpoint.forget_below]:
            del self.above[at]
        self.parked.update({job.id: job for job in checkpoint.park})
        for number in checkpoint.unpark:
            del self.parked[number]
        for number in checkpoint.cleared:
            del self.failed[number]
        self.failed.update({job.id: job for job in checkpoint.failed})
        before = self.mark
        self.mark, self.edge, self.bound = checkpoint.mark, checkpoint.edge, checkpoint.bound
        self.settled, self.failures, self.finished = checkpoint.settled, checkpoint.failures, checkpoint.finished
        self.skipped = checkpoint.skipped
        if self.check:
            self.check(before)


@dataclass
class Work:
    """A batch in a worker's hands."""

    jobs: list
    at: int = 0  # the job that is next, or running
    begun: bool = False


@dataclass
class SimSlave:
    """A slave: the real InFlight, with workers that only exist in its books."""

    id: str
    in_flight: InFlight = field(default_factory=InFlight)
    work: dict = field(default_factory=dict)  # HeldBatch -> Work
    alive: bool = True
    greeted: int = 0  # the master that answered the last hello; 0 when the connection was lost since
    incarnation: int = 0  # the master whose leases it holds


class SlowIdentity(JobIdentity):
    """The user's code: it takes a while, in which other threads run, and the lock must be free."""

    def __init__(self, meanwhile) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def text(self, job):
        if not isinstance(job, ParkedJob):
            self._meanwhile()
        return super().text(job)


class World:
    """One run under one schedule.

    Args:
        seed: decides everything.
        disk: what survives the master.
    """

    def __init__(self, seed: int, disk: Disk | None = None) -> None:
        self.random = random.Random(seed)
        r = self.random
        self.now = 1000.0
        self.inclusive = r.random() < 0.5
        self.takes_last = r.random() < 0.8
        equal = r.choice([0.0, 0.0, 0.3, 0.7])
        self.rows, key = [], 0
        for number in range(r.randint(0, 60)):
            key += r.random() >= equal
            # Now and then the very same job twice: it is to be run twice.
            payload = self.rows[-1][1] if self.rows and self.rows[-1][0] == key and r.random() < 0.3 else number
            self.rows.append((key, payload))
        self.bad = {payload for _, payload in self.rows if r.random() < r.choice([0.0, 0.05])}
        self.deadly = {payload for _, payload in self.rows if r.random() < r.choice([0.0, 0.0, 0.05])}
        self.hanging = {payload for _, payload in self.rows if r.random() < r.choice([0.0, 0.0, 0.03])}
        self.slow = {payload for _, payload in self.rows if r.random() < 0.2}
        self.skipped = {payload for _, payload in self.rows if r.random() < r.choice([0.0, 0.0, 0.1])}
        self.together = r.random() < 0.25  # the callback is given whole batches
        self.limits = Limits(
            size=r.choice([1, 3, 10, 40]), span=r.choice([70, 100, 200]), crashes=2,
            reclaim=r.choice([0.0, 5.0]), retries=r.choice([0, 1, 3]),
            max_failures=1000,
        )  # fmt: skip
        if r.random() < 0.5:
            self.limits = replace(self.limits, size=max(10, self.limits.size), span=r.choice([12, 20]))
            widest = max(Counter(key for key, _ in self.rows).values(), default=0)
            self.limits = replace(self.limits, span=max(self.limits.span, 2 * widest + 4))
        self.ledger: Counter = Counter()
        self.disk = disk or Disk()
        self.disk.check = self._check_mark
        self.disk.meanwhile = self._meanwhile
        self.lock = threading.Lock()
        self.busy: set[str] = set()  # threads of the master that are in the middle of something
        self.slaves: list[SimSlave] = []
        self.mail: list = []
        self.newest: dict = {}
        self.generation = 0
        self.born = 0
        self.faults = True
        self.taken = 0  # jobs that a restarted master took over
        self.raises = r.random() < 0.2  # the source fails now and then
        self.start_master()

    # -- the master --------------------------------------------------------------------------------

    def get_jobs(self, last=None):
        for key, payload in list(self.rows):
            if last is None or (key >= last if self.inclusive else key > last):
                self._meanwhile()
                if self.raises and self.faults and self.random.random() < 0.02:
                    raise OSError("the database went away")
                yield Job(key, payload)

    def make_source(self):
        return self.get_jobs if self.takes_last else (lambda: self.get_jobs())  # noqa: PLW0108  # takes no `last`

    def start_master(self) -> None:
        self.generation += 1
        record = self.disk.open()
        self.lock = lock = threading.Lock()
        identity = SlowIdentity(self._meanwhile)
        dedup = Dedup(record)
        self.broker = Broker(f"i{self.generation}", self.limits, record)
        self.reader = Reader(Source(self.make_source()), self.broker, lock, identity, dedup, record.mark)
        self.checkpointer = Checkpointer(self.disk, self.broker, lock, identity, dedup, record, clock=lambda: self.now)
        self.master = Master(
            self.broker,
            identity,
            lock=lock,
            next_failed=record.next_failed,
            clock=lambda: self.now,
            run="run",
            incarnation=f"i{self.generation}",
        )
        self.service = self.master.service
        self.newest = {}
        self.source_failed = False
        self.mail = []

    @contextmanager
    def _thread(self, name: str) -> Iterator[None]:
        self.busy.add(name)
        try:
            yield
        finally:
            self.busy.discard(name)

    def _meanwhile(self) -> None:
        """One thread of the master is outside the lock: now and then, another one does
        something.
        """
        if self.lock.locked():
            raise Violation("the user's code, or the store, is called under the lock")
        if not self.faults or self.random.random() > 0.03:
            return
        name = self.random.choice(["service", "reader", "checkpointer", "clock"])
        if name in self.busy:
            return
        if name == "reader":
            self.read()
        elif name == "checkpointer":
            self.checkpoint()
        elif name == "clock":
            self.pass_time(self.random.choice([0.1, 3.0, 90.0]))
        elif live := [slave for slave in self.slaves if slave.alive]:
            slave = self.random.choice(live)
            # Often enough for a batch to be handed out, run and reported while the other thread
            # thinks of one job.
            for _ in range(self.random.choice([1, 1, 5])):
                for _ in range(3):
                    self.work(slave)
                self.post(slave)

    def _check_mark(self, before) -> None:
        """The durable mark never moves back and never passes a job that is neither settled nor
        parked.
        """
        if self.disk.mark is None:
            if before is not None:
                raise Violation("the mark was lost")
            return
        mark = keys.decode(self.disk.mark)
        if before is not None and keys.decode(before) > mark:
            raise Violation(f"the mark moved back from {before} to {mark}")
        held = Counter(self._plain(job) for job in self.disk.parked.values())
        held.update((keys.decode(job.key), pickle.loads(job.payload)) for job in self.disk.failed.values())
        for row, count in Counter(row for row in self.rows if row[0] <= mark).items():
            if self.ledger[row] + held[row] < count:
                raise Violation(f"the mark {mark} passed {row}, which ran {self.ledger[row]} of {count} times")

    @staticmethod
    def _plain(job: ParkedJob):
        return keys.decode(job.key), pickle.loads(job.payload)

    def _check_caps(self) -> None:
        queued = self.broker.intake.queued
        if queued > self.limits.size:
            raise Violation(f"{queued} jobs are queued, --size allows {self.limits.size}")
        # What was read since the watermark is within the span. Nothing is read while --size jobs
        # are parked, and those that were read before that may be parked, too: another span of them.
        parked = len(self.broker.parking)
        if parked > self.limits.size + self.limits.span:
            raise Violation(f"{parked} jobs are parked, --size allows {self.limits.size}, --span {self.limits.span}")
        returned = self.broker.redelivery.jobs
        if returned > parked + self.limits.span:
            raise Violation(f"{returned} jobs wait to be handed out again, {parked} parked, --span {self.limits.span}")
        if self.broker.intake.span > self.limits.span:
            raise Violation(f"the span is {self.broker.intake.span}")

    # -- the slaves --------------------------------------------------------------------------------

    def add_slave(self) -> None:
        self.born += 1
        self.slaves.append(SimSlave(f"s{self.born}"))

    def greet(self, slave: SimSlave) -> None:
        answer = self.service.hello(
            {
                "protocol": PROTOCOL, "session": slave.id, "name": slave.id, "workers": 2, "slots": 2,
                "held": slave.in_flight.tokens, "offers": slave.in_flight.offers, "run": "run",
            }
        )  # fmt: skip
        if not answer["ok"]:
            raise Violation(answer["why"])
        if self.faults and self.random.random() < 0.05:
            return  # the welcome is lost: the slave says hello again
        former = slave.in_flight.tokens
        for token, index, new in answer["taken"]:
            self.taken += 1
            self.newest[self.broker.leases[new].batch.first] = new
            slave.in_flight.adopt(token, index, new)
        if slave.incarnation != self.generation:
            for held in slave.in_flight.void(former):
                if len(held.heirs) < held.lent.count:
                    self._recall(slave, held, 0)
        else:
            slave.in_flight.unanswered()
        slave.greeted = slave.incarnation = self.generation

    @staticmethod
    def _recall(slave: SimSlave, held: HeldBatch, keep: int) -> None:
        """What the pool does: a job that runs is not given back, and a call runs all of its
        jobs.
        """
        held = held.origin or held
        work = slave.work.get(held)
        if work is not None and not held.end:
            running = (len(work.jobs) if held.together else work.at + 1) if work.begun else 0
            slave.in_flight.gave_back(held, max(keep, running))

    def post(self, slave: SimSlave) -> None:  # noqa: C901, PLR0912  # each fault is a branch
        """Exchange with the master; with faults, requests and answers get lost, or come late and
        twice.
        """
        r = self.random
        if slave.greeted != self.generation:
            self.greet(slave)
            if slave.greeted != self.generation:
                return
        reports = slave.in_flight.reports()
        want = (2, r.choice([1, 1, 2, 5, 20]), r.choice([0, 0, 3]), "")
        wire = [report.to_wire() for report in reports]
        if self.faults and r.random() < 0.1:
            if r.random() < 0.5:
                with self._thread("service"):
                    self.service.exchange(slave.id, wire, want)  # the answer is lost, and the connection with it
            slave.greeted = 0
            return
        if self.faults and r.random() < 0.1:
            self.mail.append((slave.id, wire))  # a copy arrives again, some time
        known = self.broker.slaves.get(slave.id)
        held = known is not None and self.broker.hand_out.asks_all_back(known)
        with self._thread("service"):
            answer = Answer.from_wire(self.service.exchange(slave.id, wire, want))
        self.took(slave, answer, held=held)
        self._work_on(slave)
        if answer.state == "unknown":
            slave.greeted = 0
            return
        if answer.state in ("over", "leave"):
            slave.alive = False
            self.service.bye(slave.id)
            return
        if answer.state == "drain":
            for batch in list(slave.work):
                self._recall(slave, batch, 0)
        self._check_newest(reports, answer)
        slave.in_flight.answered()
        for held in slave.in_flight.void(answer.stale):
            self._recall(slave, held, 0)
        for lent in answer.batches:
            jobs = pickle.loads(bytes(lent.blob))
            jobs = [pickle.loads(job) for job in jobs] if lent.separate else jobs
            held = slave.in_flight.take(lent._replace(blob=b""))
            held.together = self.together
            slave.work[held] = Work(jobs)
            # It is lost already, if the master took very long to answer.
            lease = next((one for one in self.broker.leases if one.token == lent.token), None)
            for index in range(lent.count if lease is not None else 0):
                self.newest[lease.batch.first + index] = lent.token
        for token, index, number in answer.tickets:
            slave.in_flight.ticket(token, index, number)
        for token, keep in answer.recalls:
            held = slave.in_flight.by_token(token)
            if held is not None:
                self._recall(slave, held, keep)

    def took(self, slave: SimSlave, answer: Answer, *, held: bool) -> None:
        """A slave has an answer; ``held`` says that it was to be given nothing."""

    def _work_on(self, slave: SimSlave) -> None:
        """The workers do not wait for the answer: what ends meanwhile has not been said yet."""
        for _ in range(self.random.choice([0, 0, 1, 5]) if self.faults else 0):
            self.work(slave)

    def _check_newest(self, reports, answer: Answer) -> None:
        live = set(self.newest.values())
        for report in reports:
            if report.token not in answer.stale and report.token not in live:
                raise Violation(f"a report of {report.token} counted, although all its jobs were handed out again")

    def work(self, slave: SimSlave) -> None:
        """Something happens in a worker: it begins a job, or ends the one that it is at."""
        for held, work in list(slave.work.items())[:2]:
            if held.end or work.at >= held.keep:
                if not held.end:
                    slave.in_flight.finish(held, work.at)
                del slave.work[held]
                continue
            if not work.begun:
                work.begun = True
                if self.random.random() < 0.3:
                    return
            if self.faults and not self.together and work.jobs[work.at] in self.slow and self.random.random() < 0.9:
                held.runs_long(work.at)
                return
            (self._call if self.together else self._run)(slave, held, work)
            work.begun = self.random.random() < 0.7 and work.at < held.keep and not held.end
            return

    def _lose_workers(self, slave: SimSlave) -> None:
        """Kill all workers of a slave at once, as with the process that forks them."""
        running = [held for held, work in slave.work.items() if work.begun and not held.end]
        for held, work in slave.work.items():
            if not held.end:
                suspects = [work.at] if held in running else []
                slave.in_flight.crash(held, suspects, "killed together", beside=len(running))

    def _run(self, slave: SimSlave, held: HeldBatch, work: Work) -> None:
        payload = work.jobs[work.at]
        if self.faults and self.random.random() < 0.01:
            self._lose_workers(slave)
            return
        if payload in self.deadly or (self.faults and self.random.random() < 0.02):
            slave.in_flight.crash(held, [work.at], "killed")
        elif payload in self.hanging:
            slave.in_flight.crash(held, [work.at], "too long", timed_out=True)
        else:
            if payload in self.bad or (self.faults and self.random.random() < 0.05):
                held.fail(Failure(work.at, "ValueError", "bad", "Traceback"))
            elif payload in self.skipped:
                held.fail(Failure(work.at, "Skip", "", "", FailureKind.SKIP))
                self.ledger[self._key(payload), payload] += 1
            else:
                self.ledger[self._key(payload), payload] += 1
            work.at += 1
            slave.in_flight.progress(held, work.at)

    def _call(self, slave: SimSlave, held: HeldBatch, work: Work) -> None:
        """All jobs of a batch in one call, that succeeds or fails as a whole."""
        jobs, indices = work.jobs[: held.keep], list(range(held.keep))
        if self.deadly.union(self.hanging).intersection(jobs):
            slave.in_flight.crash(held, indices, "killed")
        elif self.bad.intersection(jobs) or (self.faults and self.random.random() < 0.05):
            failure = Failure(0, "ValueError", "bad", "Traceback")
            if len(jobs) > 1:
                slave.in_flight.raised(held, indices, failure)
            else:
                held.fail(failure)
                work.at = 1
        else:
            for payload in jobs:
                self.ledger[self._key(payload), payload] += 1
            work.at = held.keep

    def _key(self, payload):
        return next((row[0] for row in self.all_rows() if row[1] == payload), None)

    def all_rows(self):
        return self.rows + self.former

    former: list = []  # noqa: RUF012  # replaced on the instance when rows change

    # -- time --------------------------------------------------------------------------------------

    def step(self) -> None:
        """One random thing happens."""
        r = self.random
        live = [slave for slave in self.slaves if slave.alive]
        what = r.random()
        if what < 0.30 and live:
            self.work(r.choice(live))
        elif what < 0.55 and live:
            self.post(r.choice(live))
        elif what < 0.70:
            self.read()
        elif what < 0.80:
            self.checkpoint()
        elif what < 0.88:
            self.pass_time(r.choice([0.1, 1.0, 3.0, 30.0, 90.0]))
        elif what < 0.92 and len(live) < 4:
            self.add_slave()
        elif what < 0.95 and live:
            slave = r.choice(live)
            slave.alive = False
            self.service.closed(slave.id)
        elif what < 0.97 and self.mail:
            session, wire = self.mail.pop(r.randrange(len(self.mail)))
            with self._thread("service"):
                self.service.exchange(session, wire, (0, 1, 0, ""))
        elif what < 0.985:
            self.disk.broken = r.random() < 0.3
        else:
            self.disk.broken = False
            self.change_rows()
            self.start_master()
        self._check_caps()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        with self._thread("clock"):
            self.broker.tick(self.now)
            self.master.reports.fail_doomed()
            self.broker.recalls.ask_back()

    def read(self) -> None:
        if self.reader.done or self.source_failed:
            return
        try:
            with self._thread("reader"):
                self.reader.step()
        except OSError:
            self.source_failed = True  # what was read is finished; the next master reads on

    def checkpoint(self) -> None:
        try:
            with self._thread("checkpointer"):
                self.checkpointer.checkpoint()
        except StateUnwritable:
            self.broker.pause("full")
        else:
            self.broker.pause("")

    def change_rows(self) -> None:
        """While no master runs, rows above the watermark appear, vanish and change."""
        r = self.random
        if not self.takes_last or r.random() < 0.5:
            return
        mark = keys.decode(self.disk.mark) if self.disk.mark is not None else None
        rows = []
        self.former = self.former + self.rows
        fresh = 1000 * (self.generation + 1)
        for key, payload in self.rows:
            above = mark is None or key > mark
            chance = r.random()
            if above and chance < 0.03:
                continue
            if above and chance < 0.06:
                fresh += 1
                rows.append((key, fresh))
            else:
                rows.append((key, payload))
            if above and chance > 0.97:
                fresh += 1
                rows.append((key, fresh))
        self.rows = rows

    def drain(self) -> None:
        """The faults stop: the run has to end, in a bounded number of steps."""
        self.faults = False
        self.disk.broken = False
        if self.source_failed:
            self.start_master()
        self.slaves = [slave for slave in self.slaves if slave.alive and self.random.random() < 0.5]
        self.add_slave()
        ticks = 1
        for _ in range(5000):
            # While nobody has work, the run waits for a back-off or for a lease: there is nothing
            # to see in between.
            ticks = 1 if any(slave.work for slave in self.slaves) else min(2 * ticks, 60)
            for _ in range(ticks):
                self.now += 0.5
                self.broker.tick(self.now)
            self.master.reports.fail_doomed()
            self.broker.recalls.ask_back()
            self.read()
            self.checkpoint()
            for slave in self.slaves:
                for _ in range(30):
                    if not slave.work:
                        break
                    self.work(slave)
                self.post(slave)
            self._check_caps()
            if self.disk.finished:
                return
        raise Violation(f"the run does not end: {list(self.broker.leases)} {self.broker.counts()}")

    def check_end(self) -> None:
        """Nothing was lost: every row was run as often as it stands in the source, or is written
        down as failed.
        """
        failed = Counter((keys.decode(job.key), pickle.loads(job.payload)) for job in self.disk.failed.values())
        for row, count in Counter(self.rows).items():
            if self.ledger[row] + failed[row] < count:
                raise Violation(f"lost: {row} ran {self.ledger[row]} and failed {failed[row]} of {count} times")
        self._check_attempts()
        if self.disk.parked:
            raise Violation("the run is over, and jobs are still parked")
        mark = self.disk.mark
        if self.rows and (mark is None or keys.decode(mark) != self.rows[-1][0]):
            raise Violation(f"the run is over, and its mark is {mark}")

    def _check_attempts(self) -> None:
        for job in self.disk.failed.values():
            errors = sum(not attempt.crash for attempt in job.attempts)
            crashes = len(job.attempts) - errors
            if errors != self.limits.retries + 1 and crashes < self.limits.crashes and job.type != "SlaveLost":
                raise Violation(f"{job.key} failed after {errors} errors and {crashes} crashes")
