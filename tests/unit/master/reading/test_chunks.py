"""Chunks of jobs: how many are read, and what waits in the queue at most."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import pytest

from taskmaster import Job
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.reading.chunks import QUEUE_BYTES
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.reading.weights import weigh
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord

MEGABYTE = 1_000_000


class Row(NamedTuple):
    """A row as a named tuple."""

    id: int
    body: Any


class Plain:
    """A row as an object."""

    def __init__(self, key: int, body: Any) -> None:
        self.id, self.body = key, body


class Slotted:
    """A row without a dict."""

    __slots__ = ("body", "id")

    def __init__(self, key: int, body: Any) -> None:
        self.id, self.body = key, body


class Heir(Slotted):
    """A row whose slots are its parent's."""

    __slots__ = ()


class Opaque:
    """A row that weighing cannot see into, as one that a library in C has made."""

    def __init__(self, key: int, body: bytes) -> None:
        self.id = key
        type(self).bodies[key] = body

    bodies: ClassVar[dict[int, bytes]] = {}

    def __reduce__(self) -> Any:
        return bytes, (self.bodies[self.id],)


SHAPES: dict[str, Callable[[int, bytes], Any]] = {
    "a dict": lambda key, body: {"id": key, "body": body},
    "a tuple": lambda key, body: (key, body),
    "a Job": Job,
    "a Job with a dict": lambda key, body: Job(key, {"body": body}),
    "a named tuple": Row,
    "an object": Plain,
    "an object with slots": Slotted,
    "an object of a subclass": Heir,
    "lists in lists": lambda key, body: Job(key, [[1, [body]], "a"]),
    "a bytearray": lambda key, body: Job(key, bytearray(body)),
}
SIZES: dict[str, list[int]] = {
    "evenly wide": [2 * MEGABYTE] * 100,
    "wide without notice": [10] * 20_000 + [MEGABYTE] * 200,
    "every other one": [10, 5 * MEGABYTE] * 50,
    "one of ten": ([10] * 9 + [5 * MEGABYTE]) * 50,
    "one of a hundred": ([10] * 99 + [5 * MEGABYTE]) * 80,
    "some of 10 MB": [10] * 500 + [10 * MEGABYTE] * 20,
}


BODIES = {size: bytes(size) for sizes in SIZES.values() for size in sizes}


def most_queued(shape: Callable[[int, bytes], Any], sizes: list[int]) -> int:
    """The most bytes that were in the queue at once, while half of it is taken again and again."""

    def get_jobs() -> Iterator[Any]:
        for key, size in enumerate(sizes):
            yield shape(key, BODIES[size])

    broker, record = Broker("i", Limits(size=100_000)), RunRecord("run", resumed=False)
    reader = Reader(Source(get_jobs), broker, threading.Lock(), JobIdentity(), Dedup(record), None)
    # Which jobs are looked at is a matter of chance, and so is how soon a wide one is noticed.
    reader._chunks._chance = random.Random(1)
    reader._chunks._weights._chance = random.Random(2).random
    reader.prepare()
    most = taken = 0
    while taken < len(sizes):
        while not broker.intake.exhausted and reader.step():
            pass
        queued = broker.intake.queued
        most = max(most, sum(sizes[taken : taken + queued]))
        batch = broker.intake.take(max(1, queued // 2))
        assert batch is not None
        taken += len(batch)
    return most


@pytest.mark.parametrize("kind", SIZES)
def test_the_queue_is_capped_in_bytes(kind: str) -> None:
    """Wide rows may come without notice, among narrow ones, or all the time."""
    assert most_queued(SHAPES["a dict"], SIZES[kind]) < QUEUE_BYTES + 80 * MEGABYTE


@pytest.mark.parametrize("shape", SHAPES)
def test_jobs_of_any_shape_are_weighed(shape: str) -> None:
    """However deep the large part is."""
    assert most_queued(SHAPES[shape], [10] * 2000 + [MEGABYTE] * 150) < QUEUE_BYTES + 40 * MEGABYTE
    assert weigh(SHAPES[shape](1, BODIES[MEGABYTE])) > 0.9 * MEGABYTE


def test_what_cannot_be_seen_into_is_pickled() -> None:
    """A few of each chunk, so that the cap holds for evenly wide rows."""
    assert most_queued(Opaque, [MEGABYTE] * 150) < QUEUE_BYTES + 40 * MEGABYTE


def test_narrow_jobs_fill_the_queue() -> None:
    """Also when there was a wide one among them."""
    broker, record = Broker("i", Limits(size=10_000)), RunRecord("run", resumed=False)
    jobs = [{"id": key, "body": BODIES[5 * MEGABYTE if key == 100 else 10]} for key in range(20_000)]
    reader = Reader(Source(jobs), broker, threading.Lock(), JobIdentity(), Dedup(record), None)
    reader.prepare()
    while reader.step():
        pass

    assert broker.intake.queued == 10_000
