"""How much memory the jobs of the queue take, so that it is capped in bytes and not only in jobs.

Jobs that are numbers or moments all weigh the same and cost nothing here. Of all others one after
each few is weighed, by chance, and a chunk ends with the job that makes it heavy: rows that become
wide without notice are found after a few of them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from sys import getsizeof
from typing import Any
from uuid import UUID

from taskmaster.keys import payload_of
from taskmaster.master.records.job_records import ParkedJob, PickledJob
from taskmaster.model import Job

__all__ = ["LIGHT_BYTES", "Weights", "is_light", "weigh"]

LIGHT = frozenset({type(None), bool, int, float, datetime, date, time, timedelta, UUID})
FLAT = LIGHT | {str, bytes}
PLAIN_CONTAINERS = frozenset({dict, list, tuple})
LIGHT_BYTES = 100.0  # estimate for a job of one of these types
# Jobs behind one that was weighed, at least and at most: to weigh one costs as much as to send it.
# The number changes by chance, so that no pattern of large and small jobs hides the large ones.
LEAST_UNWEIGHED, MOST_UNWEIGHED = 11, 16
WEIGHED_LEVELS = 4  # containers within containers
PARTS = 1000  # most parts that are weighed of a container that holds other containers
FEW_PARTS = 50  # up to this many parts are weighed in a loop, which is faster than getsizeof() of each
SHORT_TEXT_CHARACTERS = 100  # characters, of which a text may take four bytes each without being large
ROUGH_BYTES = 50  # estimate for a number, a time, or an empty text


class Weights:
    """The bytes that were read, by position, less those that have left the queue.

    Args:
        chance: gives numbers from 0 to 1.

    Attributes:
        newest: Bytes of the chunk that was read last, as far as it was weighed.
        cut: Whether that chunk ended because it was heavy.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.cut = False
        self.newest = 0.0
        self._chance = chance
        self._chunks: deque[tuple[int, float]] = deque()  # where each ends, and what it weighs
        self._queued = 0.0

    def weighed(self, jobs: Iterable[Any], most: int) -> Iterator[Any]:
        """Yield the jobs of a chunk until they weigh more than ``most`` bytes."""
        # Of this module, no line runs for a job that is not weighed: a row takes 0.2 us to read.
        return chain.from_iterable(self._blocks(iter(jobs), most))

    def _blocks(self, jobs: Iterator[Any], most: int) -> Iterator[Iterable[Any]]:
        self.cut, self.newest = False, 0.0
        chance, various = self._chance, MOST_UNWEIGHED - LEAST_UNWEIGHED + 1
        for job in jobs:
            yield (job,)
            kind = type(job)
            unweighed = 0 if kind is PickledJob else LEAST_UNWEIGHED + int(chance() * various)
            self.newest += (getsizeof(job) if kind in FLAT else weigh(job)) * (unweighed + 1)
            if self.newest > most:
                self.cut = True
                return
            if unweighed:
                yield islice(jobs, unweighed)

    def add(self, end: int, weight: float) -> None:
        """Note what was read.

        Args:
            end: position behind its last job.
            weight: bytes of all of it.
        """
        self._chunks.append((end, weight))
        self._queued += weight

    def queued(self, head: int) -> float:
        """Return the bytes of what is in the queue, whose first job has the position ``head``."""
        while self._chunks and self._chunks[0][0] <= head:
            self._queued -= self._chunks.popleft()[1]
        return self._queued if self._chunks else 0.0


def is_light(job: Any) -> bool:
    """Return whether jobs of this kind cannot be large."""
    return type(payload_of(job)) in LIGHT


def weigh(value: Any, depth: int = WEIGHED_LEVELS) -> int:
    """Return about how many bytes of memory a value takes, with what it holds."""
    kind = type(value)
    if kind in FLAT:
        return getsizeof(value)
    if kind is dict:
        return _weigh_container(value.__sizeof__(), value.values(), depth)
    if kind is tuple or kind is list:
        return _weigh_container(value.__sizeof__(), value, depth)
    if kind is Job:
        return weigh(value.payload, depth)
    if isinstance(value, ParkedJob):
        return len(value.payload)
    own = getsizeof(value) if kind in PLAIN_CONTAINERS else _size_of(value)
    if isinstance(value, dict):
        parts: Any = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    else:
        parts = [*getattr(value, "__dict__", {}).values(), *_in_slots(value)]
    return _weigh_container(own, parts, depth)


def _weigh_container(own: int, parts: Collection[Any], depth: int) -> int:
    """Return about how many bytes a container takes.

    Args:
        own: Its own bytes.
        parts: What it holds.
        depth: How many containers deep to look.
    """
    if len(parts) > FEW_PARTS:
        if FLAT.issuperset(map(type, parts)):
            return own + sum(map(getsizeof, parts))
        if not depth:
            return own
        found = sum(weigh(part, depth - 1) for part in islice(parts, PARTS))
        return own + int(found * max(1.0, len(parts) / PARTS))
    found = own
    for part in parts:
        kind = type(part)
        if kind is str and len(part) <= SHORT_TEXT_CHARACTERS:
            found += ROUGH_BYTES + len(part)
        elif kind in LIGHT:
            found += ROUGH_BYTES
        elif kind in FLAT:
            found += getsizeof(part)
        elif depth:
            found += weigh(part, depth - 1)
    return found


def _size_of(value: Any) -> int:
    try:
        return max(getsizeof(value), getattr(value, "nbytes", 0))
    except BaseException:  # the user's __sizeof__ may raise anything
        return 0


def _in_slots(value: Any) -> Iterator[Any]:
    for base in type(value).__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            yield getattr(value, name, None)
