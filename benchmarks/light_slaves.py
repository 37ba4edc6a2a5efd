"""How many slaves one master can serve: a real ``tm-master``, and slaves that are real in all but
their workers.

Each light slave has a connection of its own and behaves as the supervisor of ``tm-slave
--processes=1`` does, with the product's own MasterLink, InFlight and BatchSize; only its worker is
a clock: a job is 50 ms of sleep, and takes no process. All of them share one thread of this
process, so that what they cost leaves the master its core::

    pip install psutil
    python benchmarks/light_slaves.py --slaves=256 --slaves=1000

Two masters are measured for each number of slaves: one that always has jobs, and one whose source
has yielded a few and then waits, so that all slaves ask in vain. Afterwards both are let run to
their end, and every job that their sources yielded must have been run. Exits with 1 if one was not,
or if a slave lost its connection or did not hear of the end.
"""

from __future__ import annotations

import heapq
import json
import os
import pickle
import re
import resource
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil

from taskmaster.model import Answer, AnswerState, WireBatch
from taskmaster.slave.master_link import MasterLink, SlaveFacts, Welcome
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.transport.address import Address

IDEAL = 20  # jobs a second that a worker can do at most: each sleeps for 50 ms
JOB = 0.0501  # seconds that such a job takes; a sleep is never shorter than it was asked to be, and always a bit longer
QUICK = 1e-6  # and at the end, when all that is queued still has to be run
AHEAD = 2  # batches of a worker: one that runs, and the one behind it
LOOK = 0.25  # seconds between two looks at how far the worker has got, until the master says how often
CONNECTING = 8  # slaves that connect at once
SETTLE = 3.0  # seconds until batches have grown to their size, and idle slaves ask as seldom as they will
PATIENCE = 120.0  # seconds for anything that should happen at all
OPEN_FILES = 1024  # what most systems let a process have open; the master has to do with it

TARGET = """
import itertools
import pathlib
import time

HERE = pathlib.Path(__file__).parent


def busy():
    for number in itertools.count():
        if number % 512 == 0 and (HERE / "enough").exists():
            break
        yield number
    (HERE / "yielded").write_text(str(number))


def idle():
    yield from range(10)
    while not (HERE / "enough").exists():
        time.sleep(0.1)
    (HERE / "yielded").write_text("10")
"""


@dataclass
class Batch:
    """A batch in a slave's hands; its jobs before ``held.keep`` are run, one after the other."""

    held: HeldBatch
    jobs: list[int]
    arrived: float
    began: float | None = None
    each: float = JOB

    def begin(self, at: float, each: float) -> None:
        """Start with the first job."""
        self.began, self.each = at, each

    def position(self, now: float) -> int:
        """The job that runs; 0 also where none does."""
        return 0 if self.began is None else min(self.held.keep, int((now - self.began) / self.each))

    @property
    def end(self) -> float:
        """When it is done."""
        return float("inf") if self.began is None else self.began + self.held.keep * self.each


