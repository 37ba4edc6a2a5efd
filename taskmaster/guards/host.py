"""Guards of the machine that the master runs on: its processors, and the space on its disks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from taskmaster.guards.guard import BYTES, Floor, Guard, Unknown
from taskmaster.units import bytes_of, fraction_of

__all__ = ["cpu_load", "disk_free", "free_space"]

PROC_STAT = "/proc/stat"
IDLE_COLUMNS = (3, 4)  # of the first line, counted after the name: idle, and waiting for a disk
COUNTED_COLUMNS = 8  # guests, which come behind, are in the columns of their hosts already
SHORTEST_SPAN_SECONDS = 0.5  # least time between two readings: the kernel counts in hundredths of a second


def cpu_load(limit: float | str) -> Guard:
    """Wait while the processors of the master's machine are busy for more than a part of the time.

    It is measured from one look to the next, about a second. The run's own work on this machine
    counts too: with slaves on the same machine, give a limit that they leave room for.

    Args:
        limit: the limit for all processors together, as a fraction or a text like ``"80%"``.

    Example::

        throttle = cpu_load("80%")
    """
    percent = 100 * fraction_of("the limit of cpu_load", limit, "80% or 0.8")
    return Guard(_BusyShare(), percent, "load of the processors", "%")


def disk_free(least: int | str, path: str | os.PathLike[str]) -> Guard:
    """Wait while less than ``least`` is free on the disk of a path of the master's machine.

    Free is what processes without special rights may still write.

    Args:
        least: bytes, or a text like ``"20G"``; or a percentage of the disk like ``"10%"``.
        path: a file or directory on that disk.

    Example::

        throttle = disk_free("20G", "/var/lib/postgresql")
    """
    where = os.fspath(path)

    def read() -> tuple[int, int]:
        from shutil import disk_usage  # with its archives, it takes as long to load as all guards

        try:
            found = disk_usage(where)
        except OSError as exc:
            raise Unknown(exc.strerror or type(exc).__name__) from None
        return found.total, found.free

    return free_space(f"free space at {where}", least, read)


def free_space(what: str, least: int | str, read: Callable[[], tuple[int, int]]) -> Floor:
    """Return a guard of the free space of a disk.

    Args:
        what: How people call it.
        least: as for ``disk_free``.
        read: Gives the bytes of the disk, and those that are free, or raises ``Unknown``; its
            ``close()`` is called at the end, if it has one.
    """
    option = f"the limit of {what}"
    if isinstance(least, str) and least.strip().endswith("%"):
        return Floor(_Free(read, percent=True), 100 * fraction_of(option, least, "10%"), what, "%")
    return Floor(_Free(read, percent=False), bytes_of(option, least), what, BYTES)


class _Free:
    def __init__(self, read: Callable[[], tuple[int, int]], *, percent: bool) -> None:
        self._read = read
        self._percent = percent

    def __call__(self) -> float:
        total, free = self._read()
        return 100.0 * free / max(1, total) if self._percent else free

    def try_out(self) -> None:
        look = getattr(self._read, "try_out", None)
        if look is not None:
            look()

    def close(self) -> None:
        close = getattr(self._read, "close", None)
        if close is not None:
            close()


class _BusyShare:
    """The percentage of the time since the last reading in which the processors were busy."""

    def __init__(self) -> None:
        self._before: tuple[float, int, int] | None = None  # moment; busy and all hundredths of a second until then
        self._percent: float | None = None

    def __call__(self) -> float:
        """Raise ``Unknown`` at the first look, which has nothing to compare with."""
        now = time.monotonic()
        if self._before is None or now - self._before[0] >= SHORTEST_SPAN_SECONDS:
            busy, all_ = _counted()
            if self._before is not None and all_ > self._before[2]:
                self._percent = 100.0 * (busy - self._before[1]) / (all_ - self._before[2])
            self._before = now, busy, all_
        if self._percent is None:
            raise Unknown("it is measured from one look to the next")
        return self._percent


def _counted() -> tuple[int, int]:
    """Return for how long all processors were busy until now, and the time that there was for it,
    both in hundredths of a second.

    Raises:
        Unknown: this system does not count it as Linux does (proc(5), ``/proc/stat``).
    """
    try:
        line = Path(PROC_STAT).read_text("ascii").partition("\n")[0]
        columns = [int(column) for column in line.split()[1 : 1 + COUNTED_COLUMNS]]
    except (OSError, ValueError):
        raise Unknown(f"{PROC_STAT} cannot be read") from None
    all_ = sum(columns)
    return all_ - sum(columns[index] for index in IDLE_COLUMNS), all_
