"""The works: what is yielded and what is called with it, the same for Taskmaster and for every
peer.

Imported by the peers and their workers, and the target of ``tm-run``. Numbers come as text from
there. It imports nothing that takes time, because each worker pays for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["COMMON", "KILOBYTE", "MILLISECOND", "NOTES", "SHORT", "TENTH", "WORKERS", "Work", "read_notes"]

WORKERS = 2
"""Worker processes of everything that is measured."""

NOTES = "BENCHMARK_NOTES"
"""The environment variable that names the file in which workers note when something happened."""

KILOBYTE = 1024
MILLISECOND = 0.001
SHORT = 0.0001
"""Seconds that a job of W5 computes, if it is not the straggler."""

TENTH = 0.1
"""Seconds that a job of W10 awaits."""

PLACE = 50  # where among the jobs of W5 the straggler is
GROUP = 10  # jobs of W11 that come together


class Work(NamedTuple):
    """A work that every peer can do.

    Attributes:
        jobs: gives a generator of so many jobs.
        handle: called with each.
        seconds: what a job takes; 0 if it does nothing.
    """

    jobs: Callable[[int], Iterator[Any]]
    handle: Callable[[Any], None]
    seconds: float = 0.0


# -- jobs ------------------------------------------------------------------------------------------


def integers(n: int | str, last: int = -1) -> Iterator[int]:
    """W1, W3, W6, W7, W9, W10: numbers."""
    yield from range(last + 1, int(n))


def texts(n: int | str, size: int | str = KILOBYTE) -> Iterator[str]:
    """W2, W7: texts of so many bytes, all different, so that no pickle can name one instead of
    holding it.
    """
    padding = "." * (int(size) - 12)
    for number in range(int(n)):
        yield f"{number:012d}{padding}"


def then_slow(n: int | str, slow: int | str) -> Iterator[int]:
    """W4: fast jobs, and at the end some slow ones, whose numbers are below zero."""
    yield from range(int(n) - int(slow))
    yield from range(-int(slow), 0)


def straggling(n: int | str, seconds: int | str) -> Iterator[int]:
    """W5: short jobs, and early among them one that takes ``seconds``: its number, below zero, says
    how many.
    """
    yield from range(PLACE)
    yield -int(seconds)
    yield from range(PLACE + 1, int(n))


def pausing(n: int | str) -> Iterator[tuple[int, float]]:
    """W11: jobs that know when they were yielded, with a pause of a second after every ten."""
    for number in range(int(n)):
        if number and number % GROUP == 0:
            time.sleep(1.0)
        yield number, time.monotonic()


def blocking(n: int | str, seconds: float | str) -> Iterator[tuple[int, float]]:
    """W11: one job that runs nearly as long as the generator blocks then, some that take no time,
    and the rest after that.
    """
    yield 0, 0.9 * float(seconds)
    yield from ((number, 0.0) for number in range(1, int(n) // 2))
    time.sleep(float(seconds))
    yield from ((number, 0.0) for number in range(int(n) // 2, int(n)))


# -- callbacks -------------------------------------------------------------------------------------


def nothing(job: Any) -> None:
    """W1, W2, W6, W7, W9: do nothing."""


def busy(job: Any) -> None:  # noqa: ARG001
    """W3: compute for a millisecond."""
    compute(MILLISECOND)


def rest(job: int) -> None:
    """W4: sleep for a second if it is a slow one."""
    if job < 0:
        time.sleep(1.0)


def straggle(job: int) -> None:
    """W5: compute for a short time, or for as long as the straggler says."""
    compute(SHORT if job >= 0 else float(-job))


async def wait(job: Any) -> None:  # noqa: ARG001
    """W10: await a tenth of a second."""
    import asyncio

    await asyncio.sleep(TENTH)


def arrive(job: tuple[int, float]) -> None:
    """W11: note how long after its yield the job starts, but for the first ten, for which the
    workers have to start.
    """
    if job[0] >= GROUP:
        note("late", time.monotonic() - job[1])


def mark(job: Any) -> None:  # noqa: ARG001
    """Note when the job ran."""
    note("job", time.monotonic())


def hold(job: tuple[int, float]) -> None:
    """W11: note that the job runs, and sleep for as long as it says."""
    note("ran", job[0])
    time.sleep(job[1])


def compute(seconds: float) -> None:
    """Use the processor for so long. By the thread's own clock: time in which another process had
    it does not count.
    """
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


# -- what workers note -----------------------------------------------------------------------------


def setup() -> None:
    """Once in each of Taskmaster's workers, before its first job."""
    note("setup", time.monotonic())


def teardown() -> None:
    """Once in each of Taskmaster's workers, after its last job."""
    note("teardown", time.monotonic())


def note(word: str, number: float) -> None:
    """Append to the notes, if there are any; a line is written at once, and whole.

    Moments are of the monotonic clock, which all processes of a machine share.
    """
    if place := os.environ.get(NOTES):
        with Path(place).open("a") as file:
            file.write(f"{word} {number}\n")


def read_notes(place: Path) -> dict[str, list[float]]:
    """What was noted, by word."""
    found: dict[str, list[float]] = {}
    for line in place.read_text().splitlines() if place.exists() else ():
        word, number = line.split()
        found.setdefault(word, []).append(float(number))
    return found


COMMON = {"W1": Work(integers, nothing), "W2": Work(texts, nothing), "W3": Work(integers, busy, MILLISECOND)}
"""The works that are measured on every peer."""
