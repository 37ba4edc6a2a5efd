"""The master of a simulated fleet: its real parts, called one after the other, and what each call
costs.

Broker, dispatch, reports, service, reader, checkpointer, status and the state file are the
product's own, put together as ``taskmaster.master.run`` does it, without its threads. An exchange
crosses a real connection of this machine, with the product's own frames. What is measured is
processor time, so that other work on the machine changes little.
"""

from __future__ import annotations

import gc
import select
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.checkpointer import INTERVAL_SECONDS, LONGEST_REST_SECONDS, REST_FACTOR, Checkpointer
from taskmaster.master.completion import Completion
from taskmaster.master.dispatch import Dispatch
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.reader_by_turns import ReaderByTurns
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.reports import Reports
from taskmaster.master.run_details import RunDetails
from taskmaster.master.run_status import RunParts, RunStatus
from taskmaster.master.service import Service
from taskmaster.master.skew import Skew
from taskmaster.master.steer_service import SteerService
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import Job
from taskmaster.runtime.garbage import Collector
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import frame

ROWS = 1000  # of a key range


class Ranges:
    """Key ranges, drawn as they are read and parked before they are handed out, as those of
    ``taskmaster.postgres`` are.

    Args:
        count: How many there are.
    """

    parked = True

    def __init__(self, count: int) -> None:
        self._count = count

    def iterate(self, last: Any) -> Iterator[Job]:
        """Yield the ranges after one."""
        for number in range(0 if last is None else last[1] // ROWS, self._count):
            borders = (number * ROWS, (number + 1) * ROWS)
            yield Job(borders, borders)

    def position(self, key: Any) -> float:
        """Return which fraction of the ranges ends at a key."""
        return float(key[1] if type(key) is tuple else key) / (ROWS * self._count)

    def extent(self, _: Any) -> float:
        """Return which fraction of the whole a range is."""
        return 1 / self._count


class Rows(Ranges):
    """The same source as plain rows, which are parked only when they run for long."""

    parked = False

    def iterate(self, last: Any) -> Iterator[int]:  # type: ignore[override]
        """Yield the rows after one."""
        yield from range(0 if last is None else last + 1, self._count)


@dataclass
class Costs:
    """What the master has spent, by what it was for.

    Attributes:
        seconds: Processor seconds.
        calls: How often.
        longest: The longest single call.
    """

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    longest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, name: str, seconds: float) -> None:
        """Note a call."""
        self.seconds[name] += seconds
        self.calls[name] += 1
        self.longest[name] = max(self.longest[name], seconds)

    @property
    def whole(self) -> float:
        """All that was spent; what is inside of something else is not counted twice."""
        return sum(seconds for name, seconds in self.seconds.items() if name not in ("lock", "garbage"))


class TimedLock:
    """The master's lock, with the time for which it is held; by a clock that costs little itself.

    Args:
        costs: Are told of it.
    """

    def __init__(self, costs: Callable[[], Costs]) -> None:
        self._costs = costs
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._costs().add("lock", time.perf_counter() - self._began)


