"""What is kept of a job that did not end well, or not yet: its attempts, and the job as failed or
as parked.

Pure: values alone, which the broker makes and the stores keep. Keys are text here
(``taskmaster.keys.encode``). Fingerprints are 16 bytes each
(``taskmaster.master.records.fingerprints``).
"""

from __future__ import annotations

from typing import NamedTuple

from taskmaster.records import record

__all__ = ["Attempt", "FailedJob", "ParkedJob", "PickledJob"]


class Attempt(NamedTuple):
    """One execution of a job that did not end well.

    Attributes:
        at: wall-clock time (seconds since the epoch), for display only.
        slave: "host:pid" of the slave.
        type: the exception's class; WorkerDied, TimedOut or SlaveLost where there was none.
        message: what it said.
        traceback: the traceback of the user's code, capped.
        crash: whether the worker died, or overran its time; counted apart from exceptions.
    """

    at: float
    slave: str
    type: str
    message: str
    traceback: str
    crash: bool = False


@record()
class FailedJob:
    """A job that failed for good.

    Attributes:
        id: unique within the run.
        key: encoded; None where the job's key could not be stored.
        job: its capped repr.
        payload: pickled; None where it could not be.
        attempts: what was tried, oldest first; at least one.
    """

    id: int
    key: str | None
    job: str
    payload: bytes | None
    attempts: tuple[Attempt, ...]

    @property
    def type(self) -> str:
        """The exception's class, of the last attempt."""
        return self.attempts[-1].type

    @property
    def message(self) -> str:
        """What it said, in the last attempt."""
        return self.attempts[-1].message

    @property
    def traceback(self) -> str:
        """Where it was raised, in the last attempt."""
        return self.attempts[-1].traceback


@record()
class ParkedJob:
    """A job that the watermark may pass although it is not settled: it runs for long, or waits for
    another attempt.

    Attributes:
        id: unique within the run.
        key: encoded.
        payload: pickled.
        fingerprint: the digest of key and payload.
        attempts: what was tried, oldest first.
    """

    id: int
    key: str
    payload: bytes
    fingerprint: bytes
    attempts: tuple[Attempt, ...] = ()


@record()
class PickledJob(ParkedJob):
    """A job in the queue as it was when it was read, because the source may change it since.

    Attributes:
        job: its capped repr.
    """

    job: str = ""
