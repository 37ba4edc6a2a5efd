"""Processes whose clock stands still."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

import pytest

from taskmaster.errors import TargetError
from taskmaster.runtime import replaced_clock


def test_a_clock_that_goes_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is set to another time."""
    replaced_clock.check("jobs.py")
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() - 1e6)
    replaced_clock.check("jobs.py")


@pytest.mark.parametrize(
    ("name", "replacement", "said"),
    [
        ("monotonic", lambda: 5.0, "stands still: jobs.py"),
        ("sleep", lambda _: None, "does not wait: jobs.py"),
        ("sleep", MagicMock(), "does not wait: jobs.py"),
    ],
    ids=["clock", "sleep", "mock"],
)
def test_what_stands_or_does_not_wait_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, replacement: object, said: str
) -> None:
    """Whoever has replaced it."""
    monkeypatch.setattr(time, name, replacement)
    with pytest.raises(TargetError, match=said):
        replaced_clock.check("jobs.py")
