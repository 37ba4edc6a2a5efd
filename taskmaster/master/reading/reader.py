"""The reader: iterates the source in a thread of its own, only while the broker has room.

The user's code runs here and never under the master's lock; a job can be handed out as soon as it
is yielded. What the source raises ends the reading and is kept in ``error``: it is not the end of
the source.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taskmaster import keys
from taskmaster.django_orm import integration
from taskmaster.errors import SourceError, StateRefused, TaskmasterError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.watermark import SettledRange
from taskmaster.master.reading.chunks import QUEUE_BYTES, Chunks
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.key_order import KeyOrder
from taskmaster.master.reading.resume_point import ResumePoint
from taskmaster.master.reading.source import Source, may_refuse
from taskmaster.master.reading.successor import NOTHING_EXPECTED, Expected
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.pickling import pickled
from taskmaster.runtime.child_process import end_child
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.units import show_count

__all__ = ["Reader"]

logger = clean_logger(__name__)

PLANNED_JOBS = 32
"""Most planned jobs taken from the source before they are on their way to the store."""

WORDS_OF_THREADS = ("created in a thread", "main thread", "event loop in thread", "different thread", "another thread")
"""What the errors of sqlite3, signal, asyncio and others say when the thread is not theirs."""

_NONE = object()


class _Stopped(BaseException):
    """Raised to end the reading when the master stops while old jobs are still being skipped."""


class Reader(threading.Thread):
    """Fills the broker's queue.

    Args:
        source: the source of the jobs.
        broker: whose queue is filled.
        lock: the master's lock, which guards the broker.
        identity: tells jobs apart.
        dedup: knows what earlier sessions have settled.
        mark: encoded key of the watermark, None on a first run.
        planned: called when jobs were planned and none is there that could be handed out meanwhile.
        checks: looks at jobs before they are handed out; told here what the source can do.
        expected: which job is to come next.

    Attributes:
        error: What has ended the reading, if it was not the end of the source.
        ended: Is set when nothing more is read, and the source is closed.
        started_reading: Is set when the first job was read, or nothing is going to be.
        room: Is set by those that take jobs out of the queue.
        skipped: How many jobs were skipped on the way to the key where the run goes on; None: none
            are skipped now.
    """

    def __init__(  # noqa: PLR0913  # what reads a run, each part once
        self,
        source: Source,
        broker: Broker,
        lock: threading.Lock,
        identity: JobIdentity,
        dedup: Dedup,
        mark: str | None,
        *,
        planned: Callable[[], None] = lambda: None,
        checks: JobChecks | None = None,
        expected: Expected = NOTHING_EXPECTED,
    ) -> None:
        super().__init__(target=integration.with_context(self._read), name="taskmaster-source", daemon=True)
        self.error: TaskmasterError | None = None
        self.skipped: int | None = None
        self.ended = threading.Event()
        self.started_reading = threading.Event()
        self.room = threading.Event()
        self._source = source
        self._broker = broker
        self._lock = lock
        self._identity = identity
        self._dedup = dedup
        self._mark = mark
        broker.intake.seeking.note(on=mark is not None)
        self._planned = planned
        self._checks = checks or JobChecks(identity)
        self._resume_point = ResumePoint(source, identity, self._checks, mark, expected)
        self._stop_asked = threading.Event()
        self._asking = False  # the source's own code is running
        self._progress = (0, time.monotonic())  # jobs read, and when that number last changed
        self._chunks = Chunks(broker, lock, identity, self._checks, source.name)
        self._iterator: Iterator[Any] | None = None
        self._pid = os.getpid()
        # An earlier session had read at most a span beyond the watermark; rows may have come in
        # between since.
        self._remembered = len(dedup)

    def begin(self, seconds: float) -> None:
        """Start the thread, and wait some seconds for the first job."""
        self.start()
        self.started_reading.wait(seconds)

    def turn(self) -> bool:
        """Read some of the source in the caller's thread; this reader has one of its own, and reads
        nothing here.
        """
        return False

    def beside(self, function: Callable[[], None]) -> None:
        """Call a function of the user's beside the reading."""
        threading.Thread(target=integration.with_context(function), name="taskmaster-count", daemon=True).start()

    def stop(self) -> None:
        """Read nothing more; a source that is inside the user's code is left there, its thread is a
        daemon.
        """
        self._stop_asked.set()
        self.room.set()

    def wait_closed(self, seconds: float) -> None:
        """Wait until the source has been closed, but not longer than some seconds: it may hang in
        the user's code.
        """
        if self.is_alive():
            self.join(seconds)

    def waits(self, now: float) -> float:
        """Return for how many seconds the source has been asked for a job and has yielded none; 0
        while nobody waits for it. Asked several times a second, under the lock.

        Args:
            now: on the monotonic clock.
        """
        read = self._broker.intake.read + self._broker.intake.write_ahead.made
        if read != self._progress[0] or not self._asking or self.ended.is_set():
            self._progress = (read, now)
        return now - self._progress[1]

    def _read(self) -> None:
        """Read until the end, or until nothing more is wanted."""
        try:
            with self._kept_error():
                self._asking = True
                self.prepare()
                while not self._stop_asked.is_set() and not self.done:
                    self._asking = True
                    stepped = self.step()
                    self._end_if_child()
                    self._asking = False
                    if not stepped:
                        # Woken when the queue has run half empty; the time-out covers all other
                        # reasons for room.
                        self.room.wait(0.05)
                        self.room.clear()
        finally:
            self._close()
            integration.close_connections()
            self.ended.set()
            self.started_reading.set()

    @contextmanager
    def _kept_error(self) -> Iterator[None]:
        try:
            yield
        except _Stopped:
            pass
        except TaskmasterError as exc:
            self.error = exc
        except BaseException as exc:
            self._end_if_child(exc)
            self.error = self._source_error(exc)

    def _end_if_child(self, exc: BaseException | None = None) -> None:
        """End a process that the source has forked and that has come back from it: it would read on
        beside this one.
        """
        if os.getpid() != self._pid:
            end_child(exc)

    def prepare(self) -> None:
        """Find out what the source can do, before a job that an earlier session has parked can
        fail.
        """
        self._source.resolve(self._last, resume=self._mark is not None)
        self._identity.use(self._source.job_key)
        self._resume_point.begin()
        if self._source.sure:
            self._checks.trust()
        elif self._source.resumes_by_key:
            order = KeyOrder() if self._mark is None else KeyOrder(self._last)
            self._checks.follow_order(self._source.name, order)
        with self._lock:
            self._broker.intake.plan(parks=self._source.parks, splits=self._source.splits)
            self._broker.intake.seeking.note(on=bool(self._broker.intake.seeking) and may_refuse(self._source))

    @property
    def _last(self) -> Any:
        return keys.decode(self._mark) if self._mark is not None else None

    @property
    def done(self) -> bool:
        """Whether the source is asked for nothing any more."""
        with self._lock:
            return self._broker.reading_is_over

    def step(self) -> bool:
        """Read a chunk if there is room for it; return whether there was. Raises what the user's
        code raises.
        """
        if self._source.parks:
            return self._step_planned()
        room = self._room()
        if self._iterator is None and (room > 0 or self._broker.intake.seeking):
            self._iterator = self._open()
        if self._iterator is None or room <= 0:
            return False
        if len(self._dedup) or self._resume_point.expected:
            self._read_one(self._iterator)
        else:
            self._chunks.read(self._iterator, room)
            self.started_reading.set()
        return True

    def _step_planned(self) -> bool:
        """Let a source whose jobs are parked first make more of them, or split one that has
        failed.
        """
        self._tell_times()
        with self._lock:
            to_split = self._broker.intake.write_ahead.next_split()
            intake, slots = self._broker.intake, self._broker.slaves.slots
            room = 0 if intake.exhausted else min(PLANNED_JOBS, intake.plan_room(slots))
        if to_split is not None:
            parts = [self._as_parked(job) for job in self._source.split(keys.decode(to_split.jobs[0].key))]
            with self._lock:
                self._broker.intake.split(to_split, parts)
            return True
        if room <= 0:
            return False
        if self._iterator is None:
            self._iterator = self._begin()
        planned = [self._as_parked(job) for job in itertools.islice(self._iterator, room)]
        with self._lock:
            if planned:
                self._broker.intake.add_planned(planned)
            if len(planned) < room:
                self._broker.intake.exhaust()
            hungry = bool(planned) and not self._broker.redelivery.jobs
        if hungry:
            # Workers would wait for the time of the next checkpoint, which for a short run is much.
            self._planned()
        self.started_reading.set()
        return True

    def _tell_times(self) -> None:
        times = self._broker.intake.write_ahead.times
        while times:
            jobs, seconds = times.popleft()
            self._source.took([keys.decode(key) for key in jobs], seconds)

    def _as_parked(self, job: Any) -> ParkedJob:
        text, fingerprint = self._identity.check_for_parking(job)
        return ParkedJob(-1, text, pickled(job), fingerprint)

    def _source_error(self, exc: BaseException) -> SourceError:
        read = show_count(self._broker.intake.read, "job")
        error = SourceError(
            f"{self._source.name} raised {type(exc).__name__} after {read} of this session."
            f"{integration.explanation(exc)}{_of_its_thread(exc)}{self._source.hint(exc)} "
            "What it had yielded is finished first; the run can be resumed when the cause is mended.",
            user_traceback=users_traceback(exc),
        )
        error.__cause__ = exc  # what a script sees that does not catch it
        return error

    def _open(self) -> Iterator[Any]:
        iterator = self._begin()
        if self._mark is not None and not self._source.resumes_by_key:
            iterator = self._skip_to_mark(iterator)
        first = next(iterator, _NONE)
        self._broker.intake.seeking.note(on=False)
        if first is _NONE:
            return iterator
        self._identity.check(first)
        self._chunks.expect(first)
        return itertools.chain([first], iterator)

    def _begin(self) -> Iterator[Any]:
        """Let the source start; before that it says where it ends, or is told what it said when
        the run was new.
        """
        known = self._broker.intake.bound
        bound = self._source.bounds(None if known is None else keys.decode(known))
        if bound is not None:
            with self._lock:
                self._broker.intake.bind(keys.check(bound))
        return self._source.iterate(self._last, resume=self._mark is not None)

    def _read_one(self, iterator: Iterator[Any]) -> None:
        """Read a job that an earlier session may have settled."""
        job = next(iterator, _NONE)
        if job is _NONE:
            self._resume_point.end()
            with self._lock:
                self._broker.intake.exhaust()
                self._dedup.forget()
            return
        job = self._chunks.taken(job)
        text = self._identity.text(job)
        if self._resume_point.expected:
            self._iterator = self._resume_point.compare(job, text, iterator)
        fingerprint = self._identity.fingerprint(job)
        with self._lock:
            if fingerprint and self._dedup.recognise(text, fingerprint):
                at = self._broker.intake.read
                self._broker.intake.add_known(job, SettledRange(at, at + 1, text, 1, None, 0, [job], fingerprint))
            else:
                self._broker.intake.add([job])
                self.started_reading.set()
            self._chunks.add_alone(job)
            if self._broker.intake.read > 2 * self._broker.intake.span_limit + self._remembered:
                self._dedup.forget()

    def _skip_to_mark(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """Read up to the first job with the watermark's key; ``Dedup`` decides about that one."""
        for number, job in enumerate(iterator):
            self.skipped = number
            if self._stop_asked.is_set():
                raise _Stopped
            if self._identity.text(job) == self._mark:
                self.skipped = None
                return itertools.chain([job], iterator)
        raise StateRefused(
            f"The key {keys.show(self._mark or '')}, up to which this run is settled, never came, although "
            f"{self._source.name} was read to its end: it yields other jobs than before. The state was left as it "
            "is. Give the former source, or start a new run with --reset."
        )

    def _room(self) -> int:
        """Return how many jobs to read now."""
        with self._lock:
            room = self._broker.intake.room()
            stuck = room == 0 and self._broker.stuck
            full = self._broker.is_full(QUEUE_BYTES)
        if stuck:
            raise self._stuck_error()
        return 0 if full else self._chunks.room(room)

    def _stuck_error(self) -> SourceError:
        mark = self._broker.watermark.mark
        return SourceError(
            f"The last {self._broker.intake.span} jobs, read since the key {keys.show(mark) if mark else '(none)'}, "
            "all have one and the same key, or keys that cannot be stored: the run could not be resumed between them, "
            "and --span allows no more. Give the jobs keys that differ, with Job(key, payload) or job_key(job), or "
            "raise --span."
        )

    def _close(self) -> None:
        """Let the user's generator run its ``finally`` blocks, and a source give up what it
        holds.
        """
        try:
            self._source.close()
        except BaseException as exc:  # whatever it is, the run waits for this thread to end
            said = users_traceback(exc)
            logger.error("%s raised while it was closed:\n%s", self._source.name, said)  # noqa: TRY400  # that is whole


def _of_its_thread(exc: BaseException) -> str:
    """Return what there is to say of an error that is about the thread in which the source is read;
    "" of any other.
    """
    said = str(exc)
    if threading.current_thread() is threading.main_thread() or not any(words in said for words in WORDS_OF_THREADS):
        return ""
    return (
        " It is read in a thread of its own, not in the main thread: open connections and event loops inside of "
        "it, and set signal handlers where the module is imported."
    )
