"""Processors and disks of the machine: what is made of the numbers that the system gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards import cpu_load, disk_free, host


class Usage(NamedTuple):
    """As shutil gives it."""

    total: int
    used: int
    free: int


class Machine:
    """A clock, and what /proc/stat says at its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.now = 0.0
        self._stat = tmp_path / "stat"
        monkeypatch.setattr(host, "PROC_STAT", str(self._stat))
        monkeypatch.setattr(host.time, "monotonic", lambda: self.now)

    def says(self, user: int, idle: int, waiting: int = 0, guest: int = 0) -> None:
        self._stat.write_text(f"cpu  {user} 0 0 {idle} {waiting} 0 0 0 {guest} 0\ncpu0 1 2 3 4\n")


def test_the_load_is_measured_from_one_look_to_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Waiting for a disk is no load, and guests are counted once."""
    machine, guard = Machine(monkeypatch, tmp_path), cpu_load("80%")
    machine.says(user=1000, idle=1000)

    assert guard() == "load of the processors is unknown: it is measured from one look to the next"

    machine.now = 1.0
    machine.says(user=1090, idle=1010, guest=500)
    assert guard() == "load of the processors 90 %, above 80 %"

    machine.now = 2.0
    machine.says(user=1150, idle=1020, waiting=30, guest=900)
    assert guard() == ""
    assert guard.value == 60.0


def test_two_looks_in_quick_succession_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system counts in hundredths of a second."""
    machine, guard = Machine(monkeypatch, tmp_path), cpu_load(0.8)
    machine.says(user=0, idle=0)
    guard()
    machine.now = 1.0
    machine.says(user=50, idle=50)
    guard()
    machine.now = 1.1
    machine.says(user=60, idle=50)

    assert guard() == ""
    assert guard.value == 50.0


def test_a_load_that_the_system_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On another system than Linux, or in a container without /proc."""
    Machine(monkeypatch, tmp_path)

    assert cpu_load(0.8)().startswith("load of the processors is unknown: ")


@pytest.mark.parametrize(
    ("least", "reason"),
    [
        ("1G", "free space at /data 512M, below 1G"),
        (2**29, ""),
        ("60%", "free space at /data 50 %, below 60 %"),
        ("50%", ""),
    ],
)
def test_the_free_space_is_bytes_or_a_share(monkeypatch: pytest.MonkeyPatch, least: int | str, reason: str) -> None:
    """Of what processes without special rights may write."""
    monkeypatch.setattr(shutil, "disk_usage", lambda where: Usage(2**30, 2**28, 2**29))

    assert disk_free(least, "/data")() == reason


def test_a_path_that_is_not_there_is_unknown() -> None:
    """The module that names it is imported on the machines of the slaves, too."""
    guard = disk_free("1G", "/no/such/place")

    assert guard() == "free space at /no/such/place is unknown: No such file or directory"


@pytest.mark.parametrize("least", ["much", 0, "0%", "120%", None])
def test_a_limit_that_is_none_is_refused(least: object) -> None:
    """Where it is given."""
    with pytest.raises(UsageError, match="the limit of free space at /"):
        disk_free(least, "/")  # type: ignore[arg-type]
