"""Real workers under a real pool, without a master: who dies, who is blamed, and what is left."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import children_of, free_port, wait_for
from support.playground import Playground

from taskmaster.model import WireBatch
from taskmaster.slave.ipc.unusable import Unusable
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.fork_client import ForkClient
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.pool import Pool
from taskmaster.slave.pool.worker_process import WorkerProcess

MODULE = """
import multiprocessing, os, signal, subprocess, time

def handle_job(job):
    if job == "sleep":
        time.sleep(60)
    elif job == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif job == "exit":
        os._exit(3)
    elif job == "children":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join(10)
        if child.exitcode != -15:
            raise ValueError(child.exitcode)
        with subprocess.Popen(["sleep", "60"]) as child:
            child.terminate()
            if child.wait(10) != -15:
                raise ValueError(child.returncode)
    elif job == "fail":
        raise ValueError("no")
"""


class Slave:
    """A pool, its in_flight, and a loop that turns them."""

    def __init__(self, workers: int, fork_server: socket.socket | None = None, **spec: int) -> None:
        self.in_flight = InFlight()
        self.selector = selectors.DefaultSelector()
        self.pool = Pool(
            WorkerSpec("jobs", **spec), workers, self.in_flight, BatchSize(), self.selector, ForkClient(fork_server)
        )

    @property
    def workers(self) -> list[WorkerProcess]:
        return list(self.pool.workers.values())

    def turn(self, what: str, condition: Callable[[], object], *, replace: bool = True) -> None:
        """Turn the loop until the condition is true."""

        def step() -> bool:
            if replace:
                self.pool.keep_up(time.monotonic())
            for key, _ in self.selector.select(0.01):
                key.data()
            self.pool.read_progress()
            return bool(condition())

        wait_for(what, step)

    def ready(self, count: int) -> None:
        self.turn("the workers to be ready", lambda: sum(worker.ready for worker in self.workers) == count)

    def give(self, *jobs: str, token: str = "t", separate: bool = False) -> HeldBatch:
        blob = pickle.dumps([pickle.dumps(job) for job in jobs] if separate else list(jobs))
        self.pool.give(WireBatch(token, len(jobs), separate, False, 0, blob))
        held = self.in_flight.by_token(token)
        assert held is not None
        return held

    def holder(self, held: HeldBatch) -> WorkerProcess:
        return next(worker for worker in self.workers if held in worker.held)

    def close(self) -> None:
        self.pool.close(lambda: True)
        self.selector.close()


@pytest.fixture
def slave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Slave]]:
    """Makes slaves whose target is MODULE; their processes end with the test."""
    (tmp_path / "jobs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    made: list[Slave] = []

    def make(workers: int = 1, fork_server: socket.socket | None = None, **spec: int) -> Slave:
        made.append(Slave(workers, fork_server, **spec))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.quick
def test_a_killed_worker_blames_the_job_that_ran(slave: Callable[..., Slave]) -> None:
    """In the middle of a batch: those before have ended, those after are not blamed, nor is the
    next batch.
    """
    one = slave()
    one.ready(1)
    first, second = one.give("a", "b", "sleep", "d", token="first"), one.give("a", token="second")
    one.turn("the third job", lambda: first.upto == 2)
    dead = one.workers[0].pid
    os.kill(dead, signal.SIGKILL)
    one.turn("its end", lambda: first.end)

    assert (first.end, first.upto, first.suspects) == ("crashed", 2, (2,))
    assert "SIGKILL" in first.detail
    assert (second.end, second.upto, second.suspects) == ("dropped", 0, ())

    one.ready(1)

    assert one.workers[0].pid != dead


@pytest.mark.quick
def test_a_job_that_ends_its_worker_is_blamed_after_it_was_recalled(slave: Callable[..., Slave]) -> None:
    """What it ran beside is given back; the job itself is not taken for one that never started."""
    one = slave()
    one.ready(1)
    held = one.give("sleep", "b", "c")
    one.turn("the job to run", lambda: one.workers[0].scoreboard.heads[0][1] == 0)
    one.pool.recall(held, 0)

    assert held.keep == 1

    os.kill(one.workers[0].pid, signal.SIGKILL)
    one.turn("its end", lambda: held.end)

    assert (held.end, held.suspects) == ("crashed", (0,))


def test_a_worker_lets_terminations_pass_and_what_it_starts_does_not(slave: Callable[..., Slave]) -> None:
    """The slave says when it ends; a callback ends its children with SIGTERM, however it has
    started them.
    """
    one = slave()
    one.ready(1)
    held = one.give(*["children"] * 10, "sleep")
    one.turn("the last job", lambda: held.upto == 10)

    assert held.failures == []

    pid = one.workers[0].pid
    os.kill(pid, signal.SIGTERM)
    one.turn("a moment", lambda: "SigPnd:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text())

    assert not held.end
    assert one.workers[0].pid == pid


def test_all_jobs_that_ran_at_once_are_suspects(slave: Callable[..., Slave]) -> None:
    """With threads, any of them may have done it; those that have ended have not."""
    one = slave(threads=3)
    one.ready(1)
    held = one.give("a", "sleep", "fail", "sleep", "sleep", "z")
    one.turn("three to run", lambda: one.workers[0].scoreboard.running(0, 6, several=True) == [1, 3, 4])
    os.kill(one.workers[0].pid, signal.SIGKILL)
    one.turn("its end", lambda: held.end)

    assert (held.end, held.upto, held.extra, held.suspects) == ("crashed", 1, (2,), (1, 3, 4))
    assert [failure.index for failure in held.failures] == [2]


def test_a_plain_function_is_blamed_whatever_concurrency_says(slave: Callable[..., Slave]) -> None:
    """It runs one job at a time: --concurrency is for coroutines."""
    one = slave(concurrency=8)
    one.ready(1)
    held = one.give("a", "exit", "c")
    one.turn("its end", lambda: held.end)

    assert (held.end, held.upto, held.suspects) == ("crashed", 1, (1,))
    assert "status 3" in held.detail


def test_a_job_that_failed_is_not_blamed_for_a_later_death(slave: Callable[..., Slave]) -> None:
    """One attempt for each of them."""
    one = slave()
    one.ready(1)
    held = one.give("fail", "kill", "c")
    one.turn("its end", lambda: held.end)

    assert (held.end, held.upto, held.suspects) == ("crashed", 1, (1,))
    assert [failure.index for failure in held.failures] == [0]


def test_workers_that_die_at_once_are_all_noticed(slave: Callable[..., Slave]) -> None:
    """Each of their batches comes back, and each of them is replaced."""
    one = slave(4)
    one.ready(4)
    batches = [one.give("sleep", token=f"t{number}") for number in range(4)]
    one.turn(
        "all to run", lambda: all(0 in one.holder(held).scoreboard.running(0, 1, several=False) for held in batches)
    )
    before = set(one.pool.workers)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    one.turn("their ends", lambda: all(held.end for held in batches))

    assert [held.suspects for held in batches] == [(0,)] * 4

    one.ready(4)

    assert not before & set(one.pool.workers)


def test_a_death_told_while_a_worker_is_forked_is_noticed(slave: Callable[..., Slave]) -> None:
    """The fork server says it before it answers the request, and never again."""
    ours, theirs = socket.socketpair()
    dead, alive = 2**22 + 1, 2**22 + 2  # no process can have these ids

    def fork_server() -> None:
        for pid, before in ((dead, []), (alive, [{"exited": dead, "status": 9}])):
            _, descriptors, _, _ = socket.recv_fds(theirs, 65536, 8)
            for descriptor in descriptors:
                os.close(descriptor)
            lines = [*before, {"spawned": pid}]
            theirs.sendall("".join(json.dumps(line) + "\n" for line in lines).encode())

    thread = threading.Thread(target=fork_server)
    thread.start()
    one = slave(2, ours)
    one.pool.keep_up(0.0)
    thread.join(10)

    assert set(one.pool.workers) == {alive}

    theirs.close()


def test_a_killed_fork_server_takes_its_workers_along_and_is_replaced(slave: Callable[..., Slave]) -> None:
    """The jobs that ran are named, not charged: one of them may have done it, or nobody here."""
    one = slave(2)
    one.ready(2)
    held, other = one.give("sleep", "b"), one.give("sleep", token="other")
    running = lambda batch: one.holder(batch).scoreboard.heads[0][1] == 0  # noqa: E731
    one.turn("them to run", lambda: running(held) and running(other))
    before = set(one.pool.workers)
    parent = int(Path(f"/proc/{min(before)}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    one.turn("the batch to come back", lambda: held.end)

    assert (held.end, held.suspects, held.beside) == ("lost", (0,), 2)
    assert (other.end, other.suspects, other.beside) == ("lost", (0,), 2)

    one.ready(2)

    assert not before & set(one.pool.workers)
    wait_for("the old workers to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))


def test_a_fork_server_that_cannot_start_ends_the_slave(
    slave: Callable[..., Slave], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence, and each turn of the loop comes back: it is not tried for ever."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    one = slave()

    with pytest.raises(Unusable, match="has ended 5 times"):
        one.turn("a worker", lambda: one.workers)


def test_nothing_outlives_a_killed_slave(playground: Playground) -> None:
    """With kill -9 of the supervisor, its fork server and its workers are gone, busy or not."""
    playground.write("busy.py", "import time\ndef handle_job(job): time.sleep(60)\n")
    slave = playground.start("tm-slave", "busy.py", f"--host=127.0.0.1:{free_port()}", "--processes=3", "--wait=600")

    def workers() -> list[int]:
        return [worker for fork_server in children_of(slave.pid) for worker in children_of(fork_server)]

    wait_for("three workers", lambda: len(workers()) == 3)
    slave.kill()

    wait_for("all of them to end", lambda: not playground.left())


def test_a_scripts_open_files_are_not_mixed_up_with_the_slaves_sockets(playground: Playground) -> None:
    """A callback that writes to a descriptor of its script gets an error; it does not hit what its
    worker uses.
    """
    playground.write(
        "script.py",
        "import os\n"
        "from taskmaster import Taskmaster\n"
        "def main():\n"
        "    opened = [os.open('log.txt', os.O_CREAT | os.O_WRONLY) for _ in range(20)]\n"
        "    def callback(job):\n"
        "        for descriptor in opened:\n"
        "            try:\n"
        "                os.write(descriptor, b'x' * 100)\n"
        "            except OSError:\n"
        "                continue\n"
        "            raise RuntimeError(f'{descriptor} is open')\n"
        "    Taskmaster(callback, range(20), processes=2, state='state.sqlite', progress='none').start()\n"
        "if __name__ == '__main__':\n"
        "    main()\n",
    )
    script = playground.run("python", "script.py")

    assert "All done: 20 jobs" in script.output
    assert (playground.directory / "log.txt").read_bytes() == b""
