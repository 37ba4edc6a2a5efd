"""The failure policy: what becomes of a job that did not end well, and when it is tried again.

Pure: no clock inside, and chance comes from a generator that is passed in.
"""

from __future__ import annotations

import random

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.failure_budget import Budget
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.outage import Outage
from taskmaster.master.broker.verdicts import Verdict
from taskmaster.master.broker.write_ahead import WriteAhead
from taskmaster.model import Failure, FailureKind
from taskmaster.outcomes import LONGEST_RETRY_SECONDS

__all__ = ["FailurePolicy", "backoff", "verdict"]

LONGEST_BACKOFF_SECONDS = 300.0


class FailurePolicy:
    """What becomes of jobs that do not end well, under the limits of a run.

    Args:
        limits: how often jobs are tried.
        write_ahead: knows whether jobs can be split.
        outage: knows whether everything fails.
        chance: spreads the waits of jobs that failed together.

    Attributes:
        outage: knows whether everything fails.
        budget: says when too much fails.
    """

    def __init__(self, limits: Limits, write_ahead: WriteAhead, outage: Outage, chance: random.Random) -> None:
        self._limits = limits
        self._write_ahead = write_ahead
        self.outage = outage
        self.budget = Budget(limits.max_failures, limits.max_failed_fraction)
        self._chance = chance

    def verdict(self, batch: Batch, failure: Failure) -> Verdict:
        """Return what becomes of a job of the batch that has failed."""
        plain = verdict(batch, failure, self._limits.retries, self._limits.crashes)
        if plain in (Verdict.AGAIN, Verdict.FAILED) and self.excuses(failure):
            return Verdict.HELD
        return self._write_ahead.verdict(batch, failure, plain)

    def blame(self, batch: Batch, fault: Failure) -> Verdict:
        """Return what becomes of the one job that was running when its worker died."""
        crashes = batch.crashes + (fault.kind is FailureKind.TIMEOUT)
        plain = Verdict.FAILED if crashes >= self._limits.crashes else Verdict.AGAIN
        return self._write_ahead.verdict(batch, fault, plain)

    def excuses(self, failure: Failure) -> bool:
        """Return whether a failure is not held against its job, because everything fails so."""
        return failure.kind is not FailureKind.FINAL and self.outage.excuses(failure.type)

    def delay(self, asked: float, attempt: int) -> float:
        """Return the seconds until the next attempt.

        Args:
            asked: what the callback has asked for; below 0 if it has not.
            attempt: how many there have been.
        """
        own = backoff(self._limits.backoff, attempt, self._chance)
        return min(asked, LONGEST_RETRY_SECONDS) if asked >= 0 else own


def verdict(batch: Batch, failure: Failure, retries: int, crashes: int) -> Verdict:
    """Return what becomes of a job that cannot be split, while not everything fails.

    Args:
        batch: the one it was handed out in; a job that has been tried before is alone in it.
        failure: what the slave says of it.
        retries: attempts after the first that may end with an exception.
        crashes: attempts that may end with a dead worker or a time-out.
    """
    if failure.kind is FailureKind.SKIP:
        return Verdict.SKIPPED
    if failure.kind is FailureKind.ABORT:
        return Verdict.BACK
    if failure.kind is FailureKind.FINAL:
        return Verdict.FAILED
    if failure.kind is FailureKind.TIMEOUT:
        return Verdict.FAILED if batch.crashes + 1 >= crashes else Verdict.AGAIN
    return Verdict.FAILED if batch.errors >= retries else Verdict.AGAIN


def backoff(base: float, attempt: int, chance: random.Random) -> float:
    """Return the seconds until the next attempt: doubled each time, and spread, so that what failed
    together does not come back together.

    Args:
        base: seconds after the first attempt.
        attempt: how many there have been.
        chance: spreads by up to a half in either direction.
    """
    return float(min(LONGEST_BACKOFF_SECONDS, base * 2.0 ** min(attempt - 1, 30)) * chance.uniform(0.5, 1.5))