class Wire:
    """One connection of this machine, over which all exchanges go, as each slave's does over its
    own.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._slave, self._master = Channel(near), Channel(far)
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        if self._poll is not None:
            self._poll.register(self._master.fileno(), select.EPOLLIN)

    def call(self, method: Callable[..., Any], *args: Any) -> tuple[Any, float]:
        """Call a method of the service as a slave does; give the answer, and the processor time of
        the master's side.
        """
        self._slave.send(("queue", method.__name__, args, {}))
        began = time.thread_time()
        if self._poll is not None:
            self._poll.poll()
        _, _, sent, _ = self._master.recv()
        self._master.send_frame(frame(("#RETURN", method(*sent))))
        spent = time.thread_time() - began
        return self._slave.recv()[1], spent

    def close(self) -> None:
        """Close both ends."""
        self._slave.close()
        self._master.close()
        if self._poll is not None:
            self._poll.close()


class SimulatedMaster:
    """One start of the master.

    Args:
        path: Its state file.
        jobs: What it reads.
        limits: The caps.
        number: Of this start.
        now: Gives the virtual time.
        costs: What it spends is added there.
    """

    def __init__(self, path: Path, jobs: Ranges, limits: Limits, number: int, now: Callable[[], float]) -> None:
        self.costs = Costs()
        began = time.thread_time()
        lock: Any = TimedLock(lambda: self.costs)
        self.store = SqliteStore.open(path, RunIdentity({"jobs": "fleet"}), "fleet")
        record = self.store.load()
        identity, dedup, throttle = JobIdentity(), Dedup(record), Throttle()
        self.broker = broker = Broker(f"i{number}", limits, record)
        guarded = (broker, lock)
        answering = (broker, threading.Lock())  # an exchange as a whole is timed, and not slowed by the timing
        source = Source(jobs)
        completion = Completion(source, record)
        record = record.without_jobs()
        checks = JobChecks(identity)
        steers = SteerService(*guarded, throttle, record, apply=lambda *_: None)
        self._checkpointer = Checkpointer(self.store, *guarded, identity, dedup, record, now, completion, steers=steers)
        self._reader = ReaderByTurns(source, *guarded, identity, dedup, record.mark, checks=checks)
        parts = RunParts(*guarded, self._reader, source, throttle, completion, record, checks, steers)
        self._status = RunStatus(parts, target="fleet", total=None, facts=dict)
        reports = Reports(*answering, identity, record.next_failed, throttle)
        steers.connect(lambda: None, None, lambda: None, None, reports.figures)  # type: ignore[arg-type]
        self.run = record.id
        dispatch = Dispatch(*answering, reports, took=lambda: None, checks=checks, throttle=throttle, clock=now)
        self.service = Service(
            *answering, dispatch, reports, run=record.id, incarnation=f"i{number}", took=lambda: None, status=dict,
            skew=Skew(code="c", callback="fleet"), clock=now,
        )  # fmt: skip
        self._details = RunDetails(
            parts, checkpointer=self._checkpointer, reports=reports, refusals=int, incarnation=f"i{number}", resume=""
        )
        self._steers, self._lock, self._now = steers, lock, now
        self._reader.prepare()
        self._collecting, self._collector = 0.0, Collector()
        self._collector.start(len(broker.parking))
        gc.callbacks.append(self._note_collection)
        self._wire = Wire()
        self.costs.add("start", time.thread_time() - began)

    def close(self) -> None:
        """End it as kill -9 would: nothing more is written."""
        self._collector.stop()
        gc.callbacks.remove(self._note_collection)
        self._wire.close()
        self.store.close()

    def call(self, method: str, *args: Any) -> tuple[Any, float]:
        """Call the service; give the answer, and what it has cost."""
        answer, spent = self._wire.call(getattr(self.service, method), *args)
        self.costs.add(method, spent)
        return answer, spent

    @property
    def has_lost(self) -> bool:
        """Whether jobs that were lost with their slaves are not out again."""
        return any(batch.losses for batch in self.broker.redelivery)

    def closed(self, session: str) -> float:
        """Note that a connection has ended; give what it has cost."""
        return self._timed("closed", self.service.closed, session)

    def tick(self) -> float:
        """Do what the run does several times a second; give what it has cost."""
        return self._timed("tick", self._tick)

    def checkpoint(self) -> tuple[float, float]:
        """Write a checkpoint; give what it has cost, and the pause after it."""
        spent = self._timed("checkpoint", self._checkpointer.checkpoint)
        return spent, max(INTERVAL_SECONDS, min(LONGEST_REST_SECONDS, REST_FACTOR * spent))

    def read(self) -> tuple[float, bool]:
        """Read a chunk; give what it has cost, and whether there was room for it."""
        more = [False]

        def step() -> None:
            more[0] = self._reader.step()

        return self._timed("read", step), more[0]

    def _timed(self, name: str, call: Callable[..., Any], *args: Any) -> float:
        began = time.thread_time()
        call(*args)
        spent = time.thread_time() - began
        self.costs.add(name, spent)
        return spent

    def _tick(self) -> None:
        code = self._status.condition.code
        with self._lock:
            self._steers.tick(code)
            self._details.tick(code)
            self.broker.tick(self._now())
            self.broker.over, self.broker.at_rest  # noqa: B018  # as the run asks
        self._status.snapshot()
        self._collector.tick(max(len(self.broker.leases), len(self.broker.parking)), self._now())

    def _note_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self.costs.add("garbage", time.thread_time() - self._collecting)
