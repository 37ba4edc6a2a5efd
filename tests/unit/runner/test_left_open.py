"""What jobs in the master's own process leave undone: what is said of it."""

from __future__ import annotations

import logging

import pytest

from taskmaster.runner import left_open as module
from taskmaster.runner.left_open import LeftOpen


@pytest.mark.parametrize(("seconds", "said"), [(30.0, "30 s"), (-0.6, "1 s")])
def test_threads_that_were_given_up_are_named_with_the_time_they_had(
    seconds: float, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where tasks of the event loop have used up the grace, there is a second still: not "-1 s"."""
    monkeypatch.setattr(module, "is_command", lambda: True)
    monkeypatch.setattr(module, "_wait", lambda _: "threads to end (Thread-7)")
    monkeypatch.setattr(module, "_leave", lambda: None)
    left = LeftOpen()
    left.wait(seconds)
    with caplog.at_level(logging.WARNING, "taskmaster"):
        assert left.tell() == 1

    assert f"they still waited for threads to end (Thread-7) after {said} (--grace)" in caplog.text
