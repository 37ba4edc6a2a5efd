"""What a fleet's file tells its slaves."""

from __future__ import annotations

import fcntl
import os

import pytest

from taskmaster.engine.child import Wanted
from taskmaster.engine.fleet_file import FleetFile, reader


@pytest.fixture(autouse=True)
def own_files(tmp_path, monkeypatch):
    """Keep the file in the test's directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_what_is_said_is_heard_while_the_fleet_lives(monkeypatch):
    """Go on, let running jobs end, end: the last word counts."""
    file = FleetFile("r")
    # The lock of this very process is none for it: as if another one asked.
    monkeypatch.setattr(fcntl, "lockf", _refused)
    wanted = reader(file.path)

    heard = []
    for will in (Wanted.YES, Wanted.DRAIN, Wanted.NO):
        file.say(will)
        heard.append(wanted())

    assert heard == [Wanted.YES, Wanted.DRAIN, Wanted.NO]


def test_a_fleet_that_has_ended_wants_nobody():
    """Whether it has removed its file, or was killed, which gives up the lock."""
    file = FleetFile("r")
    wanted = reader(file.path)
    os.close(file._file)  # as the kernel does with what a process had open
    file._file = None
    assert wanted() is Wanted.NO

    file.path.unlink()
    assert wanted() is Wanted.NO


def test_where_the_file_is_not_nothing_is_read():
    """As on another machine."""
    file = FleetFile("r")
    file.close()

    assert reader(file.path) is None
    file.close()


def _refused(*_: object) -> None:
    raise BlockingIOError
