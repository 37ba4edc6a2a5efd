"""How attempts end that do not end well, counted in one session. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from taskmaster.model import Failure, FailureKind, ReportEnd
from taskmaster.view.snapshot import FailedBy

__all__ = ["Attempts"]

UNCOUNTED = (FailureKind.SKIP, FailureKind.ABORT)


class Attempts:
    """Counters of failed attempts, by the way in which they ended.

    Attributes:
        failed: How many attempts ended badly, by the reason.
        retries: How many attempts are followed by another one.
    """

    def __init__(self) -> None:
        self.failed = dict.fromkeys(FailedBy, 0)
        self.retries = 0

    def ended(self, failures: Iterable[Failure]) -> None:
        """Count attempts that a slave has reported to have failed, each of them once."""
        for failure in failures:
            if failure.kind not in UNCOUNTED:
                late = failure.kind is FailureKind.TIMEOUT
                self.failed[FailedBy.TIMEOUT if late else FailedBy.EXCEPTION] += 1

    def killed(self, end: ReportEnd, running: int) -> None:
        """Count jobs that were running when their worker ended, or in a call that failed."""
        if end is ReportEnd.LOST:
            self.failed[FailedBy.LOST] += running
        elif end is ReportEnd.TIMEOUT:
            self.failed[FailedBy.TIMEOUT] += 1
        elif end is ReportEnd.CRASHED:
            self.failed[FailedBy.CRASH] += running
        elif end is ReportEnd.RAISED:
            self.failed[FailedBy.EXCEPTION] += 1
