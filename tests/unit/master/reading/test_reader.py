"""Reading step by step, without its thread."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.master import settle

from taskmaster import keys
from taskmaster.errors import KeyUnstorable, SourceError, StateRefused
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.reading.chunks import QUEUE_BYTES
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_record import RunRecord
from taskmaster.model import Job, Report, ReportEnd, Want


def prints_of(*jobs: Any) -> bytes:
    identity = JobIdentity()
    return b"".join(identity.fingerprint(job) for job in jobs)


def reader_of(jobs: Any, record: RunRecord | None = None, /, **limits: int) -> tuple[Reader, Broker]:
    record = record or RunRecord("run", resumed=False)
    broker = Broker("i", Limits(**limits), record)
    return Reader(Source(jobs), broker, threading.Lock(), JobIdentity(), Dedup(record), record.mark), broker


def read_all(reader: Reader, broker: Broker) -> list[Any]:
    """What a slave would be given."""
    given: list[Any] = []
    session = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    for _ in range(1000):
        if not broker.intake.exhausted:
            reader.step()
        lease = broker.take(session, Want(1, 100))
        if lease is not None:
            given += lease.batch.jobs
            jobs = lease.batch.jobs
            report = Report(lease.token, len(jobs), end=ReportEnd.FINISHED)
            settle(broker, lease, report, JobIdentity().text)
        elif broker.intake.exhausted:
            return given
    raise AssertionError("the source is not exhausted")


def read_until_spent(reader: Reader, broker: Broker) -> list[Any]:
    """What a slave would be given by a limited session."""
    given: list[Any] = []
    session = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    for _ in range(1000):
        if not broker.intake.exhausted and not reader.step() and broker.spent:
            break
        lease = broker.take(session, Want(1, 7))
        if lease is not None:
            given += lease.batch.jobs
            settle(broker, lease, Report(lease.token, len(lease.batch), end=ReportEnd.FINISHED), JobIdentity().text)
    assert broker.spent
    return given


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

    assert len(yielded) == broker.intake.queued == 50


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

    assert broker.intake._queue.take(3) == [1, 2]
    assert isinstance(reader.error, SourceError)
    assert "LookupError: gone" in str(reader.error.user_traceback)
    assert isinstance(reader.error.__cause__, LookupError)
    assert not broker.intake.exhausted


def test_the_first_key_is_tried_at_once() -> None:
    """One that cannot be stored is refused before anything is handed out."""
    reader, broker = reader_of([object()])
    reader.run()

    assert isinstance(reader.error, KeyUnstorable)
    assert not broker.intake.queued


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

    assert 1 <= broker.intake.queued <= 8


def test_some_huge_jobs_are_not_overlooked() -> None:
    """Where every other job is large, the last one of a step says nothing."""
    reader, broker = reader_of((b"x" * (100_000 * (n % 2)) for n in range(20_000)), size=20_000)
    while reader.step():
        pass

    assert sum(map(len, broker.intake._queue.take(20_000))) < 2.5 * QUEUE_BYTES


def test_a_limited_session_reads_one_job_more_than_it_hands_out() -> None:
    """The key of that one says that the watermark can stand after all the others; it is not handed
    out.
    """
    yielded = []

    def get_jobs() -> Iterator[int]:
        for number in range(1000):
            yielded.append(number)
            yield number

    reader, broker = reader_of(get_jobs, limit=30)

    assert read_until_spent(reader, broker) == list(range(30))
    assert len(yielded) == 31
    assert not broker.finished
    assert broker.intake.head_at_low() == [30]


def test_what_earlier_sessions_settled_does_not_count_towards_the_limit() -> None:
    """It is recognised and skipped; what is parked is handed out first, and counts."""
    parked = [ParkedJob(4, keys.encode(number), b"", prints_of(number)) for number in (1, 2)]
    record = RunRecord("run", True, keys.encode(3), prints_of(3), prints_of(5, 7, 9), parked=parked, settled=5)
    reader, broker = reader_of(lambda last=0: range(last, 100), record, limit=5)

    assert read_until_spent(reader, broker) == [*parked, 4, 6, 8]


def test_only_as_many_parked_jobs_as_the_limit_are_taken_up() -> None:
    """The others stay in the store, so that the run is not finished."""
    parked = [ParkedJob(number, keys.encode(number), b"", prints_of(number)) for number in range(5)]
    record = RunRecord("run", True, keys.encode(9), prints_of(9), prints_of(*range(5)), parked=parked, settled=5)
    reader, broker = reader_of(lambda last=0: [], record, limit=2)

    assert read_until_spent(reader, broker) == parked[:2]
    assert broker.intake.exhausted
    assert not broker.finished


def test_a_limit_that_is_all_there_is_does_not_finish_the_run() -> None:
    """Whoever gave it is told so by the next session, which finds nothing more."""
    reader, broker = reader_of(range(10), limit=10)

    assert read_until_spent(reader, broker) == list(range(10))
    assert broker.intake.exhausted
    assert not broker.finished


def test_a_limit_above_what_there_is_is_none() -> None:
    """The run is over."""
    reader, broker = reader_of(range(10), limit=11)

    assert read_all(reader, broker) == list(range(10))
    assert broker.finished
    assert not broker.spent


def test_the_last_job_of_a_limit_is_tried_again_although_another_one_is_queued() -> None:
    """It waits for nobody when its worker has died: what is queued is not for this session."""
    reader, broker = reader_of(range(10), limit=1)
    session = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    reader.step()
    reader.step()
    given = []
    for _ in range(3):
        lease = broker.take(session, Want(1, 100))
        assert lease is not None
        given += lease.batch.jobs
        died = Report(lease.token, 0, end=ReportEnd.CRASHED, suspects=(0,))
        settle(broker, lease, died)

    assert given == [0, 0, 0]
    assert (broker.settlement.settled, broker.settlement.failures, broker.spent) == (1, 1, True)


def test_a_checkpoint_is_asked_for_when_nothing_is_there_that_could_be_handed_out() -> None:
    """What is planned waits for the store; while other jobs are there, that may take its time."""

    class Planned:
        parked = True

        def iterate(self, last: Any) -> Iterator[int]:
            yield from range(1, 100)

    asked: list[int] = []
    record, broker = RunRecord("run", resumed=False), Broker("i", Limits())
    reader = Reader(
        Source(Planned()),
        broker,
        threading.Lock(),
        JobIdentity(),
        Dedup(record),
        None,
        planned=lambda: asked.append(broker.intake.write_ahead.made),
    )
    reader.prepare()
    reader.step()
    assert asked == [broker.intake.write_ahead.made]

    written = {position: number for number, position in enumerate(range(-broker.intake.write_ahead.made, 0))}
    broker.redelivery.append(*broker.intake.write_ahead.written(written.get))
    broker.enter(ConnectedSlave("s", "s", 4, 4, 0.0), ())
    before = broker.intake.write_ahead.made
    reader.step()

    assert broker.intake.write_ahead.made > before
    assert asked == [before]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_generator_that_is_not_read_to_its_end_is_closed(resumed: bool) -> None:
    """In the thread that has read it, also where a resumed run had to read up to its key."""
    record = RunRecord("run", True, keys.encode(3), prints_of(3)) if resumed else None
    closed = []

    def get_jobs() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread())

    reader, broker = reader_of(get_jobs, record, size=10)
    while reader.step():
        pass
    assert broker.intake.queued == 10
    assert not closed
    reader.stop()
    reader.start()
    reader.wait_closed(30.0)

    assert closed == [reader]
    assert reader.error is None


@pytest.mark.parametrize("error", [ValueError("in the end"), SystemExit(3)])
def test_a_generator_that_raises_while_it_is_closed_ends_no_less(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, with the user's own lines."""

    def get_jobs() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            raise error

    reader, _ = reader_of(get_jobs, size=10)
    reader.step()
    reader.stop()
    reader.run()

    assert reader.ended.is_set()
    assert "get_jobs raised while it was closed:" in caplog.text
    assert "raise error" in caplog.text
    assert "master/reader.py" not in caplog.text


