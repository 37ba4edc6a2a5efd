"""What a callback returns: work to be waited for, and work that nobody has begun."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from taskmaster.outcomes import Skip
from taskmaster.slave.worker.results import NothingRan, ProgramFailed, Results


def no_loop(_: Awaitable[Any]) -> Any:
    """Stand for a loop where nothing is to be awaited."""
    raise AssertionError("nothing was to be awaited")


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


def itself(job: Any) -> Any:
    return job


@contextlib.contextmanager
def manager() -> Iterator[None]:
    yield


def once(times: Any) -> Callable[[Any], Any]:
    """A decorator that was used without its parentheses: it returns the one that decorates."""

    def decorate(function: Any) -> Any:
        return function

    return decorate


LAZY: dict[str, Callable[[], Any]] = {
    "a generator": generator,
    "an async generator": async_generator,
    "a map object": lambda: map(print, [1]),
    "a filter object": lambda: filter(None, [1]),
    "a zip object": lambda: zip([1], [2], strict=True),
    "itertools.chain": lambda: itertools.chain([1], [2]),
    "itertools.starmap": lambda: itertools.starmap(print, [(1,)]),
    "a context manager": manager,
    "decorate": lambda: once(3),
    "the function partial": lambda: functools.partial(print, 1),
    "print": lambda: print,
}


@pytest.mark.parametrize("what", LAZY)
@pytest.mark.parametrize("inside", [False, True], ids=["itself", "in a list"])
def test_what_would_have_to_be_run_is_refused(what: str, inside: bool) -> None:
    """Also in a list, as a handle_jobs may return it; the sentence says what it is."""
    made = LAZY[what]()

    with pytest.raises(NothingRan, match=what):
        Results("handle_job()", no_loop).finish([made] if inside else made)


class Harmless:
    def __iter__(self) -> Iterator[int]:
        return iter([1])

    def __next__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "value",
    [
        *[
            None,
            1,
            "text",
            b"x",
            1.5,
            object(),
            [1, 2],
            (),
            {"a": 1},
            {1},
            range(3),
            iter([1]),
            Harmless(),
            Harmless,
        ]
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_no_concern(value: Any) -> None:
    """Cursors and files are iterators too, and have done their work."""
    Results("handle_job()", no_loop).finish(value)


def test_a_type_is_looked_at_once() -> None:
    """Afterwards the loop that runs the jobs does not even ask."""
    results = Results("handle_job()", no_loop)
    results.finish(Harmless())

    assert Harmless in results.plain
    assert list not in results.plain


async def done(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


@pytest.mark.parametrize(
    "wrap", [itself, lambda made: [made, made], lambda made: {"a": made}], ids=["plain", "list", "dict"]
)
def test_what_can_be_awaited_is_awaited(wrap: Callable[[Any], Any]) -> None:
    """Each of them, and what that returns is looked at in turn."""
    seen: list[Any] = []

    def run(awaitable: Awaitable[Any]) -> Any:
        seen.append(awaitable)
        return generator() if len(seen) == 2 else None

    Results("handle_job()", run).finish(None)
    first = done(1)
    if isinstance(wrap(1), int | dict):
        Results("handle_job()", run).finish(wrap(first))
    else:
        with pytest.raises(NothingRan):
            Results("handle_job()", run).finish([first, done(2)])

    assert first in seen
    for one in seen:
        one.close()


def failed() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(OSError("no disk"))
    return future


def test_a_future_is_waited_for() -> None:
    """What it raised is raised; so is what a job of a multiprocessing pool has raised."""
    with pytest.raises(OSError, match="no disk"):
        Results("handle_job()", no_loop).finish(failed())
    with ThreadPool(1) as pool, pytest.raises(ZeroDivisionError):
        Results("handle_job()", no_loop).finish(pool.apply_async(divmod, (1, 0)))


def test_in_a_loop_all_of_it_is_awaited() -> None:
    """Coroutines, futures, results of a pool; and what is lazy is refused there too."""
    results = Results("handle_job()", no_loop)

    async def finish(value: Any) -> None:
        await results.finish_async(value)

    asyncio.run(finish([done(1)]))
    with pytest.raises(OSError, match="no disk"):
        asyncio.run(finish(failed()))
    with ThreadPool(1) as pool, pytest.raises(ZeroDivisionError):
        asyncio.run(finish(pool.apply_async(divmod, (1, 0))))
    with pytest.raises(NothingRan):
        asyncio.run(finish(done(generator())))


@pytest.mark.parametrize("wrap", [lambda one: {"a": [one]}, lambda one: [(one,)], lambda one: ([{"b": one}],)])
def test_containers_in_containers_are_looked_into(wrap: Callable[[Any], Any]) -> None:
    """What begins nothing is found there, and what can be awaited is awaited."""
    awaited = []

    async def work() -> None:
        awaited.append(1)

    Results("handle_job()", asyncio.run).finish(wrap(work()))

    assert awaited == [1]
    with pytest.raises(NothingRan, match="a generator in a"):
        Results("handle_job()", no_loop).finish(wrap(one for one in range(3)))


@pytest.mark.parametrize("result", [ValueError("x"), ValueError, [1, ValueError("x")], {"a": [ValueError("x")]}])
def test_an_exception_that_is_returned_counts_as_raised(result: Any) -> None:
    """As ``asyncio.gather(return_exceptions=True)`` returns them."""
    results = Results("handle_job()", no_loop)
    results.finish(int)
    with pytest.raises(ValueError, match=r"x|^$"):
        results.finish(result)


def test_a_program_that_is_returned_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its exit code is the job's."""
    results = Results("handle_job()", no_loop)
    program = object.__new__(subprocess.Popen)
    program.args, program.returncode, program._child_created = "false", 3, False  # type: ignore[attr-defined]
    monkeypatch.setattr(program, "communicate", lambda: (None, None), raising=False)
    with pytest.raises(ProgramFailed, match="'false' has ended with exit code 3"):
        results.finish(program)
    program.returncode = 0
    results.finish(program)


