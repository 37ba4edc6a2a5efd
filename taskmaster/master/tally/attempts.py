"""How attempts end that do not end well, counted in one session. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from taskmaster.model import Failure, FailureKind, ReportEnd

__all__ = ["Attempts"]

UNCOUNTED = (FailureKind.SKIP, FailureKind.ABORT)


class Attempts:
    """See the module.

    Attributes:
        failed: Attempts by the reason of their end: "exception", "crash", "timeout" or "lost".
        retries: Attempts that are followed by another one.
    """

    def __init__(self) -> None:
        self.failed = {"exception": 0, "crash": 0, "timeout": 0, "lost": 0}
        self.retries = 0

    def ended(self, failures: Iterable[Failure]) -> None:
        """Count attempts that a slave has reported to have failed, each of them once."""
        for failure in failures:
            if failure.kind not in UNCOUNTED:
                self.failed["timeout" if failure.kind is FailureKind.TIMEOUT else "exception"] += 1

    def killed(self, end: ReportEnd, running: int) -> None:
        """Count jobs that were running when their worker ended, or in a call that failed."""
        if end is ReportEnd.LOST:
            self.failed["lost"] += running
        elif end is ReportEnd.TIMEOUT:
            self.failed["timeout"] += 1
        elif end is ReportEnd.CRASHED:
            self.failed["crash"] += running
        elif end is ReportEnd.RAISED:
            self.failed["exception"] += 1
