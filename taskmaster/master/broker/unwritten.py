"""Jobs on their way to the store: what waits for a checkpoint is bounded in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob

__all__ = ["Unwritten"]

Job = TypeVar("Job", FailedJob, ParkedJob)


class Unwritten(Generic[Job]):
    """Failed or parked jobs that the store does not have.

    Attributes:
        size: about how many bytes they take.
    """

    def __init__(self) -> None:
        self.size = 0
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def append(self, job: Job) -> None:
        """Add a job."""
        self._jobs.append(job)
        self.size += _size(job.payload, job.attempts)

    def all(self) -> list[Job]:
        """Return the jobs that the store does not have yet, oldest first."""
        return list(self._jobs)

    def written(self, count: int) -> None:
        """Forget the oldest ``count`` jobs, which the store has now."""
        self.size -= sum(_size(job.payload, job.attempts) for job in self._jobs[:count])
        del self._jobs[:count]


def _size(payload: bytes | None, attempts: Sequence[Attempt]) -> int:
    return len(payload or b"") + sum(len(attempt.message) + len(attempt.traceback) for attempt in attempts)
