"""What is said of workers that had to be killed at their end."""

from __future__ import annotations

import selectors
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.slave.pool import worker_ends
from taskmaster.slave.pool.worker_ends import WorkerEnds, wind_up


def worker(pid: int, *, ran: int, closed: bool = False) -> Any:
    """A worker that is ready and does not end."""
    return SimpleNamespace(pid=pid, ready=True, ran=ran, closed=closed)


def test_only_a_worker_that_has_run_a_job_can_have_lost_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a run without jobs is killed while it starts or ends, and nothing is said of it."""
    monkeypatch.setattr(worker_ends, "ORPHANED_SECONDS", 0.0)
    monkeypatch.setattr(worker_ends, "WORKER_LATE_SECONDS", 0.0)
    ends = WorkerEnds()
    workers = {one.pid: one for one in (worker(1, ran=0), worker(2, ran=3), worker(3, ran=3, closed=True))}
    workforce: Any = SimpleNamespace(
        workers=workers,
        ends=ends,
        kill=lambda idle=True: None,
        quit=lambda seconds: None,
        outputs=SimpleNamespace(write=lambda: None),
    )
    with selectors.DefaultSelector() as selector:
        wind_up(workforce, selector, 30.0, hurry=lambda: False, orphaned=lambda: True)

    assert ends.unfinished == ["it had not ended within --grace"]
