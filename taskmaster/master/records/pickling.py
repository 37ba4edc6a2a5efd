"""Jobs as bytes, one by one or a batch at a time.

For batches that are sent, and for jobs that are parked. Runs the user's
code (``__reduce__`` and the like), so never under the master's lock.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from collections.abc import Callable
from typing import Any

from taskmaster.keys import payload_of
from taskmaster.master.records.job_records import ParkedJob, PickledJob
from taskmaster.model import Job
from taskmaster.transport.frames import SegmentedBytes

__all__ = ["MAX_JOB_BYTES", "PickledAlready", "TooLarge", "pickle_all", "pickle_value", "pickled"]

MAX_JOB_BYTES = 32 * 1024 * 1024
"""The largest pickled job that is sent; half of the largest frame."""


def pickled(job: Any) -> bytes:
    """Return a job's payload as bytes, as workers get it; whatever pickling it raises is passed
    through.
    """
    if isinstance(job, ParkedJob):
        return job.payload
    return pickle.dumps(payload_of(job), protocol=5)


SMALL_SCALARS = frozenset({int, float, bool})  # never too large to be sent


class _JobAmongThem(Exception):
    """A Job is about to be pickled where only payloads should be."""


class PickledAlready(Exception):
    """A job was pickled when it was read, so that all have to be sent as pickles of their own."""


def _refuse_job(_: Job) -> Any:
    raise _JobAmongThem


def _refuse_pickled(_: PickledJob) -> Any:
    raise PickledAlready


class TooLarge(Exception):
    """Jobs are larger together than what is sent at once."""


def pickle_all(jobs: list[Any]) -> bytes | SegmentedBytes:
    """Return the payloads of jobs as one pickle; raises whatever pickling them raises.

    Raises:
        PickledAlready: they cannot be made one pickle.
        TooLarge: it would be larger than ``MAX_JOB_BYTES``; what there was of it is gone.
    """
    # To look at the type of each job would cost as much as to pickle it; the pickler looks at it
    # anyway.
    if len(jobs) == 1 and type(jobs[0]) in SMALL_SCALARS:
        return pickle.dumps(jobs, protocol=5)  # what follows would take four times as long
    found = {**copyreg.dispatch_table, PickledJob: _refuse_pickled}
    if type(jobs[0]) is not Job:
        try:
            return pickle_value(jobs, {**found, Job: _refuse_job}, MAX_JOB_BYTES)
        except _JobAmongThem:
            pass
    return pickle_value([payload_of(job) for job in jobs], found, MAX_JOB_BYTES)


class _SegmentSink:
    """Takes what a pickler writes: segments of about 64 KiB, none of which has to grow and be
    copied.
    """

    def __init__(self, most: int) -> None:
        self.segments: list[bytes] = []
        self._left = most

    def write(self, segment: Any) -> None:
        """Take a segment. What is not bytes (a buffer of the user's object) may change before it is
        sent.

        Raises:
            TooLarge: there are too many bytes.
        """
        whole = segment if type(segment) is bytes else bytes(segment)
        self._left -= len(whole)
        if self._left < 0:
            self.segments.clear()
            raise TooLarge
        self.segments.append(whole)


def pickle_value(
    value: Any, dispatch_table: dict[type, Callable[[Any], Any]] | None = None, most: int = sys.maxsize
) -> bytes | SegmentedBytes:
    """Return anything as one pickle: a short one as it is, which is sent faster; a long one in
    segments that nobody has to copy into one.

    Raises:
        TooLarge: it has more than ``most`` bytes.
    """
    sink = _SegmentSink(most)
    pickler = pickle.Pickler(sink, protocol=5)
    if dispatch_table is not None:
        pickler.dispatch_table = dispatch_table
    pickler.dump(value)
    return sink.segments[0] if len(sink.segments) == 1 else SegmentedBytes(sink.segments)
