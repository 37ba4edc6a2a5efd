"""The process that forks the workers, as the supervisor sees it."""

from __future__ import annotations

import socket

import pytest

from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool import fork_client
from taskmaster.slave.pool.fork_client import ForkClient, ForkServerGone


def test_a_fork_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, or stuck on a bad disk: another one takes its place."""
    monkeypatch.setattr(fork_client, "SLICE_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    with theirs:
        asked = ForkClient(ours)
        with pytest.raises(ForkServerGone):
            asked.spawn(WorkerSpec("jobs"), [theirs.fileno()])
        asked.close()
