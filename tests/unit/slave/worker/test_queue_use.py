"""What functions do with queues, seen while they run."""

from __future__ import annotations

import queue
import sys
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from taskmaster.slave.worker.queue_use import is_queue, left_to_do, waits_at_empty


class Slotted:
    """Has its queue in a slot."""

    __slots__ = ("jobs",)

    def __init__(self, jobs: Any) -> None:
        self.jobs = jobs


def filled(kind: Any = queue.Queue) -> Any:
    jobs = kind()
    jobs.put(1)
    jobs.put(2)
    return jobs


def here() -> FrameType:
    return sys._getframe(1)


def takes(jobs: Any) -> tuple[FrameType, Any]:
    if not jobs:
        jobs.get(timeout=1)
    return here(), jobs


def iterates(jobs: Any) -> tuple[FrameType, Any]:
    iter(jobs.get, None)
    return here(), jobs


def holds(holder: Any) -> tuple[FrameType, Any]:
    if not holder:
        holder.jobs.get_nowait()
    return here(), holder.jobs


def says(jobs: Any) -> tuple[FrameType, Any]:
    if not jobs:
        jobs.put(jobs.get())
        jobs.task_done()
    return here(), jobs


def puts_back(jobs: Any) -> tuple[FrameType, Any]:
    if not jobs:
        jobs.put(jobs.get())
    return here(), jobs


def looks(jobs: Any, other: Any) -> tuple[FrameType, Any]:
    if not jobs:
        other.get("key")
    return here(), jobs


@pytest.mark.parametrize(
    ("frame", "jobs"),
    [
        takes(filled()),
        takes(filled(queue.SimpleQueue)),
        takes(filled(queue.PriorityQueue)),
        iterates(filled()),
        holds(SimpleNamespace(jobs=filled())),
        holds(Slotted(filled())),
        says(filled()),
        says(filled(queue.LifoQueue)),
    ],
)
def test_what_is_in_a_queue_is_for_who_only_takes_or_says_what_is_done(frame: FrameType, jobs: Any) -> None:
    """However the function gets at the queue."""
    assert left_to_do(frame, jobs) == 2


@pytest.mark.parametrize(
    ("frame", "jobs"), [puts_back(filled()), takes(filled(queue.LifoQueue)), looks(filled(), {"key": 1})]
)
def test_connections_that_are_kept_are_no_work(frame: FrameType, jobs: Any) -> None:
    """They are put back."""
    assert left_to_do(frame, jobs) == 0


def test_what_was_taken_and_is_not_said_to_be_done_is_in_hand() -> None:
    """Where the function says so at all."""
    jobs = filled()
    jobs.get()
    jobs.get()

    assert left_to_do(*says(jobs)) == 2
    assert left_to_do(*takes(jobs)) == 0


def test_what_is_no_queue_is_no_queue() -> None:
    """And a thread that does something else waits at none."""
    assert is_queue(filled())
    assert not is_queue({})
    assert not waits_at_empty([here()])


def takes_many(jobs: Any) -> tuple[FrameType, Any]:
    if not jobs:
        [jobs.get_nowait() for _ in range(2)]
    return here(), jobs


def test_what_a_comprehension_calls_belongs_to_its_function() -> None:
    """On each Python, whether or not that makes a function of it."""
    frame, jobs = takes_many(filled())

    assert left_to_do(frame, jobs) == 2
