"""Futures that have failed, and that nobody asks how they went."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from multiprocessing.pool import ThreadPool
from multiprocessing.process import BaseProcess

import pytest

from taskmaster.slave.worker.attempts import begin_attempt
from taskmaster.slave.worker.dropped_futures import tell_of_kept, watch_futures


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What has been noticed."""
    found: list[str] = []
    gc.collect()  # what other tests have thrown away
    end = watch_futures(lambda exc: found.append(type(exc).__name__))
    yield found
    end()


def fail() -> None:
    raise ValueError("lost")


def failed() -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(ValueError("lost"))
    return future


def thrown_away() -> None:
    failed()


def submitted() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail)


def only_waited_for() -> None:
    wait([failed()])


def given_to_a_pool() -> None:
    with ThreadPool(1) as pool:
        pool.apply_async(fail).wait()


def only_begun_to_be_read() -> None:
    with ThreadPool(1) as pool:
        results = pool.imap(int, ["1", "x"])
        next(results)
        pool.close()
        pool.join()


@pytest.mark.parametrize(
    "drop",
    [thrown_away, submitted, only_waited_for, given_to_a_pool, only_begun_to_be_read],
    ids=lambda one: one.__name__,
)
def test_a_failure_that_nobody_asks_for_is_noticed(said: list[str], drop: Callable[[], None]) -> None:
    """However the future goes."""
    drop()

    assert said == ["ValueError"]


def by_result() -> None:
    with contextlib.suppress(ValueError):
        failed().result()


def by_exception() -> None:
    failed().exception(timeout=1)


def by_callback() -> None:
    failed().add_done_callback(lambda future: future.exception())


def as_they_complete() -> None:
    for future in as_completed([failed()]):
        with contextlib.suppress(ValueError):
            future.result(1)


def by_map() -> None:
    with ThreadPoolExecutor(1) as pool, contextlib.suppress(ValueError):
        list(pool.map(lambda _: fail(), [1]))


def by_asyncio() -> None:
    async def ask() -> None:
        with contextlib.suppress(ValueError):
            await asyncio.wrap_future(failed())

    asyncio.run(ask())


def by_map_of_several() -> None:
    """All fail, the first one is raised."""
    both = threading.Barrier(2)

    def fail_together(_: int) -> None:
        both.wait()
        fail()

    with ThreadPoolExecutor(2) as pool, contextlib.suppress(ValueError):
        list(pool.map(fail_together, range(2)))
    gc.collect()  # what is raised refers to itself


def by_asyncio_in_vain() -> None:
    """Nobody waits any more when the call fails."""
    late = threading.Event()

    def fail_late() -> None:
        late.wait()
        fail()

    async def ask() -> None:
        with ThreadPoolExecutor(1) as pool:
            asked = asyncio.get_running_loop().run_in_executor(pool, fail_late)
            asked.cancel()
            await asyncio.sleep(0)  # the executor hears of it
            late.set()

    asyncio.run(ask())


def by_get() -> None:
    with ThreadPool(1) as pool, contextlib.suppress(ValueError):
        pool.apply_async(fail).get()


def by_error_callback() -> None:
    with ThreadPool(1) as pool:
        pool.apply_async(fail, error_callback=lambda exc: None).wait()


ASKED = [
    *(by_get, by_error_callback, by_result, by_exception, by_callback, as_they_complete),
    *(by_map, by_map_of_several, by_asyncio, by_asyncio_in_vain),
]


@pytest.mark.parametrize("ask", ASKED)
def test_whoever_asks_has_been_told(said: list[str], ask: Callable[[], None]) -> None:
    """In each of the ways that there are."""
    ask()

    assert said == []


def test_what_went_well_or_was_cancelled_is_not_spoken_of(said: list[str]) -> None:
    """Most futures are thrown away."""
    done: Future[int] = Future()
    done.set_result(1)
    cancelled: Future[int] = Future()
    cancelled.cancel()
    del done, cancelled

    assert said == []


