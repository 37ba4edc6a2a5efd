"""Which workers are replaced, and when; the workers are played."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskmaster.model import WireBatch
from taskmaster.slave.ipc.scoreboard import SCOREBOARD_BYTES
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.retirement import Retirement, own_memory
from taskmaster.slave.pool.shared_memory import make_memory
from taskmaster.slave.pool.worker_process import WorkerProcess


class Deaf:
    """Stands for a worker's socket."""

    def setblocking(self, _: bool) -> None:
        pass


@pytest.fixture
def worker() -> WorkerProcess:
    """A worker that is ready."""
    memory = make_memory(SCOREBOARD_BYTES)
    made = WorkerProcess(100, Deaf(), memory, [])  # type: ignore[arg-type]
    os.close(memory)
    made.ready = True
    return made


def test_without_limits_nothing_is_replaced(worker: WorkerProcess) -> None:
    """Whatever it has run, and however large it is."""
    retirement = Retirement(None, None, lambda _: 2**60)
    worker.ran = 10**12

    assert retirement.allowance(worker) > 10**9
    assert retirement.worn_out(worker) == ""
    assert retirement.too_large([worker]) == []


def test_a_worker_is_given_as_many_jobs_as_it_may_run(worker: WorkerProcess) -> None:
    """What it holds counts, and what it has given back does not."""
    retirement = Retirement(100, None)
    held = InFlight().take(WireBatch("t", 30, separate=False, alone=False, avoid=0, blob=b""))
    worker.ran = 60
    worker.assign(held, b"")

    assert retirement.allowance(worker) == 10

    held.keep = 5

    assert retirement.allowance(worker) == 35
    assert retirement.worn_out(worker) == ""

    worker.ran = 100

    assert "it has run 100 jobs" in retirement.worn_out(worker)


def test_a_worker_that_takes_too_much_is_named_once_it_has_begun(worker: WorkerProcess) -> None:
    """A fresh one would be as large: each runs at least one job, or nothing would ever be done."""
    retirement = Retirement(None, 500 * 2**20, lambda _: 600 * 2**20)

    assert retirement.too_large([worker]) == []

    worker.ran = 1

    ((found, why),) = retirement.too_large([worker])

    assert found is worker
    assert why == "it takes 600M (--memory-per-worker=500M)"

    worker.retiring = why

    assert retirement.too_large([worker]) == []


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not say how large a process is")
def test_what_a_process_takes_grows_with_what_it_holds() -> None:
    """Its own memory: not what it shares."""
    before = own_memory(os.getpid())
    kept = b"x" * (64 * 2**20)

    assert own_memory(os.getpid()) - before > len(kept) // 2
    assert own_memory(2**22 + 1) == 0