def test_how_long_a_source_is_waited_for() -> None:
    """From when it was asked and yielded nothing more; a job that comes begins the count anew."""
    asked, go = threading.Event(), threading.Event()

    def get_jobs() -> Iterator[int]:
        yield 1
        asked.set()
        go.wait()
        yield 2

    reader, broker = reader_of(get_jobs)
    began = time.monotonic()
    assert reader.waits(began + 100) == 0.0  # nobody has asked it so far
    reader.start()
    asked.wait()
    reader.waits(began + 200)

    assert reader.waits(began + 207) == 7.0
    go.set()
    reader.ended.wait()
    assert reader.waits(began + 300) == 0.0
    assert broker.intake.read == 2


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.ProgrammingError("SQLite objects created in a thread can only be used in that same thread."),
        ValueError("signal only works in main thread of the main interpreter"),
        RuntimeError("There is no current event loop in thread 'taskmaster-source'."),
    ],
)
def test_an_error_that_is_about_the_thread_says_so(error: Exception) -> None:
    """The source is read in one of its own, which nothing in the user's code shows."""

    def get_jobs() -> Iterator[int]:
        raise error
        yield

    reader, _ = reader_of(get_jobs)
    reader.start()
    reader.join()

    assert "in a thread of its own" in str(reader.error)


