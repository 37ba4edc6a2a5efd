"""What threads, executors and pools fail with, while somebody wants to know it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from taskmaster.slave.worker.attempts import InTurn
from taskmaster.slave.worker.given_away import GivenAway


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest has its own word about what threads raise."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What has been noticed."""
    found: list[str] = []
    given_away = GivenAway(lambda sentence, _: found.append(sentence))
    yield found
    given_away.end()


def thread_fails(*, daemon: bool = False) -> None:
    def fail() -> None:
        raise OSError("lost")

    thread = threading.Thread(target=fail, daemon=daemon)
    thread.start()
    thread.join()


def call_fails() -> None:
    future: Future[None] = Future()
    future.set_exception(ValueError("lost"))


def test_what_fails_is_noticed(said: list[str]) -> None:
    """A thread, and a call at whose future nobody looks."""
    thread_fails()
    call_fails()

    assert said[0] == "a thread that a callback has started raised OSError"
    assert said[1].startswith("a call that a callback has given to an executor or a pool raised ValueError")


def test_what_a_failed_job_has_begun_is_done_again(said: list[str]) -> None:
    """With the job."""
    with InTurn([0, 0]) as in_turn:
        thread_fails()
        in_turn.fail(ValueError())

    assert said == []


def test_the_newest_is_told(said: list[str]) -> None:
    """A job that starts a run of its own hears of that run's work there."""
    inner: list[str] = []
    newest = GivenAway(lambda sentence, _: inner.append(sentence))
    thread_fails()
    newest.end()
    call_fails()

    assert len(inner) == len(said) == 1
    assert "OSError" in inner[0]
    assert "ValueError" in said[0]


def test_a_daemon_thread_may_miss_at_the_end_what_is_closed() -> None:
    """Before that, what it raises counts."""
    found: list[str] = []
    ending = False
    given_away = GivenAway(lambda sentence, _: found.append(sentence), lambda: ending)
    thread_fails(daemon=True)
    ending = True
    thread_fails(daemon=True)
    given_away.end()

    assert len(found) == 1


def test_nothing_is_left_of_it() -> None:
    """A script goes on after its run; runs of two threads may end in any order."""
    before = threading.Thread.start, threading._make_invoke_excepthook, Future.result  # type: ignore[attr-defined]
    one, other = GivenAway(lambda *_: None), GivenAway(lambda *_: None)
    assert threading.Thread.start is not before[0]
    one.end()
    other.end()
    other.end()

    assert (threading.Thread.start, threading._make_invoke_excepthook, Future.result) == before  # type: ignore[attr-defined]
    assert not hasattr(Future, "__del__")
