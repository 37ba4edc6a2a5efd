"""What daemon threads have in hand when their worker ends."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator

import pytest
from support.commands import wait_for

from taskmaster.slave.worker import daemon_threads
from taskmaster.slave.worker.daemon_threads import threads_sentence, wait_for_work


def daemon(target: Callable[..., object], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True, name="writer")
    thread.start()
    return thread


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """Set at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


class Writer:
    """Does what is in a queue, with or without task_done()."""

    def __init__(self, *, says: bool) -> None:
        self.jobs: queue.Queue[int | None] = queue.Queue()
        self.done: list[int] = []
        self._says = says

    def work(self) -> None:
        """Do it, until there is a None."""
        while (job := self.jobs.get()) is not None:
            self.done.append(job)
            if self._says:
                self.jobs.task_done()


@pytest.mark.parametrize("says", [False, True])
def test_what_is_in_a_queue_is_waited_for(*, says: bool) -> None:
    """Whether or not the thread says that it has done it; an idle one is not spoken of."""
    writer = Writer(says=says)
    for job in range(1000):
        writer.jobs.put(job)
    thread = daemon(writer.work)
    wait_for_work()

    assert writer.done == list(range(1000))
    assert "writer" not in threads_sentence()
    writer.jobs.put(None)
    thread.join()


def test_a_thread_that_does_not_get_on_is_said(end: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for for ever."""
    monkeypatch.setattr(daemon_threads, "STILL_SECONDS", 0.05)
    jobs: queue.Queue[int] = queue.Queue()
    jobs.put(1)

    def stuck() -> None:
        jobs.qsize()
        end.wait()

    daemon(stuck)
    wait_for_work()

    assert "what they had not done is lost: writer" in threads_sentence()


class Sizeless(queue.Queue[int]):
    """A queue of the user's that does not say how much is in it."""

    def qsize(self) -> int:
        """Raise."""
        raise NotImplementedError


@pytest.mark.parametrize("kind", [queue.Queue, Sizeless])
def test_a_queue_whose_lock_is_taken_stops_nothing(end: threading.Event, kind: type[queue.Queue[int]]) -> None:
    """Nor does one whose class raises."""
    jobs, locked = kind(), threading.Event()

    def stuck() -> None:
        with jobs.mutex:
            locked.set()
            end.wait()

    daemon(stuck)
    locked.wait()
    wait_for_work()

    assert "what they had not done is lost: writer" in threads_sentence()


def test_tasks_of_a_loop_in_a_thread_are_waited_for() -> None:
    """Those that were given to it from another thread."""
    loop, done = asyncio.new_event_loop(), []

    async def save() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        done.append(1)

    thread = daemon(loop.run_forever)
    wait_for("the loop", loop.is_running)
    asyncio.run_coroutine_threadsafe(save(), loop)
    wait_for_work()

    assert done == [1]
    assert "writer" not in threads_sentence()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_tasks_that_beat_for_ever_are_not_waited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wakes them again and again is no progress."""
    monkeypatch.setattr(daemon_threads, "STILL_SECONDS", 0.2)
    loop = asyncio.new_event_loop()

    async def beat() -> None:
        while True:  # noqa: ASYNC110  # as what looks after something does
            await asyncio.sleep(0)

    thread = daemon(loop.run_forever)
    beating = [asyncio.run_coroutine_threadsafe(beat(), loop) for _ in range(20)]
    wait_for("all of them", lambda: len(asyncio.all_tasks(loop)) == len(beating))
    wait_for_work()

    assert "what they had not done is lost: writer" in threads_sentence()
    for one in beating:
        one.cancel()
    wait_for("their end", lambda: not asyncio.all_tasks(loop))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
