"""Whether so much fails that the run should stop."""

from __future__ import annotations

import math

from taskmaster.master.job_records import Attempt

__all__ = ["ALIKE_ATTEMPTS", "Budget", "sample"]

ALIKE_ATTEMPTS = 30  # jobs that fail alike before any has gone well, until the cause is looked for elsewhere


class Budget:
    """Whether so much fails that the run should stop, to be resumed when the cause is mended.

    Args:
        most: more failed jobs than that in a session are too many; None: there is no such number.
        share: a larger share than that of the session's settled jobs is too much; None: there is no
            such share.

    Attributes:
        example: an attempt that has failed.
    """

    def __init__(self, most: int | None = None, share: float | None = None) -> None:
        self._most = most
        self._share = share
        self.example: Attempt | None = None
        self._kind = ""
        self._alike = 0

    def failed_first(self, attempt: Attempt, done: int) -> str:
        """Note that a job has failed alone at its first attempt.

        Args:
            attempt: what has failed.
            done: jobs that have gone well so far in this session.

        Returns:
            Why to stop, "" if there is no reason to.
        """
        self.example = self.example or attempt
        if done or self._most is not None or self._share is not None:
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
        if self._share is not None and settled >= sample(self._share) and failures > self._share * (settled + known):
            return (
                f"{failures} of the {settled} jobs of this session have failed, and --max-failures allows "
                f"{100 * self._share:.4g}%"
            )
        return ""


def sample(share: float) -> int:
    """Return how many jobs have to be settled before their share of failures says something: five
    failures' worth, and at least 50.
    """
    return max(50, math.ceil(5 / share)) if share > 0 else 50
