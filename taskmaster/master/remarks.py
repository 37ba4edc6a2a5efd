"""What there is to say of a run beside how many jobs are settled: that it holds back, and at its
end what its numbers and the order of its jobs mean.
"""

from __future__ import annotations

from collections.abc import Callable

from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.second_look import what_comes_after
from taskmaster.master.reading.source import Source
from taskmaster.master.summary import Summary
from taskmaster.runtime.log import clean_logger

__all__ = ["OutageRemark", "remarks"]

logger = clean_logger(__name__)


class OutageRemark:
    """Logs that the run begins to hold back because all jobs fail, or goes on.

    Args:
        reason: Says why it holds back; "" while it does not.
    """

    def __init__(self, reason: Callable[[], str]) -> None:
        self._reason = reason
        self._held_back = False

    def make(self) -> None:
        """Log it, if that has changed."""
        reason = self._reason()
        if reason and not self._held_back:
            logger.warning("the run holds back: %s", reason)
        elif self._held_back and not reason:
            logger.warning("the run goes on: a job has gone well again")
        self._held_back = bool(reason)


def remarks(source: Source, summary: Summary, checks: JobChecks, *, over: bool) -> list[str]:
    """Return sentences for a person.

    Args:
        source: the source of the jobs.
        summary: the run as it is now.
        checks: have checked the jobs.
        over: whether the run is over.
    """
    found, counted = source.remarks(), summary.expected
    if over and counted is not None and summary.settled < counted:
        expected = "1 job was" if counted == 1 else f"{counted} jobs were"
        missing = "1 is" if counted - summary.settled == 1 else f"{counted - summary.settled} are"
        found.append(
            f"{expected} expected, and {summary.settled} came: {missing} missing. "
            f"Unless jobs were removed while the run went on, {source.name} leaves some out, or the count is wrong."
        )
    if over and summary.settled_here and not checks.fault:
        found += filter(None, [what_comes_after(source, checks)])
    if checks.left_out:
        return [*found, checks.left_out]
    if not checks.fault:
        return found
    disorder = f"{source.name} does not yield its jobs in the order of their keys ({checks.fault})"
    if over:
        found.append(f"{disorder}. This run was never resumed, so that it left nothing out; a resumed one would.")
    else:
        found.append(
            f"{disorder}: resumed as it is, this run leaves jobs out. Mend the order, and run all again with --reset."
        )
    return found
