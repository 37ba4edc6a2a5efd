"""What a source changes after it has yielded it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.master import settle

from taskmaster import Job, keys
from taskmaster.errors import SourceError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.early_pickles import FIRST_JOBS, EarlyPickles
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import PickledJob
from taskmaster.master.records.pickling import PickledAlready, pickle_all, pickled
from taskmaster.master.records.run_record import RunRecord
from taskmaster.model import Report, ReportEnd, Want

N = 3000


def reader_of(jobs: Any) -> tuple[Reader, Broker]:
    """A reader whose steps are taken by hand."""
    broker, record = Broker("i", Limits()), RunRecord("run", resumed=False)
    return Reader(Source(jobs), broker, threading.Lock(), JobIdentity(), Dedup(record), None), broker


class Record:
    """A row as an object, as an ORM may fill it anew."""

    id = 0


def one_dict() -> Iterator[dict[str, int]]:
    row: dict[str, int] = {}
    for i in range(N):
        row["id"] = i
        yield row


def one_list() -> Iterator[list[int]]:
    row = [0, 0]
    for i in range(N):
        row[0] = i
        yield row


def one_object() -> Iterator[Record]:
    row = Record()
    for i in range(N):
        row.id = i
        yield row


def one_payload() -> Iterator[Job]:
    row: dict[str, int] = {}
    for i in range(N):
        row["id"] = i
        yield Job(i, row)


def one_part() -> Iterator[dict[str, Any]]:
    """Each job is new, and what is in it is not."""
    row: list[int] = [0]
    for i in range(N):
        row[0] = i
        yield {"id": i, "row": row}


def two_in_turns() -> Iterator[dict[str, int]]:
    rows: list[dict[str, int]] = [{}, {}]
    for i in range(N):
        rows[i % 2]["id"] = i
        yield rows[i % 2]


def a_buffer() -> Iterator[Job]:
    """Filled again and again; jobs are views of its parts."""
    rows = [bytearray(4) for _ in range(100)]
    for i in range(N):
        rows[i % 100][:] = i.to_bytes(4)
        yield Job(i, rows[i % 100])


def changes_late() -> Iterator[dict[str, int]]:
    row: dict[str, int] = {}
    for i in range(5 * N):
        if i < 2 * FIRST_JOBS:
            row = {}
        row["id"] = i
        yield row


@pytest.mark.parametrize("source", [one_dict, one_list, one_object, one_payload, one_part, two_in_turns, a_buffer])
def test_each_job_is_what_it_was_when_it_was_yielded(source: Callable[[], Iterator[Any]]) -> None:
    """A plain `for` over the same source is the judge."""
    expected = [pickle.dumps(keys.payload_of(job), protocol=5) for job in source()]
    identity = JobIdentity()
    texts = [identity.text(job) for job in source()]
    reader, broker = reader_of(source)
    reader.prepare()
    session = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    given: list[Any] = []
    while len(given) < N:
        reader.step()  # reads far ahead of what is handed out
        reader.step()
        lease = broker.take(session, Want(1, 100))
        assert lease is not None
        given += [(pickled(job), identity.text(job)) for job in lease.batch.jobs]
        report = Report(lease.token, len(lease.batch.jobs), end=ReportEnd.FINISHED)
        settle(broker, lease, report, identity.text)

    assert [blob for blob, _ in given] == expected
    assert [text for _, text in given] == texts


def test_a_source_that_begins_late_to_change_its_jobs_is_an_error() -> None:
    """Nothing more is handed out then, and the message says what to yield."""
    reader, broker = reader_of(changes_late)
    reader.prepare()

    with pytest.raises(SourceError, match=r"has changed a job.*dict\(row\).*--reset"):
        for _ in range(100):
            reader.step()
    assert broker.draining
    assert not broker.finished


@pytest.mark.parametrize("jobs", [range(10 * N), [(i, "a") for i in range(10 * N)], map(str, range(10 * N))])
def test_what_cannot_change_is_left_alone(jobs: Any) -> None:
    """Plain values, and tuples of them, are queued as they are."""
    early = EarlyPickles("get_jobs", JobIdentity())
    jobs = list(jobs)

    assert all(new is old for new, old in zip(early.taken(jobs), jobs, strict=True))


def test_a_source_of_new_objects_is_trusted_after_some() -> None:
    """From then on, nothing is pickled before its time."""
    early = EarlyPickles("get_jobs", JobIdentity())
    first = [{"id": i} for i in range(FIRST_JOBS)]

    assert all(isinstance(job, PickledJob) for job in early.taken(first))
    early.review()
    assert not early.on


def test_large_jobs_are_trusted_sooner() -> None:
    """They are held twice until then."""
    early = EarlyPickles("get_jobs", JobIdentity())
    for i in range(3):
        early.take({"id": i, "content": bytes(2_000_000)})
        early.review()

    assert not early.on


def test_jobs_without_a_key_or_that_cannot_be_pickled_are_left_for_later() -> None:
    """They are refused or fail where they are handed out."""
    early = EarlyPickles("get_jobs", JobIdentity())
    jobs = [{"name": 1}, Job(1, lambda: None)]

    assert [early.take(job) for job in jobs] == jobs


def test_a_pickled_job_is_shown_and_known_as_the_job() -> None:
    """Its key, fingerprint and repr are those of what was yielded."""
    identity, job = JobIdentity(), Job((1, "a"), {"n": [1]})
    taken = EarlyPickles("get_jobs", identity).take(job)

    assert identity.text(taken) == identity.text(job)
    assert identity.key(taken) == (1, "a")
    assert identity.fingerprint(taken) == identity.fingerprint(job)
    assert identity.show(taken) == identity.show(job)


def test_pickled_jobs_never_travel_as_objects() -> None:
    """In whatever company they are, the batch is sent as pickles of their own."""
    taken = EarlyPickles("get_jobs", JobIdentity()).take({"id": 1})
    for jobs in ([taken], [{"id": 0}, taken], [Job(0, 0), taken], [0, taken]):
        with pytest.raises(PickledAlready):
            pickle_all(jobs)
