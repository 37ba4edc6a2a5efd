"""What is said of work that a job has given away, once it is known how the job has ended."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed, wait

import pytest

from taskmaster.outcomes import Skip
from taskmaster.slave.worker.attempts import AttemptHere, InTurn, attempt_here, attempt_of, begin_attempt, watch_threads
from taskmaster.slave.worker.dropped_futures import tell_of_kept, watch_futures


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What has been noticed."""
    found: list[str] = []
    end = watch_futures(lambda exc: found.append(str(exc)))
    yield found
    end()


def failed(words: str) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(ValueError(words))
    return future


def inline() -> None:
    for future in as_completed([failed("one"), failed("other")]):
        future.result()


def by_name() -> None:
    futures = [failed("one"), failed("other")]
    for future in futures:
        future.result()


def waited_for() -> None:
    for future in wait([failed("one"), failed("other")])[0]:
        future.result()


@pytest.mark.parametrize("ask", [inline, by_name, waited_for], ids=lambda one: one.__name__)
def test_a_job_that_fails_has_heard_enough(said: list[str], ask: Callable[[], None]) -> None:
    """It is done again, and with it all that it has given away."""
    with InTurn([0, 0]) as in_turn:
        try:
            ask()
        except ValueError as exc:
            in_turn.fail(exc)
    assert said == []


def test_jobs_that_go_well_are_told_apart_from_those_that_fail(said: list[str]) -> None:
    """What the one before has thrown away is said, also where the next one fails."""
    head = [0, 0]
    with InTurn(head) as in_turn:
        failed("of the first")
        head[1] = 1
        failed("of the second")
        in_turn.fail(ValueError())
        failed("of the second, later")
        head[1] = 2
        failed("of the third")
        assert said == ["of the first"]
    assert said == ["of the first", "of the third"]
    assert attempt_here() is None
    failed("of teardown()")
    assert said[2:] == ["of teardown()"]


def test_a_job_that_is_left_out_is_not_done_again(said: list[str]) -> None:
    """What it has given away is lost, then."""
    with InTurn([0, 0]) as in_turn:
        failed("lost")
        in_turn.fail(Skip("not wanted"))
    assert said == ["lost"]


def test_what_is_kept_is_told_apart_as_well(said: list[str]) -> None:
    """At the end, when all jobs are over."""
    head, kept = [0, 0], []
    with InTurn(head) as in_turn:
        kept.append(failed("of the first"))
        head[1] = 1
        kept.append(failed("of the second"))
        in_turn.fail(ValueError())
    tell_of_kept()  # also of what other tests have left in this process
    assert [words for words in said if words.startswith("of the")] == ["of the first"]


def test_of_jobs_that_run_at_once_each_has_its_own(said: list[str]) -> None:
    """Also of what their tasks give away."""

    async def job(words: str, exc: Exception | None) -> None:
        attempt = begin_attempt()
        await asyncio.sleep(0)

        async def inner() -> None:
            failed(words)

        await asyncio.gather(inner())
        attempt.end(exc)

    async def play() -> None:
        await asyncio.gather(job("well", None), job("ill", ValueError()))

    asyncio.run(play())
    assert said == ["well"]


def test_a_thread_of_a_job_belongs_to_none() -> None:
    """It may go on when another job runs."""
    found: list[AttemptHere | None] = []
    with InTurn([0, 0]) as in_turn:
        thread = threading.Thread(target=lambda: found.append(in_turn.current()))
        thread.start()
        thread.join()
    assert found == [None]


def test_a_process_takes_nothing_of_it_along() -> None:
    """Where it is started anew, the object that stands for it is pickled."""
    assert pickle.loads(pickle.dumps(AttemptHere())) is None


def test_a_thread_knows_who_has_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what it raises belongs to that job."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    watch_threads()
    with InTurn([0, 0]) as in_turn:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        assert attempt_of(thread) is in_turn.current() is not None