def test_a_thread_that_is_returned_is_waited_for() -> None:
    """One that was never started has done nothing."""
    results, done = Results("handle_job()", no_loop), []
    thread = threading.Thread(target=lambda: done.append(1))
    with pytest.raises(NothingRan, match=r"a thread that was not started: call its start\(\)"):
        results.finish(thread)
    thread.start()
    results.finish([thread])
    assert done == [1]


def test_what_executor_map_gives_is_waited_for() -> None:
    """Its calls are under way already, and one that raised fails the job."""
    results = Results("handle_jobs()", no_loop)
    with ThreadPoolExecutor(1) as pool:
        results.finish(pool.map(str, [1, 2]))
        with pytest.raises(ValueError, match="invalid literal"):
            results.finish(pool.map(int, ["1", "x"]))


def test_false_is_said_to_be_no_failure_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Many languages and libraries say so that something has failed; here it would be lost."""
    results = Results("handle_job()", no_loop)
    for value in (True, None, [False], {"a": False}, 0, True):
        results.finish(value)
    assert capsys.readouterr().err == ""

    for value in (False, True, False):
        results.finish(value)

    said = capsys.readouterr().err
    assert said.count("handle_job() has returned False") == 1
    assert "raise an exception" in said
    assert bool in results.plain


async def skip() -> None:
    raise Skip("done before")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in a loop"])
def test_what_is_left_out_hides_nothing(order: int, at_once: bool) -> None:
    """Of several outcomes, an error counts; and all that was returned is run."""
    run: list[int] = []

    async def save() -> None:
        run.append(1)

    def finish(found: list[Any]) -> None:
        results = Results("handle_job()", asyncio.run)
        if at_once:
            asyncio.run(results.finish_async(found[::order]))
        else:
            results.finish(found[::order])

    with pytest.raises(ValueError, match="bad"):
        finish([Skip("done before"), ValueError("bad")])
    for outcome in (Skip("done before"), Skip, skip()):
        with pytest.raises(Skip):
            finish([outcome, None, save()])
    assert run == [1, 1, 1]
