"""What the pool makes of what workers say, and of their ends; the workers are played."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from collections.abc import Iterator

import pytest

from taskmaster.job_times import counted
from taskmaster.model import Failure, FailureKind, WireBatch
from taskmaster.slave.ipc.messages import BatchEnded, JobFailed, ToSupervisor, to_plain
from taskmaster.slave.ipc.scoreboard import OPENING, SCOREBOARD_BYTES, Scoreboard
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.fork_client import ForkClient
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.pool import Pool
from taskmaster.slave.pool.shared_memory import make_memory
from taskmaster.slave.pool.watchdog import WITHOUT_SOCKET
from taskmaster.slave.pool.worker_process import MOST_BYTES_AT_ONCE, UNLIMITED_BYTES, UNPICKLING, WorkerProcess
from taskmaster.transport.frames import frame


class Said:
    """A worker's end of its socket, and what was said there; read as much at a time as fits."""

    def __init__(self) -> None:
        self.text = b""
        self.endless = b""
        self.sent = b""

    def say(self, message: ToSupervisor) -> None:
        self.text += b"".join(map(bytes, frame(to_plain(message), UNLIMITED_BYTES)))

    def recv_into(self, space: memoryview) -> int:
        while self.endless and len(self.text) < len(space):
            self.text += self.endless
        if not self.text:
            raise BlockingIOError
        piece, self.text = self.text[: len(space)], self.text[len(space) :]
        space[: len(piece)] = piece
        return len(piece)

    def send(self, data: memoryview) -> int:
        self.sent += data
        return len(data)

    def setblocking(self, _: bool) -> None:
        pass

    def close(self) -> None:
        pass


class Stage:
    """A pool with one played worker, which is ready."""

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.selector = selectors.DefaultSelector()
        self.fork_server, theirs = socket.socketpair()
        self.stopping = False
        self.pool = Pool(
            WorkerSpec("jobs"),
            1,
            self.in_flight,
            BatchSize(),
            self.selector,
            ForkClient(theirs),
            stopping=lambda: self.stopping,
        )
        memory = make_memory(SCOREBOARD_BYTES)
        self.scoreboard = Scoreboard(memory)
        self.said = Said()
        self.worker = WorkerProcess(2**22 + 1, self.said, memory, [])  # type: ignore[arg-type]  # no process can have this id
        os.close(memory)
        self.pool.workers[self.worker.pid] = self.worker
        self.worker.ready = True

    def give(self, count: int = 5, token: str = "t", *, separate: bool = False) -> HeldBatch:
        self.pool.give(WireBatch(token, count, separate, False, 0, b""))
        held = self.in_flight.by_token(token)
        assert held is not None
        return held

    def end(self, status: int) -> None:
        """The fork server says that the worker has ended."""
        line = {"exited": self.worker.pid, "status": status}
        self.fork_server.sendall(json.dumps(line).encode() + b"\n")
        self.pool.workforce.hear_of_exits()

    def close(self) -> None:
        self.pool.close(lambda: True)
        self.fork_server.close()
        self.selector.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """One."""
    made = Stage()
    yield made
    made.close()


@pytest.mark.parametrize("separate", [False, True])
def test_a_batch_whose_unpickling_took_too_long_is_sent_job_by_job(stage: Stage, separate: bool) -> None:
    """The one that hangs is found then; nobody is blamed before, nor is the batch behind."""
    held, behind = stage.give(separate=separate), stage.give(token="behind")
    stage.scoreboard.heads[0][1] = OPENING
    stage.worker.timed_out = held, UNPICKLING
    stage.end(signal.SIGKILL)

    assert (held.end, held.suspects) == ("dropped" if separate else "unreadable", ())
    assert (behind.end, behind.suspects) == ("dropped", ())


def test_a_job_that_began_while_its_batch_was_found_late_is_not_blamed(stage: Stage) -> None:
    """It was unpickled between the look and the kill."""
    held = stage.give()
    stage.scoreboard.heads[0][1] = 0
    stage.worker.timed_out = held, UNPICKLING
    stage.end(signal.SIGKILL)

    assert (held.end, held.suspects) == ("dropped", ())


def test_a_worker_that_was_cut_off_blames_its_job_and_says_why(stage: Stage) -> None:
    """It was not out of memory; and what had ended counts."""
    held = stage.give()
    stage.scoreboard.heads[0][1] = 2
    stage.worker.gone, stage.worker.cut_off = True, WITHOUT_SOCKET

    assert stage.worker.free == 0

    stage.end(signal.SIGKILL)

    assert (held.end, held.upto, held.suspects) == ("crashed", 2, (2,))
    assert "socket to the slave was closed" in held.detail


@pytest.mark.parametrize(
    ("number", "stopping", "end"),
    [(signal.SIGTERM, True, "dropped"), (signal.SIGTERM, False, "crashed"), (signal.SIGSEGV, True, "crashed")],
)
def test_a_worker_that_was_terminated_with_its_slave_blames_nobody(
    stage: Stage, number: signal.Signals, stopping: bool, end: str
) -> None:
    """An interrupt is no failure; a job that ends its worker that way at any other time is one."""
    stage.stopping = stopping
    held = stage.give()
    stage.scoreboard.heads[0][1] = 2
    stage.end(number)

    assert (held.end, held.upto) == (end, 2)


FAILED = JobFailed(0, Failure(1, "ValueError", "no", "", FailureKind.ERROR, -1.0, 7))


def test_a_worker_that_talks_without_a_pause_is_interrupted(stage: Stage) -> None:
    """The others have their turn, and nothing that arrived whole is kept back without the socket
    telling.
    """
    stage.said.say(FAILED)
    stage.said.endless = stage.said.text
    found = stage.worker.messages()

    assert 0 < len(found) <= 2 * MOST_BYTES_AT_ONCE // len(stage.said.endless)
    assert stage.worker.behind
    assert stage.worker.reader.more() == (False, None)

    stage.said.endless = b""
    rest = stage.worker.messages()

    assert set(found + rest) == {FAILED}
    assert not stage.worker.behind


def test_a_job_whose_failure_is_not_heard_yet_does_not_count_as_done(stage: Stage) -> None:
    """Its worker has moved on, but it says so much that the failure is still to come."""
    held = stage.give()
    while len(stage.said.text) < MOST_BYTES_AT_ONCE + 100_000:
        stage.said.say(
            JobFailed(1, Failure(0, "ValueError", "no", "x" * 8192, FailureKind.ERROR, -1.0, 7))
        )  # of no batch
    stage.said.say(FAILED)
    stage.scoreboard.heads[0][1] = 3
    stage.pool.read_progress()

    assert (held.upto, held.failures) == (0, [])

    stage.pool.read_progress()

    assert held.upto == 3
    assert [failure.index for failure in held.failures] == [1]


def test_the_last_job_of_a_batch_is_told_with_the_end_of_the_batch(stage: Stage) -> None:
    """Which says how long the jobs took: the master may end the run at the last job of all."""
    held = stage.give()
    stage.scoreboard.heads[0][1] = held.keep
    stage.pool.read_progress()
    assert held.upto == 0

    stage.said.say(BatchEnded(0, held.keep, 0.5, counted([0.5] * held.keep)))
    stage.pool.read_progress()
    assert (held.upto, held.seconds) == (held.keep, 0.5)
    assert held.times.counts
