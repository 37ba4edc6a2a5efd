"""What the throttle knows of a hook: what it said, that it hangs, that it raised."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.guards import Floor, Guard
from taskmaster.master.throttle.hooks import HOOK_TIMEOUT_SECONDS, MOST_LOGGED, Hook
from taskmaster.master.throttle.throttle import Throttle


def test_what_was_not_asked_is_not_known() -> None:
    """And means wait."""
    assert Hook(lambda: "").why(0.0) == "<lambda>() is not known yet"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", ""), (None, ""), (False, ""), (0, ""), ([], ""),
        ("backup\n  runs", "backup runs"), (True, "throttle() says so"), (3, "throttle() says so"),
        ("x" * 1000, "x" * 300), ("\n", "no reason is given"),
    ],
)  # fmt: skip
def test_what_a_hook_returns_is_the_reason(said: Any, why: str) -> None:
    """In one line; what is true and no text is a reason too."""

    def throttle() -> Any:
        return said

    hook = Hook(throttle)
    hook.ask()

    assert hook.why(0.0) == why


@pytest.mark.parametrize(
    ("value", "limit", "told"), [(1.0, 2.0, (1.0, 2.0)), (math.nan, 2, (None, 2)), (1, math.inf, None)]
)
def test_a_number_that_json_does_not_have_is_not_told(value: float, limit: float, told: Any) -> None:
    """A hook of the user's may have any ``value`` and ``limit``; programs read them as JSON."""

    class Load:
        def __call__(self) -> str:
            return ""

    load = Load()
    vars(load).update(value=value, limit=limit)
    figure = Hook(load).figure()

    assert (figure and (figure["value"], figure["limit"])) == told


def test_what_raises_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    """The reason has the exception's text; the traceback is logged once for each error that differs
    from others.
    """
    errors = iter([ValueError("a"), ValueError("a"), KeyError("b"), SystemExit(3)])

    def throttle() -> str:
        raise next(errors)

    hook = Hook(throttle)
    for expected in ("ValueError: a", "ValueError: a", "KeyError: 'b'", "SystemExit: 3"):
        hook.ask()
        assert hook.why(0.0) == f"throttle() is not known: it raised {expected}"
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "raise next(errors)" in caplog.text


def test_errors_that_are_always_different_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A text with the time of day in it is another one every second."""
    numbers = iter(range(10 * MOST_LOGGED))

    def throttle() -> str:
        raise ValueError(next(numbers))

    hook = Hook(throttle)
    for _ in range(2 * MOST_LOGGED):
        hook.ask()

    assert len(caplog.records) == MOST_LOGGED


def test_an_exception_without_a_text_is_no_reason_to_fail() -> None:
    """A broken __str__ is the user's, and must not end the thread."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def throttle() -> str:
        raise Broken

    hook = Hook(throttle)
    hook.ask()

    assert hook.why(0.0) == "throttle() is not known: it raised Broken"


def test_a_hook_that_hangs_is_not_known() -> None:
    """What it said before counts for a few seconds; what it says at last counts again."""
    now, hangs, goes_on = 0.0, threading.Event(), threading.Event()
    calls: list[Callable[[], object]] = [lambda: None, lambda: (hangs.set(), goes_on.wait(30.0))[0]]

    def throttle() -> object:
        return calls.pop(0)()

    hook = Hook(throttle, clock=lambda: now)
    hook.ask()
    assert hook.why(0.0) == ""

    now = 10.0
    thread = threading.Thread(target=hook.ask)
    thread.start()
    assert hangs.wait(30.0)
    assert hook.why(10.0 + HOOK_TIMEOUT_SECONDS) == ""
    assert hook.why(40.0) == "throttle() is not known: it has not answered for 30 s"
    goes_on.set()
    thread.join()
    assert hook.why(41.0) == ""


def test_the_end_of_a_run_does_not_wait_for_a_hook_that_hangs() -> None:
    """It is left alone, in a thread that does not keep the process."""
    hangs, goes_on = threading.Event(), threading.Event()
    throttle = Throttle(hooks=[lambda: (hangs.set(), goes_on.wait(30.0))[0]])
    throttle.start()
    assert hangs.wait(30.0)

    throttle.stop()

    assert throttle._hooks[0]._thread.is_alive()
    assert throttle._hooks[0]._thread.daemon
    goes_on.set()
    throttle._hooks[0].join(30.0)


def test_a_guard_is_closed_at_the_end() -> None:
    """By the thread that has called it."""
    closed = []

    class Reading:
        def __call__(self) -> float:
            return 1.0

        def close(self) -> None:
            closed.append(threading.current_thread().name)

    throttle = Throttle(hooks=[Guard(Reading(), 2, "load")])
    throttle.start()
    throttle.stop()
    throttle._hooks[0].join(30.0)

    assert closed == ["taskmaster-load"]


def test_what_was_near_the_limit_counts_for_some_seconds() -> None:
    """A rise at once, a fall by a twentieth a second; what is unknown is nothing."""
    now, values = 0.0, iter([2.5, 8.5, 0.5, 0.5, None, 0.5])
    hook = Hook(Guard(lambda: next(values), 10, "lag", "s"), clock=lambda: now)  # type: ignore[arg-type,return-value]
    found = []
    for moment in (0.0, 1.0, 2.0, 12.0, 13.0, 14.0):
        now = moment
        hook.ask()
        found.append(hook.utilisation)

    assert found == [0.25, 0.85, pytest.approx(0.8), pytest.approx(0.3), None, 0.05]


@pytest.mark.parametrize(
    ("value", "limit", "used"), [(0, 0, 0.0), (1, 0, 1.0), (4, 4, 0.8), (100, 100, 1.0), (2.5, 5, 0.5)]
)
def test_of_few_things_one_more_than_the_limit_stops_the_run(value: float, limit: int, used: float) -> None:
    """A limit of 4 connections allows four of them, at a good speed."""
    hook = Hook(Guard(lambda: value, limit, "connections"), clock=lambda: 0.0)
    hook.ask()

    assert hook.utilisation == used


def test_many_of_few_things_that_there_should_be_are_far_from_the_limit() -> None:
    """Twenty connections are free where five have to be: the run was slowed to a twentieth."""
    hook = Hook(Floor(lambda: 20, 5, "free connections"), clock=lambda: 0.0)
    hook.ask()

    assert hook.utilisation == 0.25
