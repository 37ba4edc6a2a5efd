"""Whether so much fails that the run should stop."""

from __future__ import annotations

import math

from taskmaster.master.records.job_records import Attempt
from taskmaster.units import show_count

__all__ = ["ALIKE_ATTEMPTS", "Budget", "sample"]

ALIKE_ATTEMPTS = 30  # jobs that fail alike before any has gone well, until the cause is looked for elsewhere


class Budget:
    """Whether so much fails that the run should stop, to be resumed when the cause is mended.

    Args:
        most: more failed jobs than that in a session are too many; None: there is no such number.
        fraction: a larger fraction than that of the session's settled jobs is too much; None: there
            is no such fraction.

    Attributes:
        example: an attempt that has failed.
    """

    def __init__(self, most: int | None = None, fraction: float | None = None) -> None:
        self._most = most
        self._fraction = fraction
        self.example: Attempt | None = None
        self._kind = ""
        self._alike = 0

    def allow(self, most: int | None, fraction: float | None) -> None:
        """Judge by other numbers from now on; see the class."""
        self._most, self._fraction = most, fraction

    def failed_first(self, attempt: Attempt, done: int) -> str:
        """Note that a job has failed alone at its first attempt.

        Args:
            attempt: what has failed.
            done: jobs that have gone well so far in this session.

        Returns:
            Why to stop, "" if there is no reason to.
        """
        self.example = self.example or attempt
        if done or self._most is not None or self._fraction is not None:
            return ""
        self._alike = 1 + (self._alike if attempt.type == self._kind else 0)
        self._kind = attempt.type
        if self._alike < ALIKE_ATTEMPTS:
            return ""
        return (
            f"all of the first {self._alike} attempts have failed in the same way ({attempt.type}: {attempt.message}), "
            "which looks as if none would go well. If it is the jobs' own fault, say with --max-failures how many may "
            "fail"
        )

    def over(self, failures: int, settled: int, known: int = 0) -> str:
        """Judge how much has failed.

        Args:
            failures: jobs that failed in this session.
            settled: jobs settled in this session.
            known: jobs among those read again that earlier sessions had settled: what such a
                session has left over are mostly bad ones.

        Returns:
            Why to stop, "" if there is no reason to.
        """
        if self._most is not None and failures > self._most:
            have = "1 job has" if failures == 1 else f"{failures} jobs have"
            return f"{have} failed in this session, and --max-failures allows {self._most}"
        if (
            self._fraction is not None
            and settled >= sample(self._fraction)
            and failures > self._fraction * (settled + known)
        ):
            return (
                f"{failures} of the {show_count(settled, 'job')} of this session have failed, and "
                f"--max-failures allows {100 * self._fraction:.4g}%"
            )
        return ""

    def used(self, failures: int, settled: int, known: int = 0) -> tuple[float, str] | None:
        """Return the part of the budget that is used, and what it allows, in words; None if there
        is no budget.

        Args:
            failures: as for ``over``.
            settled: as for ``over``.
            known: as for ``over``.
        """
        if self._most is not None:
            return failures / max(1, self._most), show_count(self._most, "failed job", form=",")
        if self._fraction is not None:
            judged = self._fraction * max(sample(self._fraction), settled + known)
            return failures / max(1.0, judged), f"{100 * self._fraction:.4g}% of the jobs"
        return None


def sample(fraction: float) -> int:
    """Return how many jobs have to be settled before the fraction that failed says something: five
    failures' worth, and at least 50.
    """
    return max(50, math.ceil(5 / fraction)) if fraction > 0 else 50
