"""Standard streams that a process was started without."""

from __future__ import annotations

import os
import sys

import pytest

from taskmaster.runtime import standard_streams


def test_streams_that_python_has_not_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed then goes where the descriptor leads."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    standard_streams.fill()

    assert (sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno()) == (0, 1, 2)


def test_what_is_open_stays_as_it_is() -> None:
    """The streams of a process that has them all are not touched."""
    before = [os.fstat(number) for number in (0, 1, 2)], sys.stdin, sys.stdout, sys.stderr
    standard_streams.fill()

    assert ([os.fstat(number) for number in (0, 1, 2)], sys.stdin, sys.stdout, sys.stderr) == before
