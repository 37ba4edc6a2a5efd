"""Exceptions with which a callback says what happens to its job: ``Retry``, ``Skip``, ``Abort``.

Any other exception is a failed attempt.
"""

from __future__ import annotations

from taskmaster.model import FailureKind

__all__ = ["LONGEST_RETRY_SECONDS", "Abort", "Outcome", "Retry", "Skip"]

LONGEST_RETRY_SECONDS = 366 * 86400.0  # longest wait for the next attempt that a job may ask for


class Outcome(Exception):
    """The base of ``Retry``, ``Skip`` and ``Abort``.

    Args:
        reason: Why, for people.
    """

    kind = FailureKind.ERROR

    def __init__(self, reason: object = "") -> None:
        super().__init__(str(reason))


class Retry(Outcome):
    """Try this job again later. It counts as a failed attempt, so that the job fails for good when
    its ``--retries`` are used up.

    Args:
        reason: Why, for people.
        after: Seconds until the next attempt; None: as after any other exception.

    Example::

        if response.status == 429:
            raise taskmaster.Retry(after=30)
    """

    kind = FailureKind.RETRY

    def __init__(self, reason: object = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not 0 <= after < float("inf"):
            raise ValueError(f"Retry(after={after!r}): give a number of seconds, 0 or more")
        self.after = None if after is None else float(after)


class Skip(Outcome):
    """Leave this job out. It is settled, and counted as skipped."""

    kind = FailureKind.SKIP


class Abort(Outcome):
    """Stop the whole run so that it can be resumed (exit code 4). The job is not charged with an
    attempt and runs again on resume.
    """

    kind = FailureKind.ABORT