class LightSlave:
    """What ``taskmaster.slave.supervisor.Supervisor`` does with one worker, driven from outside.

    Args:
        crowd: all of them.
    """

    def __init__(self, crowd: Crowd) -> None:
        self.over = False
        self.due = 0.0
        self.ended_jobs = 0
        self._crowd = crowd
        self._in_flight = InFlight()
        self._batch_size = BatchSize()
        self._batches: deque[Batch] = deque()
        self._ask_at = self._looked_at = self._posted_at = 0.0
        self._asked = False
        self._look_every = LOOK
        self.link = MasterLink(crowd.address, lambda: crowd.key, SlaveFacts(1, 1), crowd.selector, self)

    def held(self) -> tuple[list[str], list[tuple[str, int, int]]]:
        """Return the tokens of the batches; jobs are short: no other master takes one over."""
        return self._in_flight.tokens, []

    def buffer(self, size: int) -> None:
        """Receive batches anywhere."""

    def turn(self, now: float) -> float:
        """Do what is due; gives the time of the next turn."""
        if self.over:
            return float("inf")
        self._work(now)
        if self.link.up:
            self._exchange(now)
        due = self._batches[0].end if self._batches else float("inf")
        if self.link.up:
            due = min(due, self._posted_at + self.link.lease / 6)
            if self._batches:
                due = min(due, self._looked_at + self._look_every, self._posted_at + self._look_every)
            if len(self._batches) < AHEAD:
                due = min(due, self._ask_at)
        return due

    def jobs_run(self, now: float) -> int:
        """How many jobs it has run by now."""
        self._work(now)
        return self.ended_jobs + (self._batches[0].position(now) if self._batches else 0)

    def _work(self, now: float) -> None:
        """What the worker has done by now. It runs on its own: that this is called late does not
        hold it up.
        """
        while self._batches and self._batches[0].end <= now:
            batch = self._batches.popleft()
            stop, end = batch.held.keep, batch.end
            self._crowd.ledger.append(batch.jobs[:stop])
            self.ended_jobs += stop
            self._batch_size.note(stop, stop * batch.each)
            self._in_flight.finish(batch.held, stop)
            if self._batches:
                self._batches[0].begin(max(end, self._batches[0].arrived), self._crowd.job)

    def _look(self, now: float) -> None:
        self._looked_at = now
        if self._batches:
            self._in_flight.progress(self._batches[0].held, self._batches[0].position(now))

    def _exchange(self, now: float) -> None:
        """Report and ask, if there is a reason to."""
        free = AHEAD - len(self._batches)
        urgent = self._in_flight.urgent()
        ask = free > 0 and (now >= self._ask_at or urgent)
        look = len(self._batches) > 0 and now >= self._looked_at + self._look_every
        if look:
            self._look(now)
        due = self._posted_at + (self._look_every if self._batches else self.link.lease / 6)
        if ask or urgent or (look and self._in_flight.news()) or now >= due:
            if not look and now >= self._looked_at + self._look_every / 2:
                self._look(now)
            self._posted_at = now
            self._asked = ask
            self.link.post(self._in_flight.reports(), self._batch_size.want(free if ask else 0))

    def answered(self, answer: Answer) -> None:
        """Take the answer to an exchange."""
        now = time.monotonic()
        self._crowd.answered(self, now - self._posted_at)
        self._work(now)
        self._in_flight.answered()
        for held in self._in_flight.void(answer.stale):
            self._recall(held, 0, now)
        if answer.state in (AnswerState.OVER, AnswerState.LEAVE):
            self.over = True
            self.link.bye()
            self.link.close()
            return
        for lent in answer.batches:
            self._give(lent, now)
        for token, keep in answer.recalls:
            asked = self._in_flight.by_token(token)
            if asked is not None:
                self._recall(asked, keep, now)
        if answer.batches:
            self._ask_at = now
        elif self._asked:
            self._ask_at = now + answer.pause
            return
        self._look_every = answer.pause

    def _give(self, lent: WireBatch, now: float) -> None:
        jobs = pickle.loads(lent.blob)
        if lent.separate:
            jobs = [pickle.loads(job) for job in jobs]
        self._batches.append(Batch(self._in_flight.take(lent._replace(blob=b"")), jobs, now))
        if len(self._batches) == 1:
            self._batches[0].begin(now, self._crowd.job)

    def _recall(self, held: HeldBatch, keep: int, now: float) -> None:
        """Give back the jobs from ``keep`` on that have not been started."""
        for batch in self._batches:
            if batch.held is held:
                started = 0 if batch.began is None else batch.position(now) + 1
                held.keep = min(held.keep, max(keep, started))

    def entered(self, _: Welcome, another: bool) -> None:
        """Go on with a master that has said welcome."""
        self._crowd.entered(self)
        self._ask_at = 0.0
        if another:
            for held in self._in_flight.void():
                self._recall(held, 0, time.monotonic())
        else:
            self._in_flight.unanswered()

    def declined(self, why: str) -> bool:
        """End: the real slave would go on in smaller steps."""
        raise SystemExit(f"the master could not do an exchange: {why}")


