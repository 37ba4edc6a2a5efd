"""How attempts end, by the four reasons that there are."""

from __future__ import annotations

from taskmaster.master.tally.attempts import Attempts
from taskmaster.model import Failure, FailureKind, ReportEnd


def test_each_attempt_has_one_reason() -> None:
    """What a callback left out, or ended the run with, is no failed attempt."""
    attempts = Attempts()
    attempts.ended(Failure(0, "X", "", "", kind) for kind in FailureKind)
    attempts.killed(ReportEnd.CRASHED, 2)
    attempts.killed(ReportEnd.TIMEOUT, 3)
    attempts.killed(ReportEnd.LOST, 4)
    attempts.killed(ReportEnd.RAISED, 5)
    attempts.killed(ReportEnd.FINISHED, 6)

    assert attempts.failed == {"exception": 4, "crash": 2, "timeout": 2, "lost": 4}
