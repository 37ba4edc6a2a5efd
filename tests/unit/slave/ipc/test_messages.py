"""What a worker and its supervisor say to each other, there and back."""

from __future__ import annotations

from typing import Any

import pytest

from taskmaster.job_times import JobTimes
from taskmaster.model import Failure, FailureKind
from taskmaster.slave.ipc.messages import (
    AboutRun,
    BatchEnded,
    BatchUnreadable,
    CallRaised,
    CannotRun,
    Exhausted,
    JobFailed,
    Quit,
    Ready,
    RunBatch,
    ToSupervisor,
    ToWorker,
    WorkerClosed,
    to_plain,
    to_supervisor,
    to_worker,
)
from taskmaster.slave.ipc.unusable import Cause
from taskmaster.transport.frames import plain_dumps, plain_loads

FAILURE = Failure(3, "ValueError", "no", "Traceback", FailureKind.RETRY, 2.5, 4711)


@pytest.mark.parametrize(
    "message",
    [
        Ready(8, True, False, True),
        CannotRun(Cause.SETUP, "setup() raised", "Traceback"),
        JobFailed(1, FAILURE),
        CallRaised(0, (3, 4, 5), FAILURE),
        BatchEnded(1, 12, 0.25),
        BatchEnded(1, 12, 0.25, JobTimes(0.25, 0.2, ((3, 11), (17, 1)))),
        BatchUnreadable(0, "EOFError"),
        Exhausted("a job has raised MemoryError"),
        WorkerClosed("teardown() raised OSError"),
    ],
)
def test_what_a_worker_says_arrives_as_it_was(message: ToSupervisor) -> None:
    """Through the codec that lets plain values pass only, down to the types within."""
    arrived = to_supervisor(plain_loads(plain_dumps(to_plain(message))))

    assert arrived == message
    assert type(arrived) is type(message)
    assert [type(field) for field in arrived] == [type(field) for field in message]


@pytest.mark.parametrize(
    "message",
    [
        RunBatch(1, True, False, 2.0, b"blob"),
        RunBatch(0, False, True, None, (8, 9)),
        AboutRun("r", "s", None),
        Quit(5.0),
    ],
)
def test_what_a_supervisor_says_arrives_as_it_was(message: ToWorker) -> None:
    """Whether the batch comes along or lies in the shared buffers."""
    arrived = to_worker(plain_loads(plain_dumps(to_plain(message))))

    assert arrived == message
    assert type(arrived) is type(message)


@pytest.mark.parametrize(
    "plain",
    [
        None,
        7,
        (),
        ("nothing of ours",),
        ("ended",),
        ("ended", 0, "x", 0.5),
        ("ended", 2, 5, 0.5),
        ("ended", -1, 5, 0.5),
        ("ended", None, 5, 0.5),
        ("failed", 0, ()),
        ("failed", 0, 5),
        ("ready", 1),
        ("cannot run", "no cause of ours", "", ""),
        ("run", 0, False, False, None, b""),
    ],
)
def test_what_no_worker_says_is_refused(plain: Any) -> None:
    """User code may write to its worker's socket: the supervisor must survive whatever it reads."""
    with pytest.raises(ValueError, match="not a worker's message"):
        to_supervisor(plain)
