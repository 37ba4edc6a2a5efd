"""What can become of a job that did not end well, and what is noted of its attempts."""

from __future__ import annotations

from enum import StrEnum

from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.model import Failure
from taskmaster.records import record

__all__ = ["Tried", "Verdict", "with_attempt"]

TRACED_ATTEMPTS = 10  # newest attempts of a job, whose tracebacks are kept


class Verdict(StrEnum):
    """What becomes of a job that did not end well."""

    FAILED = "failed"
    """It has failed for good: it is settled."""
    AGAIN = "again"
    """It is tried again after a while."""
    SKIPPED = "skipped"
    """The callback left it out: it is settled."""
    SPLIT = "split"
    """Its parts are tried instead."""
    BACK = "back"
    """Nothing is held against it: it goes back where it came from, and the run stops."""
    HELD = "held"
    """Nothing is held against it, because everything fails: it is tried again, last in line."""

    @property
    def settles(self) -> bool:
        """Whether the job is settled."""
        return self in (Verdict.FAILED, Verdict.SKIPPED)


@record()
class Tried:
    """What the broker has to know of an execution that did not end well.

    Attributes:
        attempt: for the record.
        failure: what the slave said.
        failed: the job as a failed one, if the verdict is that it has failed for good.
    """

    attempt: Attempt
    failure: Failure
    failed: FailedJob | None = None

    @property
    def for_good(self) -> FailedJob:
        """The record of a job that has failed for good.

        Raises:
            ValueError: it was not made, because the verdict was another one.
        """
        if self.failed is None:
            raise ValueError(f"no record was made of the failed job at index {self.failure.index}")
        return self.failed


def with_attempt(attempts: tuple[Attempt, ...], attempt: Attempt) -> tuple[Attempt, ...]:
    """Return attempts and one more. Those that are long ago lose their traceback: all of them are
    written down again with each attempt.
    """
    if len(attempts) < TRACED_ATTEMPTS:
        return (*attempts, attempt)
    old = attempts[-TRACED_ATTEMPTS]
    return (
        *attempts[:-TRACED_ATTEMPTS],
        old._replace(message=old.message[:200], traceback=""),
        *attempts[1 - TRACED_ATTEMPTS :],
        attempt,
    )