def test_what_somebody_keeps_is_told_of_at_the_end_and_once(said: list[str]) -> None:
    """A list of futures at which nobody looks."""
    kept = [failed()]
    tell_of_kept()
    assert said == ["ValueError"]

    kept.clear()
    assert said == ["ValueError"]


def test_what_a_users_class_does_in_its_own_del_is_left_to_it(said: list[str]) -> None:
    """It is called later, once; whether the work has failed is looked at all the same."""
    calls: list[int] = []

    class Row(Future[int]):
        def __del__(self) -> None:
            calls.append(1)

    kept = Row()
    kept.set_exception(ValueError("lost"))
    tell_of_kept()

    assert (said, calls) == (["ValueError"], [])
    del kept


class _Process(BaseProcess):
    """One that was never begun: its end is made up."""


class _Ended:
    def __init__(self, code: int) -> None:
        self.returncode = code

    def poll(self) -> int:
        return self.returncode


ENDED = [(3, False, 1), (-11, False, 1), (0, False, 0), (-15, False, 0), (3, True, 0)]


@pytest.mark.parametrize(("code", "daemon", "noticed"), ENDED)
def test_a_process_that_has_failed_is_noticed(said: list[str], code: int, daemon: bool, noticed: int) -> None:
    """Unless somebody looks at its exit code, it was ended on purpose, or it is a daemon."""
    for looked_at in (False, True):
        process = _Process(daemon=daemon)
        process._popen = _Ended(code)  # type: ignore[attr-defined]
        if looked_at:
            assert process.exitcode == code
        del process

    assert said == ["ProcessFailed"] * noticed


def test_a_process_that_an_executor_has_lost_is_its_business(said: list[str]) -> None:
    """The calls say that it died: a callback that expects that does without it."""
    process = _Process()
    process._popen, process._sentinel = _Ended(3), 7  # type: ignore[attr-defined]
    assert process.sentinel == 7
    del process

    assert said == []


def test_the_watch_has_an_end() -> None:
    """A master runs jobs, and goes on afterwards."""
    before = Future.result, Future.exception
    watch_futures(lambda _: None)()

    assert (Future.result, Future.exception) == before
    assert not hasattr(Future, "__del__")


def test_futures_are_watched_that_are_loaded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback imports executors where it uses them; the watch has its end all the same."""
    monkeypatch.setattr(concurrent.futures, "_base", concurrent.futures._base)  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "concurrent.futures._base")
    found: list[BaseException] = []
    finders = list(sys.meta_path)
    end = watch_futures(found.append)
    later = importlib.import_module("concurrent.futures._base")
    future = later.Future()
    future.set_exception(ValueError("lost"))
    del future
    end()

    assert [type(exc) for exc in found] == [ValueError]
    assert sys.meta_path == finders
    assert not hasattr(later.Future, "__del__")


def test_what_a_call_in_a_thread_gives_away_belongs_to_the_attempt_that_gave_the_call(said: list[str]) -> None:
    """The thread was started by an earlier one: a job that has failed does it again."""
    with ThreadPoolExecutor(1) as outer, ThreadPoolExecutor(1) as inner:

        def give_away() -> None:
            wait([inner.submit(fail)])
            inner.submit(int).result()  # so that its thread has let go of the call before

        begin_attempt().end(None)
        outer.submit(give_away).result()
        assert said == ["ValueError"]

        attempt = begin_attempt()
        outer.submit(give_away).result()
        assert said == ["ValueError"]
        attempt.end(KeyError("the job itself"))
        assert said == ["ValueError"]

        attempt = begin_attempt()
        outer.submit(give_away).result()
        attempt.end(None)
        assert said == ["ValueError"] * 2


def test_pools_of_threads_that_are_made_otherwise_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed of them is no promise of Python's."""
    monkeypatch.delattr("concurrent.futures.thread._WorkItem")
    watch_futures(lambda _: None)()
