"""The worker's loops over a socket pair, in this process."""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import taskmaster
from taskmaster.model import Failure, Report
from taskmaster.outcomes import LONGEST_RETRY_SECONDS
from taskmaster.slave.ipc.messages import Quit, RunBatch, to_plain
from taskmaster.slave.ipc.scoreboard import NOT_BEGUN, OPENING, SCOREBOARD_BYTES, Scoreboard
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool.shared_memory import make_memory
from taskmaster.slave.worker.callbacks import Callbacks, is_async
from taskmaster.slave.worker.event_loop import EventLoop
from taskmaster.slave.worker.message_sender import TRACEBACK_CHARACTERS
from taskmaster.slave.worker.worker import work
from taskmaster.transport.channel import Channel


class Bench:
    """A worker in a thread, and the supervisor's side of it."""

    def __init__(self, callbacks: Callbacks, **spec: int) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.channel.deadline(10)
        self.timeout: float | None = None
        memory = make_memory(SCOREBOARD_BYTES)
        self.scoreboard = Scoreboard(memory)
        worker_board = Scoreboard(memory)
        os.close(memory)
        self._theirs = Channel(theirs)
        buffers = memoryview(b"")
        self.problems: list[str] = []

        def run() -> None:
            self.problems, _ = work(self._theirs, worker_board, buffers, callbacks, WorkerSpec("", **spec), EventLoop())

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        self.hello = self.channel.recv()

    def send(
        self, region: int, jobs: list[Any], *, separate: bool = False, alone: bool = False, limit: int = -1
    ) -> None:
        blob = pickle.dumps([pickle.dumps(job) for job in jobs] if separate else jobs)
        self.send_blob(region, blob, len(jobs), separate=separate, alone=alone, limit=limit)

    def send_blob(self, region: int, blob: bytes, count: int, *, separate: bool, alone: bool, limit: int) -> None:
        self.scoreboard.prepare(region, count)
        if limit >= 0:
            self.scoreboard.lower(region, limit, count, several=False)
        self.channel.send(to_plain(RunBatch(region, separate, alone, self.timeout, blob)))

    def say(self) -> tuple[Any, ...]:
        kind, *fields = self.channel.recv()
        return (kind, *fields[:-1], *fields[-1]) if kind in ("failed", "raised") else (kind, *fields)

    def close(self) -> None:
        self.channel.send(to_plain(Quit(5.0)))
        self._thread.join(10)
        self.channel.close()
        self._theirs.close()
        assert not self._thread.is_alive()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches, and ends their workers."""
    made: list[Bench] = []

    def make(handle: Callable[[Any], Any], setup: Any = None, teardown: Any = None, **spec: Any) -> Bench:
        made.append(Bench(Callbacks(handle, setup, teardown), **spec))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def later(job: Any, seen: list[Any]) -> None:
    await asyncio.sleep(0)
    seen.append(job)


KINDS = {
    "one by one": {},
    "threads": {"threads": 3},
    "coroutines": {"concurrency": 3},
}


def handler(kind: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if kind != "coroutines":
        return function

    async def coroutine(job: Any) -> None:
        await asyncio.sleep(0)
        function(job)

    return coroutine


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_run_and_their_end_is_said(bench: Callable[..., Bench], kind: str) -> None:
    """Each job once, both regions, and the position is at the end."""
    seen: list[int] = []
    worker = bench(handler(kind, seen.append), **KINDS[kind])

    slots, several = (1, False) if kind == "one by one" else (3, True)

    assert worker.hello == ("ready", slots, several, False, kind == "coroutines")

    worker.send(0, [1, 2, 3])
    worker.send(1, [4, 5])
    ends = sorted(worker.say()[:3] for _ in range(2))

    assert ends == [("ended", 0, 3), ("ended", 1, 2)]
    assert sorted(seen) == [1, 2, 3, 4, 5]
    assert (worker.scoreboard.position(0), worker.scoreboard.position(1)) == (3, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_said_with_its_job(bench: Callable[..., Bench], kind: str) -> None:
    """The others run; the traceback begins at the user's code."""

    def handle(job: int) -> None:
        if job == 2:
            raise KeyError("no such row")

    worker = bench(handler(kind, handle), **KINDS[kind])
    worker.send(0, [1, 2, 3])
    said = [worker.say(), worker.say()]

    assert said[0][:5] == ("failed", 0, 1, "KeyError", "'no such row'")
    assert "taskmaster/slave" not in said[0][5]
    assert 'raise KeyError("no such row")' in said[0][5]
    assert said[1][:3] == ("ended", 0, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "exc", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda exc: type(exc).__name__
)
def test_whatever_is_raised_is_the_jobs_failure(bench: Callable[..., Bench], kind: str, exc: BaseException) -> None:
    """It does not end the worker."""

    def handle(job: int) -> None:
        if job == 1:
            raise exc

    worker = bench(handler(kind, handle), **KINDS[kind])
    worker.send(0, [1, 2])

    assert worker.say()[:4] == ("failed", 0, 0, type(exc).__name__)
    assert worker.say()[:3] == ("ended", 0, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_beyond_the_limit_are_not_started(bench: Callable[..., Bench], kind: str) -> None:
    """Also none at all."""
    seen: list[int] = []
    worker = bench(handler(kind, seen.append), **KINDS[kind])
    worker.send(0, [1, 2, 3, 4], limit=2)

    assert worker.say()[:3] == ("ended", 0, 2)

    worker.send(1, [5, 6], limit=0)

    assert worker.say()[:3] == ("ended", 1, 0)
    assert sorted(seen) == [1, 2]


def test_what_is_recalled_while_a_job_runs_is_not_started(bench: Callable[..., Bench]) -> None:
    """The job that runs is kept, the rest is given back."""
    running, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def handle(job: int) -> None:
        seen.append(job)
        running.set()
        go_on.wait(10)

    worker = bench(handle)
    worker.send(0, [1, 2, 3])
    running.wait(10)

    assert worker.scoreboard.running(0, 3, several=False) == [0]
    assert worker.scoreboard.lower(0, 0, 3, several=False) == 1

    go_on.set()

    assert worker.say()[:3] == ("ended", 0, 1)
    assert seen == [1]


def test_several_at_once_show_which_are_running(bench: Callable[..., Bench]) -> None:
    """One byte a job; what has ended out of order is seen too."""
    gates = [threading.Event() for _ in range(4)]
    begun = threading.Semaphore(0)

    def handle(job: int) -> None:
        begun.release()
        gates[job].wait(10)

    worker = bench(handle, threads=3)
    worker.send(0, [0, 1, 2, 3])
    for _ in range(3):
        begun.acquire(timeout=10)

    assert worker.scoreboard.running(0, 4, several=True) == [0, 1, 2]

    gates[1].set()
    begun.acquire(timeout=10)

    assert worker.scoreboard.running(0, 4, several=True) == [0, 2, 3]
    assert worker.scoreboard.ended_beyond(0, 0, 4) == (1,)
    assert worker.scoreboard.position(0) == 0
    assert worker.scoreboard.lower(0, 0, 4, several=True) == 4

    for gate in gates:
        gate.set()

    assert worker.say()[:3] == ("ended", 0, 4)


def test_a_batch_that_runs_alone_has_no_neighbour(bench: Callable[..., Bench]) -> None:
    """It waits for those before it, and those after it wait."""
    busy: list[int] = []
    most: list[tuple[int, int]] = []
    lock = threading.Lock()

    def handle(job: int) -> None:
        with lock:
            busy.append(job)
            most.append((job, len(busy)))
        time.sleep(0.002)
        with lock:
            busy.remove(job)

    worker = bench(handle, threads=4)
    worker.send(0, list(range(8)))
    worker.send(1, [100], alone=True)
    for _ in range(2):
        worker.say()
    worker.send(0, list(range(8)))
    worker.say()

    assert dict(most)[100] == 1


def explode() -> None:
    raise RuntimeError("will not be unpickled")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_cannot_be_unpickled_is_said_to_be(bench: Callable[..., Bench], kind: str) -> None:
    """Sent job by job, the one that cannot be unpickled fails alone."""
    seen: list[int] = []
    worker = bench(handler(kind, seen.append), **KINDS[kind])
    worker.send(0, [1, Bomb(), 3])

    assert worker.say() == ("unreadable", 0, "RuntimeError: will not be unpickled")

    worker.send(0, [1, Bomb(), 3], separate=True)

    assert worker.say()[:5] == ("failed", 0, 1, "RuntimeError", "will not be unpickled")
    assert worker.say()[:3] == ("ended", 0, 3)
    assert sorted(seen) == [1, 3]


def test_setup_and_teardown_surround_the_jobs(bench: Callable[..., Bench]) -> None:
    """Once each."""
    seen: list[Any] = []
    worker = bench(seen.append, lambda: seen.append("setup"), lambda: seen.append("teardown"))
    worker.send(0, [1])
    worker.say()
    worker.close()

    assert seen == ["setup", 1, "teardown"]

    worker.close = lambda: None  # type: ignore[method-assign]


def test_a_setup_that_raises_makes_the_worker_unusable(bench: Callable[..., Bench]) -> None:
    """With the user's traceback."""

    def setup() -> None:
        raise OSError("no database here")

    worker = bench(print, setup)

    assert worker.hello[:2] == ("cannot run", "setup")
    assert "no database here" in worker.hello[3]

    worker.channel.close()
    worker._theirs.close()
    worker.close = lambda: None  # type: ignore[method-assign]


def test_texts_of_failures_are_bounded(bench: Callable[..., Bench]) -> None:
    """A message of a megabyte, a deep traceback, and one that cannot be shown."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("not even that")

    def deep(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 1_000_000)
        deep(depth - 1)

    def handle(job: int) -> None:
        if job == 0:
            deep(200)
        raise Mute

    worker = bench(handle)
    worker.send(0, [0, 1])
    long, mute = worker.say(), worker.say()

    assert len(long[4]) <= 1024
    assert len(long[5]) <= TRACEBACK_CHARACTERS + 100
    assert mute[3].endswith("Mute")
    assert "cannot be shown" in mute[4]

    worker.say()


def test_a_fresh_region_has_not_begun() -> None:
    """Neither while it waits nor while it is unpickled."""
    memory = make_memory(SCOREBOARD_BYTES)
    scoreboard = Scoreboard(memory)
    os.close(memory)
    scoreboard.prepare(0, 5)

    assert scoreboard.heads[0][1] == NOT_BEGUN
    assert scoreboard.position(0) == 0
    assert scoreboard.running(0, 5, several=False) == []
    assert scoreboard.lower(0, 0, 5, several=False) == 0

    scoreboard.prepare(0, 5)
    scoreboard.heads[0][1] = OPENING

    assert scoreboard.opening(0)
    assert scoreboard.running(0, 5, several=False) == []


def test_coroutine_functions_are_recognised() -> None:
    """Also objects whose call is one."""

    class Called:
        async def __call__(self, job: Any) -> None:
            pass

    assert is_async(later)
    assert is_async(Called())
    assert not is_async(print)


class Odd(taskmaster.Retry):
    """A subclass that sets things by itself."""

    kind = "odd"

    def __init__(self, after: Any) -> None:
        Exception.__init__(self, "odd")
        if after != "none":
            self.after = after


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        *[(1, 1.0), (2.5, 2.5), (True, 1.0), ("3", 3.0), (None, -1.0), ("none", -1.0), ("soon", -1.0)],
        *[(float("nan"), -1.0), (float("inf"), -1.0), (-5, -1.0), (10**400, -1.0), (1e300, LONGEST_RETRY_SECONDS)],
    ],
)
def test_what_a_callback_says_is_made_what_a_report_can_say(after: Any, seconds: float) -> None:
    """Whatever a subclass of Retry does: the master takes the report."""
    kind, found = Callbacks(print).kind(Odd(after))
    report = Report("t", 1, failures=(Failure(0, "Odd", "odd", "", kind, found),))

    assert (kind, found, type(found)) == ("retry", seconds, float)
    assert Report.from_wire(report.to_wire()) == report


@pytest.mark.parametrize("kind", ["skip", "abort"])
def test_other_outcomes_are_what_their_base_class_says(kind: str) -> None:
    """Also those of a subclass that calls itself something else."""
    base = {"skip": taskmaster.Skip, "abort": taskmaster.Abort}[kind]
    odd = type("Odd", (base,), {"kind": 7})

    assert Callbacks(print).kind(odd("why")) == (kind, -1.0)


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -2.0])
def test_a_wait_without_end_is_no_report(after: float) -> None:
    """The master does not trust its slaves."""
    report = Report("t", 1, failures=(Failure(0, "E", "", "", "retry", after),))

    with pytest.raises(ValueError, match="cannot wait"):
        Report.from_wire(report.to_wire())


def test_a_coroutine_that_takes_too_long_is_cancelled_alone(bench: Callable[..., Bench]) -> None:
    """One that is cancelled by somebody else has failed as with any exception, and the others go
    on.
    """

    async def handle(job: str) -> None:
        if job == "hang":
            await asyncio.Event().wait()
        elif job == "cancel":
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    worker = bench(handle, concurrency=4)
    worker.timeout = 0.05
    worker.send(0, ["a", "cancel", "hang", "b"])
    said = [worker.say() for _ in range(3)]

    assert [(one[0], *one[2:4]) for one in said[:2]] == [("failed", 1, "CancelledError"), ("failed", 2, "TimedOut")]
    assert said[1][6] == "timeout"
    assert said[2][:3] == ("ended", 0, 4)


def test_on_an_engine_a_missing_module_or_file_is_said_to_be_what_ship_names(bench: Callable[..., Bench]) -> None:
    """In any job, and in ``setup``; nobody else is told so."""

    def missing(job: int) -> None:
        importlib.import_module("no_such_helper") if job else Path("no.csv").read_text()

    for elsewhere in (True, False):
        worker = bench(missing, elsewhere=elsewhere)
        worker.send(0, [0, 1], separate=False)
        said = [str(worker.say()) for _ in range(2)]
        assert ["--ship=PATH" in one for one in said] == [elsewhere] * 2, said

    worker = bench(missing, setup=lambda: missing(1), elsewhere=True)
    assert "ModuleNotFoundError in a worker" in str(worker.hello)
    assert "--ship=PATH" in str(worker.hello)
