"""What a callback can raise to say what is to become of its job, where an exception like any other
would not do.
"""

from __future__ import annotations

from taskmaster.model import FailureKind

__all__ = ["Abort", "Outcome", "Retry", "Skip"]


class Outcome(Exception):
    """What becomes of a job; see its subclasses.

    Args:
        reason: for people.
    """

    kind = FailureKind.ERROR

    def __init__(self, reason: object = "") -> None:
        super().__init__(str(reason))


class Retry(Outcome):
    """Try this job again later. It counts as an attempt, like any exception: after ``--retries`` of
    them, the job has failed.

    Args:
        reason: for people.
        after: seconds until the next attempt; None: as after any other exception.

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
    """Leave this job out: it is settled, and counted as skipped."""

    kind = FailureKind.SKIP


class Abort(Outcome):
    """Stop the whole run where it can be resumed (exit code 4). Nothing is held against this job:
    it runs again.
    """

    kind = FailureKind.ABORT
