"""What is looked at when a worker ends."""

from __future__ import annotations

import threading

import pytest

from taskmaster.slave.worker import ending


@pytest.mark.parametrize(
    ("name", "daemon", "looked_at"),
    [("taskmaster-ending", True, False), ("writer", True, True), ("writer", False, False)],
)
def test_only_daemons_of_callbacks_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, name: str, daemon: bool, looked_at: bool
) -> None:
    """The thread that watches an end is a daemon, too: for it alone, nothing is imported."""
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.Thread(name=name, daemon=daemon)])

    assert ending.has_daemons() is looked_at
