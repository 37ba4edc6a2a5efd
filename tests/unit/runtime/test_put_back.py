"""What Taskmaster has replaced of Python's own is put back, and what others have replaced on top of
it stays.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.runtime.exit_guard import exit_guarded
from taskmaster.runtime.put_back import put_back
from taskmaster.runtime.signals import Signals
from taskmaster.slave.worker.given_away import GivenAway
from taskmaster.slave.worker.unawaited import HOOK, Unawaited


class Ended(BaseException):
    """Stands in for the end of the process."""


def test_what_is_still_ours_is_put_back() -> None:
    """Or taken away, where there was nothing."""
    owner = SimpleNamespace(one="ours", two="ours", three="theirs")
    put_back(owner, "one", owner.one, "former")
    put_back(owner, "two", owner.two, None)
    put_back(owner, "three", "ours", "former")

    assert vars(owner) == {"one": "former", "three": "theirs"}


def test_a_function_that_was_replaced_on_top_of_the_exit_guard_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """And reaches the real one, as it would have done without."""

    def end(*given: object) -> None:
        raise Ended(*given)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(os, "execv", end)
    with exit_guarded():
        os._exit = theirs = partial(os._exit)  # type: ignore[assignment]
        os.execv = also_theirs = partial(os.execv)  # type: ignore[assignment]

    assert os._exit is theirs
    assert os.execv is also_theirs
    with pytest.raises(Ended, match=r"^0$"):
        os._exit(0)
    with pytest.raises(Ended, match="there"):
        also_theirs("there", [])


def test_what_was_replaced_on_top_of_the_watch_over_threads_and_calls_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer's, for example, that a callback has loaded."""
    start, hook = threading.Thread.start, threading._make_invoke_excepthook  # type: ignore[attr-defined]
    result = Future.result
    noted: list[str] = []
    watch = GivenAway(lambda sentence, _: noted.append(sentence))
    ours, asked = threading.Thread.start, Future.result
    seen: list[Any] = []

    def traced(thread: threading.Thread) -> None:
        seen.append(thread)
        ours(thread)

    monkeypatch.setattr(threading.Thread, "start", traced)
    monkeypatch.setattr(Future, "result", lambda future, timeout=None: asked(future, timeout))
    theirs = Future.result
    watch.end()

    assert threading.Thread.start is traced
    assert Future.result is theirs
    assert threading._make_invoke_excepthook is hook  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    future: Future[int] = Future()
    future.set_result(7)
    assert (seen, future.result(), noted) == ([thread], 7, [])
    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(Future, "result", result)


def test_a_hook_for_coroutines_that_was_set_on_top_of_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it passes on is counted against no job any more."""
    said: list[Any] = []
    monkeypatch.setattr(warnings, HOOK, said.append)
    found: list[Any] = []
    with Unawaited(found.append):
        theirs = partial(getattr(warnings, HOOK))
        setattr(warnings, HOOK, theirs)

    assert getattr(warnings, HOOK) is theirs
    getattr(warnings, HOOK)(1)
    assert (said, found) == ([1], [])


def test_a_handler_that_was_set_on_top_of_ours_stays_and_reaches_the_former_one() -> None:
    """As one that a callback has set for its own clean-up."""
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("former"))
    try:
        with Signals() as signals:
            ours: Any = signal.getsignal(signal.SIGTERM)

            def theirs(number: int, frame: Any) -> None:
                heard.append("theirs")
                ours(number, frame)

            signal.signal(signal.SIGTERM, theirs)
        assert signal.getsignal(signal.SIGTERM) is theirs
        signal.raise_signal(signal.SIGTERM)
        assert (heard, signals.received) == (["theirs", "former"], 0)
    finally:
        signal.signal(signal.SIGTERM, before)
