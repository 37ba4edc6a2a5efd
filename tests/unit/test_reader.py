"""Reading step by step, without its thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskmaster import keys
from taskmaster.errors import KeyUnstorable, SourceError, StateRefused
from taskmaster.master.broker import Broker, Limits
from taskmaster.master.earlier import Earlier
from taskmaster.master.identity import Identity
from taskmaster.master.lease import Session
from taskmaster.master.reader import Reader
from taskmaster.master.source import Source
from taskmaster.master.stores import RunRecord
from taskmaster.master.watermark import settled_piece
from taskmaster.model import Job, Report, Want


def prints_of(*jobs: Any) -> bytes:
    identity = Identity()
    return b"".join(identity.fingerprint(job) for job in jobs)


def reader_of(jobs: Any, record: RunRecord | None = None, **limits: int) -> tuple[Reader, Broker]:
    record = record or RunRecord("run", resumed=False)
    broker = Broker("i", Limits(**limits), record.mark)
    return Reader(Source(jobs), broker, threading.Lock(), Identity(), Earlier(record), record.mark), broker


def read_all(reader: Reader, broker: Broker) -> list[Any]:
    """What a slave would be given."""
    given: list[Any] = []
    session = Session("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    for _ in range(1000):
        if not broker.exhausted:
            reader.step()
        lease = broker.take(session, Want(1, 100))
        if lease is not None:
            given += lease.stretch.jobs
            first, jobs = lease.stretch.first, lease.stretch.jobs
            report = Report(lease.token, len(jobs), end="finished")
            broker.settle(lease, report, [settled_piece(first, jobs, Identity().text)], {})
        elif broker.exhausted:
            return given
    raise AssertionError("the source is not exhausted")


def test_no_more_is_read_than_there_is_room_for() -> None:
    """A source is asked for ``--size`` jobs, and not for one more, while nobody takes any."""
    yielded = []

    def get_jobs() -> Iterator[int]:
        for number in range(1000):
            yielded.append(number)
            yield number

    reader, broker = reader_of(get_jobs, size=50)
    while reader.step():
        pass

    assert len(yielded) == len(broker.queue) == 50


def test_an_empty_source_is_exhausted() -> None:
    """And the run is over."""
    reader, broker = reader_of([])
    reader.step()

    assert broker.finished


def test_what_was_yielded_before_an_exception_is_kept() -> None:
    """The exception is not the end of the source."""

    def get_jobs() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("gone")

    reader, broker = reader_of(get_jobs)
    reader.run()

    assert broker.queue.take(3) == [1, 2]
    assert isinstance(reader.error, SourceError)
    assert "LookupError: gone" in str(reader.error.user_traceback)
    assert not broker.exhausted


def test_the_first_key_is_tried_at_once() -> None:
    """One that cannot be stored is refused before anything is handed out."""
    reader, broker = reader_of([object()])
    reader.run()

    assert isinstance(reader.error, KeyUnstorable)
    assert not broker.queue


@pytest.mark.parametrize("inclusive", [True, False])
def test_what_earlier_sessions_settled_is_not_run_again(inclusive: bool) -> None:
    """Recognised by key and content, whether or not the source yields the last key again."""
    record = RunRecord("run", True, keys.encode(3), prints_of(3), prints_of(5, 7), settled=5)

    def get_jobs(last: int = 0) -> Iterator[int]:
        yield from range(last if inclusive else last + 1, 10)

    reader, broker = reader_of(get_jobs, record)

    assert read_all(reader, broker) == [4, 6, 8, 9]


def test_what_has_changed_runs_again() -> None:
    """The same key with another content is another job, also at the watermark itself."""
    record = RunRecord("run", True, keys.encode(3), prints_of(Job(3, "a")), prints_of(Job(4, "a"), Job(5, "a")))
    jobs = [Job(3, "b"), Job(4, "a"), Job(5, "b")]
    reader, broker = reader_of(lambda last=None: jobs, record)

    assert read_all(reader, broker) == [Job(3, "b"), Job(5, "b")]


def test_a_job_is_skipped_once_for_each_time_it_was_recorded() -> None:
    """The very same job three times, two of them settled: one is left to do."""
    record = RunRecord("run", True, keys.encode(1), prints_of(1), prints_of(2, 2))
    reader, broker = reader_of(lambda last=None: [2, 2, 2, 3], record)

    assert read_all(reader, broker) == [2, 3]


def test_a_source_without_last_is_read_up_to_the_key() -> None:
    """What follows the key is run."""
    record = RunRecord("run", True, keys.encode("b"), prints_of("b"), prints_of("d"))
    reader, broker = reader_of(["a", "b", "c", "d", "e"], record)

    assert read_all(reader, broker) == ["c", "e"]


def test_a_key_that_never_comes_again_is_refused() -> None:
    """Exit 5: the source is another one."""
    reader, _ = reader_of(["x", "y"], RunRecord("run", True, keys.encode("b"), prints_of("b")))
    reader.run()

    assert isinstance(reader.error, StateRefused)
    assert "'b'" in str(reader.error)


def test_a_run_of_equal_keys_longer_than_the_span_is_an_error() -> None:
    """It says so, with the key before it and the option."""
    reader, broker = reader_of([Job(0, 0)] + [Job(1, n) for n in range(100)], span=20)

    with pytest.raises(SourceError, match=r"(?s)one\s+and the same key.*--span"):
        read_all(reader, broker)


def test_huge_jobs_are_not_read_by_the_thousand() -> None:
    """The queue is bounded in bytes too: about 64 MB, however large --size is."""
    reader, broker = reader_of((b"x" * 10_000_000 for _ in range(100)), size=1000)
    while reader.step():
        pass

    assert 1 <= len(broker.queue) <= 8
