"""The one loop of a worker: who shares it, what it waits for at the end, and what it notes."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from taskmaster.slave.worker.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """Give a loop that is closed at the end."""
    found = EventLoop()
    yield found
    found.end_jobs()
    found.close(0.0)


async def running() -> asyncio.AbstractEventLoop:
    """Return the loop in which this runs."""
    return asyncio.get_running_loop()


def in_a_thread(call: Any) -> list[Any]:
    """Call something in another thread; return its result, or what it raised."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as exc:
            found.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30.0)
    return found


def test_setup_jobs_of_all_threads_and_teardown_share_one_loop(loop: EventLoop) -> None:
    """In the thread that made it before and after; in one of its own for jobs of others."""
    at_setup = loop.run(running())
    loop.begin_jobs()
    of_jobs = [found for _ in range(2) for found in in_a_thread(lambda: loop.run(running()))]
    loop.end_jobs()

    assert of_jobs == [at_setup] * 2
    assert loop.run(running()) is at_setup


def test_what_is_awaited_raises_where_it_was_asked_for(loop: EventLoop) -> None:
    """In either thread."""

    async def fail() -> None:
        raise ValueError("bad title")

    with pytest.raises(ValueError, match="bad title"):
        loop.run(fail())
    (raised,) = in_a_thread(lambda: loop.run(fail()))
    assert isinstance(raised, ValueError)


def test_a_task_of_the_loop_that_python_has_made_for_the_thread_is_awaited_in_it() -> None:
    """``asyncio.ensure_future()`` in a plain function makes that loop, up to Python 3.13."""
    loop, of_thread = EventLoop(), asyncio.new_event_loop()

    assert loop.run(of_thread.create_task(running())) is of_thread
    assert loop.run(running()) is of_thread
    loop.close(0.0)
    assert of_thread.is_closed()


def test_nothing_is_awaited_and_no_loop_is_made() -> None:
    """A worker of plain functions loads no asyncio."""
    loop = EventLoop()
    loop.begin_jobs()
    loop.end_jobs()
    loop.leave(None)

    assert loop.close(0.0) == []
    assert loop._runner is None


def test_what_jobs_have_left_running_is_waited_for() -> None:
    """But nothing that ``setup`` has begun, which may go on for ever."""
    loop, ended = EventLoop(), list[str]()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    async def late() -> None:
        await asyncio.sleep(0)
        ended.append("late")

    async def begin(work: Any) -> None:
        kept.append(asyncio.ensure_future(work()))

    kept: list[Any] = []
    loop.run(begin(forever))
    loop.begin_jobs()
    loop.run(begin(late))

    assert loop.close(60.0) == []
    assert ended == ["late", "forever"]


def test_calls_in_threads_and_calls_that_are_to_be_made_soon_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """And one that raises is noted; one of much later may be the next round of something."""
    loop, ended, kept = EventLoop(), list[str](), list[Any]()

    def soon() -> None:
        ended.append("soon")
        raise KeyError("no such row")

    async def begin() -> None:
        here = asyncio.get_running_loop()
        here.call_later(0.001, soon)
        here.call_later(1000, ended.append, "much later")
        kept.extend(asyncio.ensure_future(asyncio.to_thread(ended.append, "thread")) for _ in range(20))

    loop.run(begin())

    assert loop.close(60.0) == []
    assert sorted(ended) == ["soon", *["thread"] * 20]
    assert loop.problems == ["a call that the loop has made raised KeyError, and nothing awaited it"]
    assert "no such row" in caplog.text


def test_what_a_kept_task_has_raised_is_noted_at_the_end() -> None:
    """Said by asyncio of a task that goes, and nobody lets it go."""
    loop, kept = EventLoop(), list[Any]()

    async def fail() -> None:
        raise ValueError("lost")

    async def begin() -> None:
        kept.append(asyncio.ensure_future(fail()))
        kept.append(asyncio.ensure_future(fail()))
        await asyncio.wait(kept[1:])
        kept[1].exception()

    loop.run(begin())
    loop.close(60.0)

    assert [one.rpartition(".")[2] for one in loop.problems] == ["fail raised ValueError, and nothing awaited it"]
    assert len(kept) == 2


def test_what_is_only_half_a_future_is_passed_over() -> None:
    """Python raises where it is asked anything."""
    loop, half = EventLoop(), asyncio.Future.__new__(asyncio.Future)

    async def nothing() -> None:
        pass

    loop.run(nothing())

    assert loop.close(60.0) == loop.problems == []
    assert type(half) is asyncio.Future


def test_what_does_not_end_in_time_is_cancelled_and_named() -> None:
    """By the function that the job has begun."""

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def begin() -> None:
        kept.append(asyncio.ensure_future(stuck()))

    loop, kept = EventLoop(), list[Any]()
    loop.run(running())
    loop.begin_jobs()
    loop.run(begin())

    (name,) = loop.close(0.0)
    assert name.endswith("stuck")
    assert kept[0].cancelled()


def test_what_a_task_raises_and_nothing_awaits_is_noted_once(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    """As a sentence, beside what asyncio logs of it."""

    async def fail() -> None:
        raise KeyError("no such row")

    async def begin() -> None:
        for _ in range(2):
            task = asyncio.ensure_future(fail())
            await asyncio.wait([task])
            del task

    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.run(begin())
        loop.run(running())

    (problem,) = loop.problems
    assert problem.endswith("fail raised KeyError, and nothing awaited it")
    assert "never retrieved" in caplog.text


def test_a_forked_child_leaves_as_soon_as_the_loop_goes_on(loop: EventLoop) -> None:
    """What it is to call is called in the loop."""
    left: list[bool] = []
    loop.run(running())
    loop.leave(lambda: left.append(True))
    loop.run(running())

    assert left == [True]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("shared", [False, True], ids=["in its own thread", "from another"])
def test_what_ends_other_loops_belongs_to_whoever_awaits_it(loop: EventLoop, kind: type, shared: bool) -> None:
    """What else is awaited goes on, and shows none of the loop's own lines."""
    others = list[str]()

    async def interrupt() -> None:
        await asyncio.sleep(0)
        raise kind("mine")

    async def other() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        others.append("done")

    async def job() -> BaseException | None:
        beside = asyncio.ensure_future(other())
        raised: BaseException | None = None
        try:
            await asyncio.gather(interrupt())
        except BaseException as exc:
            raised = exc
        await beside
        return raised

    (raised,) = in_a_thread(lambda: loop.run(job())) if shared else [loop.run(job())]

    assert type(raised) is kind
    assert [frame.name for frame in traceback.extract_tb(raised.__traceback__)] == ["job", "interrupt"]
    assert others == ["done"]
    assert loop.problems == []


def test_a_call_that_would_end_the_loop_is_noted(loop: EventLoop) -> None:
    """Nothing else would tell, for it has no task."""

    def call() -> None:
        raise SystemExit("mine")

    async def job() -> str:
        asyncio.get_running_loop().call_soon(call)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "done"

    assert loop.run(job()) == "done"
    assert loop.problems == ["a call that the loop has made raised SystemExit, and nothing awaited it"]


def test_what_is_awaited_itself_may_end_it(loop: EventLoop) -> None:
    """It is raised where it was asked for, as any other."""

    async def job() -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(job())