class Crowd:
    """All light slaves of one master, and the loop that drives them.

    Args:
        number: how many.
        address: of the master.
        key: its key.

    Attributes:
        ledger: the jobs that were run, batch by batch.
        job: seconds that a job takes.
        exchanges: how many were answered.
        delays: what each of them took, in seconds.
        welcomed: slaves that the master has let in.
    """

    def __init__(self, number: int, address: Address, key: str) -> None:
        self.address = address
        self.key = key
        self.selector = selectors.DefaultSelector()
        self.ledger: list[list[int]] = []
        self.job = JOB
        self.exchanges = 0
        self.delays: list[float] = []
        self.welcomed = 0
        self.slaves = [LightSlave(self) for _ in range(number)]
        self._begun = 0
        self._woken: list[LightSlave] = []
        self._due: list[tuple[float, int, LightSlave]] = []
        self._turns = 0
        self._checked_at = 0.0

    def answered(self, slave: LightSlave, delay: float) -> None:
        """The master has answered an exchange."""
        self.exchanges += 1
        self.delays.append(delay)
        self._woken.append(slave)

    def entered(self, slave: LightSlave) -> None:
        """The master has said welcome."""
        self.welcomed += 1
        self._woken.append(slave)

    def jobs_run(self) -> int:
        """How many jobs have been run by now."""
        now = time.monotonic()
        return sum(slave.jobs_run(now) for slave in self.slaves)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Drive the slaves for so long; True as soon as ``until`` is."""
        deadline = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now >= deadline:
                return False
            if now >= self._checked_at + 1.0:
                self._check(now)
            self._connect(now)
            while self._due and self._due[0][0] <= now:
                due, _, slave = heapq.heappop(self._due)
                if due == slave.due:
                    self._turn(slave, now)
            pause = min(self._due[0][0] if self._due else deadline, deadline, self._checked_at + 1.0)
            for key, _ in self.selector.select(max(0.0, pause - time.monotonic())):
                key.data()
            woken, self._woken = self._woken, []
            for slave in woken:
                self._turn(slave, time.monotonic())
        return True

    def close(self) -> None:
        """Hang up."""
        for slave in self.slaves:
            if not slave.over:
                slave.link.close()
        self.selector.close()

    def _turn(self, slave: LightSlave, now: float) -> None:
        slave.due = slave.turn(now)
        self._turns += 1
        heapq.heappush(self._due, (slave.due, self._turns, slave))

    def _connect(self, now: float) -> None:
        """A few at a time, as they would come, and so that the batches of all do not end at the
        same moment.
        """
        while self._begun < min(len(self.slaves), self.welcomed + CONNECTING):
            self.slaves[self._begun].link.keep_up(now)
            self._begun += 1

    def _check(self, now: float) -> None:
        """Try again where connecting failed, and notice connections that are no more."""
        self._checked_at = now
        for slave in self.slaves[: self._begun]:
            if not slave.over:
                if slave.link.welcome is not None and slave.link.lost_at is not None:
                    raise click.ClickException(f"A slave lost its connection: {slave.link.problem}")
                slave.link.keep_up(now)


@dataclass(frozen=True)
class Window:
    """What was measured in one window.

    Attributes:
        seconds: its length.
        jobs: jobs run.
        exchanges: answered in it.
        master: seconds of CPU that the master used,
        slaves: and all light slaves together.
        median: half of the answers took no longer, in milliseconds,
        slow: and 99 of 100 no longer than this.
        memory: resident memory of the master at its end, in millions of bytes.
    """

    seconds: float
    jobs: int
    exchanges: int
    master: float
    slaves: float
    median: float
    slow: float
    memory: float


@dataclass(frozen=True)
class Result:
    """What was found for one number of slaves; ``lost``, ``twice`` and ``untold`` are of both
    masters.
    """

    slaves: int
    connected: float
    busy: Window
    idle: Window
    lost: int
    twice: int
    untold: int


def measure(crowd: Crowd, master: psutil.Process, seconds: float) -> Window:
    """Watchdog for so many seconds."""

    def now() -> tuple[float, int, int, float, float]:
        times = master.cpu_times()
        cpu = times.user + times.system
        return time.monotonic(), crowd.jobs_run(), crowd.exchanges, cpu, time.process_time()

    crowd.delays.clear()
    before = now()
    crowd.run(seconds)
    elapsed, jobs, exchanges, cpu, own = (after - b for after, b in zip(now(), before, strict=True))
    delays = sorted(crowd.delays) or [0.0]
    median, slow = (1000 * delays[int(share * (len(delays) - 1))] for share in (0.5, 0.99))
    return Window(elapsed, int(jobs), int(exchanges), cpu, own, median, slow, master.memory_info().rss / 1e6)


@contextmanager
def started_master(
    directory: Path, function: str, key: str, *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], Address]]:
    """A master with its state in a directory of its own; ended if it has not ended by itself."""
    (directory / "crowd.py").write_text(TARGET)
    command = [str(Path(sys.executable).with_name("tm-master")), f"crowd.py:{function}", "--host=127.0.0.1:0", *options]
    # This process needs many more descriptors than the master is to have.
    limited = ["/bin/sh", "-c", f'ulimit -Sn {OPEN_FILES} && exec "$@"', "sh", *command]
    environment = {**os.environ, "TASKMASTER_KEY": key, "TASKMASTER_HOME": str(directory)}
    said = directory / "said"
    with said.open("wb") as file:
        master = subprocess.Popen(limited, cwd=directory, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 20.0
        while (found := re.search(r"running on '(.+):(\d+)'", said.read_text())) is None:
            if master.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"The master did not start; it said:\n{said.read_text()}")
            time.sleep(0.05)
        yield master, Address(found[1], int(found[2]))
    finally:
        if master.poll() is None:
            master.kill()
        master.wait()


def watch(number: int, function: str, seconds: float) -> tuple[float, Window, int, int, int]:
    """Measure one master with so many slaves.

    Returns:
        How long it took until all were connected and each had been served, the window, jobs that
        nobody ran, jobs that were run twice, slaves that did not hear of the end.
    """
    key = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="light-slaves-") as name:
        directory = Path(name)
        with started_master(directory, function, key) as (master, address):
            click.echo(f"{number} slaves, {function} master: process {master.pid}", err=True)
            crowd = Crowd(number, address, key)
            try:
                began = time.monotonic()
                if not crowd.run(PATIENCE, lambda: crowd.welcomed >= number):
                    why = next((slave.link.problem for slave in crowd.slaves if slave.link.problem), "no reason known")
                    raise click.ClickException(f"Only {crowd.welcomed} of {number} slaves could connect: {why}")
                served = set(crowd.slaves)

                def all_served() -> bool:
                    for slave in [slave for slave in served if slave.jobs_run(time.monotonic())]:
                        served.remove(slave)
                    return not served

                if function == "busy" and not crowd.run(PATIENCE, all_served):
                    raise click.ClickException(f"{len(served)} of {number} slaves were given no job.")
                connected = time.monotonic() - began
                crowd.run(SETTLE)
                window = measure(crowd, psutil.Process(master.pid), seconds)
                # The end, with all that it entails: what is queued still is run at once, and every
                # slave is told.
                crowd.job = QUICK
                (directory / "enough").touch()
                crowd.run(PATIENCE, lambda: all(slave.over for slave in crowd.slaves) or master.poll() is not None)
                untold = sum(not slave.over for slave in crowd.slaves)
            finally:
                crowd.close()
            code = master.wait(20.0)
            if code != 0:
                raise click.ClickException(f"The master ended with {code}:\n{(directory / 'said').read_text()}")
            yielded = int((directory / "yielded").read_text())
    ran = [job for jobs in crowd.ledger for job in jobs]
    different = set(ran)
    return connected, window, len(set(range(yielded)) - different), len(ran) - len(different), untold


def look_at(number: int, seconds: float) -> Result:
    """Measure with so many slaves."""
    connected, busy, *ends = watch(number, "busy", seconds)
    _, idle, *more = watch(number, "idle", seconds)
    return Result(number, connected, busy, idle, *(a + b for a, b in zip(ends, more, strict=True)))


ROWS: list[tuple[str, str, Callable[[Result], str]]] = [
    ("all connected and served after, s", "", lambda r: f"{r.connected:.1f}"),
    ("jobs a second", "", lambda r: f"{r.busy.jobs / r.busy.seconds:,.0f}"),
    ("of what the slaves can do", ">= 0.90", lambda r: f"{r.busy.jobs / r.busy.seconds / IDEAL / r.slaves:.3f}"),
    ("exchanges a second", "", lambda r: f"{r.busy.exchanges / r.busy.seconds:,.0f}"),
    ("answer after, ms: median", "", lambda r: f"{r.busy.median:.2f}"),
    ("answer after, ms: 99 %", "", lambda r: f"{r.busy.slow:.2f}"),
    ("master: CPU of a job, us", "", lambda r: f"{1e6 * r.busy.master / max(1, r.busy.jobs):.1f}"),
    ("master: CPU of an exchange, us", "", lambda r: f"{1e6 * r.busy.master / max(1, r.busy.exchanges):.0f}"),
    ("master: share of a core", "", lambda r: f"{r.busy.master / r.busy.seconds:.1%}"),
    ("master: resident memory, MB", "< 300", lambda r: f"{max(r.busy.memory, r.idle.memory):.0f}"),
    ("light slaves: share of a core", "", lambda r: f"{r.busy.slaves / r.busy.seconds:.1%}"),
    ("idle: exchanges a second", "", lambda r: f"{r.idle.exchanges / r.idle.seconds:,.0f}"),
    ("idle: CPU of an exchange, us", "", lambda r: f"{1e6 * r.idle.master / max(1, r.idle.exchanges):.0f}"),
    ("idle: master's share of a core", "< 5 %", lambda r: f"{r.idle.master / r.idle.seconds:.1%}"),
    ("jobs that nobody ran", "0", lambda r: f"{r.lost}"),
    ("jobs run twice", "", lambda r: f"{r.twice}"),
    ("slaves not told of the end", "0", lambda r: f"{r.untold}"),
]


def table(results: list[Result]) -> str:
    """The results for people."""
    lines = ["".join([f"{'slaves':36}{'wanted':>9}", *(f"{result.slaves:>10,}" for result in results)])]
    lines += [
        "".join([f"{name:36}{want:>9}", *(f"{show(result):>10}" for result in results)]) for name, want, show in ROWS
    ]
    return "\n".join(lines)


@click.command()
@click.option(
    "--slaves", type=click.IntRange(1), multiple=True, default=(256, 1000), show_default=True, help="How many."
)
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Length of a measurement.")
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON.")
def main(slaves: tuple[int, ...], seconds: float, as_json: bool) -> None:
    """Measure how many slaves one master can serve."""
    # Also then, the master that was started is to be ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results, failed = [], False
    for number in slaves:
        try:
            results.append(look_at(number, seconds))
        except click.ClickException as exc:
            exc.show()
            failed = True
    click.echo(json.dumps([asdict(result) for result in results]) if as_json else table(results))
    if failed or any(result.lost or result.untold for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
