"""What daemon threads have in hand when their worker ends."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import multiprocessing.connection
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.commands import wait_for

from taskmaster.slave.worker import daemon_threads
from taskmaster.slave.worker.daemon_threads import lost_sentence, threads_sentence, wait_for_work
from taskmaster.slave.worker.queue_use import amounts, is_queue


def daemon(target: Any) -> threading.Thread:
    """Start a thread; what is waited for is in its hands when this returns."""
    thread = threading.Thread(target=target, daemon=True, name="writer")
    thread.start()

    def at_work() -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None and frame.f_code is not target.__code__:
            frame = frame.f_back
        return frame is not None

    wait_for("the thread to begin", at_work)
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


def test_a_thread_that_is_not_done_with_its_queue_has_lost_something(
    end: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put there for it is certain, and no guess."""
    monkeypatch.setattr(daemon_threads, "STILL_SECONDS", 0.05)
    jobs: queue.Queue[int] = queue.Queue()
    for job in range(3):
        jobs.put(job)

    def slow() -> None:
        while True:
            jobs.get()
            end.wait()

    daemon(slow)
    wait_for("the first one", lambda: jobs.qsize() == 2)
    wait_for_work()

    assert "what they had not done is lost: writer (2 left of its queue)" in lost_sentence()
    assert "writer" not in threads_sentence()


def test_a_batch_that_a_thread_has_not_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is empty, and not done: it writes when nothing more comes."""
    monkeypatch.setattr(daemon_threads, "STILL_SECONDS", 5.0)
    jobs: queue.Queue[int | None] = queue.Queue()
    done: list[int] = []

    def write_batches() -> None:
        batch: list[int] = []
        while True:
            try:
                job = jobs.get(timeout=0.2)
            except queue.Empty:
                done.extend(batch)
                for _ in batch:
                    jobs.task_done()
                batch = []
                continue
            if job is None:
                return
            batch.append(job)

    thread = daemon(write_batches)
    for job in range(3):
        jobs.put(job)
    wait_for_work()

    assert done == [0, 1, 2]
    assert "writer" not in threads_sentence() + lost_sentence()
    jobs.put(None)
    thread.join()


@pytest.mark.parametrize("kind", [multiprocessing.JoinableQueue, multiprocessing.Queue, multiprocessing.SimpleQueue])
def test_what_is_in_a_queue_between_processes_is_waited_for_in_a_thread(kind: Callable[[], Any]) -> None:
    """As in one between threads; and an idle thread is not spoken of."""
    jobs, done, began = kind(), [], threading.Event()

    def write() -> None:
        began.wait()
        while (job := jobs.get()) is not None:
            done.append(job)
            if hasattr(jobs, "task_done"):
                jobs.task_done()

    threads = [daemon(write) for _ in range(2)]
    for job in range(50):
        jobs.put(job)
    began.set()
    wait_for_work()

    assert sorted(done) == list(range(50))
    assert "writer" not in threads_sentence() + lost_sentence()
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("kind", [multiprocessing.Queue, multiprocessing.SimpleQueue])
def test_what_a_thread_has_taken_out_of_a_queue_between_processes_is_waited_for(kind: Callable[[], Any]) -> None:
    """The queue is empty then, and does not count it."""
    jobs, done, go = kind(), [], threading.Event()

    def write() -> None:
        while (job := jobs.get()) is not None:
            go.wait(30.0)
            done.append(job)

    thread = daemon(write)
    jobs.put(1)
    wait_for("that it is taken", jobs.empty)
    timer = threading.Timer(0.2, go.set)
    timer.start()
    wait_for_work()

    assert done == [1]
    assert "writer" not in threads_sentence() + lost_sentence()
    jobs.put(None)
    thread.join()


def test_what_a_thread_has_read_and_not_got_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pipe is empty then, and it is in ``get``."""
    jobs: Any = multiprocessing.SimpleQueue()
    done, go, read = [], threading.Event(), multiprocessing.connection.Connection._recv

    def slow(connection: Any, size: int, *args: Any) -> Any:
        found = read(connection, size, *args)
        if size != 4:  # which say how much comes
            go.wait(30.0)
        return found

    def write() -> None:
        while (job := jobs.get()) is not None:
            done.append(job)

    monkeypatch.setattr(multiprocessing.connection.Connection, "_recv", slow)
    thread = daemon(write)
    jobs.put(1)
    wait_for("that it is taken", jobs.empty)
    timer = threading.Timer(0.2, go.set)
    timer.start()
    wait_for_work()

    assert done == [1]
    jobs.put(None)
    thread.join()


def test_a_queue_between_processes_says_how_much_is_in_it() -> None:
    """And how much of that is not done."""
    jobs: Any = multiprocessing.JoinableQueue()
    jobs.put(1)

    assert is_queue(jobs)
    assert amounts(jobs)[1] == 1
    assert jobs.get(timeout=10) == 1
    assert amounts(jobs) == (0, 1)
    jobs.close()


class Message:
    """What a thread has got, and lets go."""


@pytest.mark.parametrize("kind", [queue.Queue, multiprocessing.SimpleQueue])
def test_a_look_leaves_nothing_of_a_thread_to_the_garbage_collection(kind: Callable[[], Any]) -> None:
    """In Python 3.12 and 3.13 it fails, or crashes, where a queue's message is in a cycle."""
    jobs, seen, gone = kind(), threading.Event(), threading.Event()
    alive: list[weakref.ref[Message]] = []

    def handle() -> None:
        message = Message()
        alive.append(weakref.ref(message))
        seen.wait(30.0)

    def write() -> None:
        handle()
        gone.set()
        jobs.get()

    thread = daemon(write)
    wait_for("the message", lambda: alive)
    gc.disable()
    try:
        for _ in range(3):
            threads_sentence()
        seen.set()
        assert gone.wait(30.0)
        threads_sentence()  # at the queue now
        assert alive[0]() is None
    finally:
        gc.enable()
    jobs.put(None)
    thread.join()


def test_a_thread_has_a_moment_for_what_exit_functions_tell_it(
    end: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as to end; that of a pool has not read that when they return."""
    monkeypatch.setattr(daemon_threads, "LAST_STILL_SECONDS", 30.0)  # however slow the machine is
    told: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def work() -> None:
        end.wait()
        while told.get() is not None:
            pass

    for _ in range(2):
        daemon(work)
        told.put(None)
    assert lost_sentence() != ""

    threading.Timer(0.1, end.set).start()
    wait_for_work(last=True)

    assert lost_sentence() == ""
