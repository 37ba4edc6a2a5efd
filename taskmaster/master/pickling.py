"""Jobs as bytes, one by one or a batch at a time.

Called by the service, where a batch is sent, and by the keeper, for what is parked. Runs the user's
code (``__reduce__`` and the like), so never under the master's lock.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from typing import Any

from taskmaster.keys import payload_of
from taskmaster.master.job_records import ParkedJob, PickledJob
from taskmaster.model import Job
from taskmaster.transport.frames import Pieces

__all__ = ["MAX_JOB_BYTES", "PickledAlready", "pickle_all", "pickle_value", "pickled"]

MAX_JOB_BYTES = 32 * 1024 * 1024
"""The largest pickled job that is sent; half of the largest frame."""


def pickled(job: Any) -> bytes:
    """A job's payload as bytes, as workers get it; raises whatever pickling it raises."""
    if isinstance(job, ParkedJob):
        return job.payload
    return pickle.dumps(payload_of(job), protocol=5)


class _JobAmongThem(Exception):
    """A Job is about to be pickled where only payloads should be."""


class PickledAlready(Exception):
    """A job was pickled when it was read, so that all have to be sent as pickles of their own."""


def _refuse_job(_: Job) -> Any:
    raise _JobAmongThem


def _refuse_pickled(_: PickledJob) -> Any:
    raise PickledAlready


def pickle_all(jobs: list[Any]) -> Pieces:
    """Return the payloads of jobs as one pickle; raises whatever pickling them raises.

    Raises:
        PickledAlready: they cannot be made one pickle.
    """
    # To look at the type of each job would cost as much as to pickle it; the pickler looks at it
    # anyway.
    found = {**copyreg.dispatch_table, PickledJob: _refuse_pickled}
    if type(jobs[0]) is not Job:
        try:
            return pickle_value(jobs, {**found, Job: _refuse_job})
        except _JobAmongThem:
            pass
    return pickle_value([payload_of(job) for job in jobs], found)


class _Sink:
    """Takes what a pickler writes: pieces of about 64 KiB, none of which has to grow and be
    copied.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: Any) -> None:
        """What is not bytes (a buffer of the user's object) may change before it is sent."""
        self.pieces.append(piece if type(piece) is bytes else bytes(piece))


def pickle_value(value: Any, dispatch_table: dict[type, Callable[[Any], Any]] | None = None) -> Pieces:
    """Anything as one pickle, in pieces that nobody has to copy into one."""
    sink = _Sink()
    pickler = pickle.Pickler(sink, protocol=5)
    if dispatch_table is not None:
        pickler.dispatch_table = dispatch_table
    pickler.dump(value)
    return Pieces(sink.pieces)