def test_nothing_is_handed_out_or_changed_before_the_run_is_known_to_go_on() -> None:
    """A list is read up to the key of the watermark first: if that never comes, the state is as it
    was, finished or with its parked jobs, however many these are.
    """
    parked = [ParkedJob(n, keys.encode(n), b"p", prints_of(n)) for n in range(1, 4)]
    record = RunRecord("run", resumed=True, mark=keys.encode("gone"), parked=parked, settled=9)
    reader, broker = reader_of(["a", "b"], record, size=3)
    slave = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(slave, ())
    reader.prepare()

    assert broker.take(slave, Want(1, 100)) is None
    with pytest.raises(StateRefused, match="never came"):
        reader.step()
    assert broker.take(slave, Want(1, 100)) is None


def test_parked_jobs_are_handed_out_once_the_key_has_come() -> None:
    """Also where they take all the room that there is for jobs."""
    parked = [ParkedJob(n, keys.encode(n), b"p", prints_of(n)) for n in range(1, 4)]
    record = RunRecord("run", resumed=True, mark=keys.encode("b"), parked=parked, settled=9)
    reader, broker = reader_of(["a", "b", "c"], record, size=3)
    slave = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(slave, ())
    reader.prepare()
    reader.step()

    assert broker.take(slave, Want(1, 100)) is not None


def test_a_source_that_goes_on_after_a_key_keeps_no_parked_job_waiting() -> None:
    """Its first query may take long."""
    parked = [ParkedJob(1, keys.encode(1), b"p", prints_of(1))]
    record = RunRecord("run", resumed=True, mark=keys.encode(5), parked=parked, settled=9)
    reader, broker = reader_of(lambda last=0: iter([6, 7]), record)
    slave = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(slave, ())
    reader.prepare()

    assert broker.take(slave, Want(1, 100)) is not None


def test_a_finished_run_stays_finished_until_something_new_is_read() -> None:
    """What a checkpoint says meanwhile."""
    record = RunRecord("run", resumed=True, mark=keys.encode("b"), settled=2, finished=7.0)
    reader, broker = reader_of(["a", "b", "c"], record)
    reader.prepare()
    assert broker.collect().checkpoint.finished
    reader.step()
    assert not broker.collect().checkpoint.finished
