"""The failure policy: what becomes of a job that did not end well, when it is tried again, and when
a run should stop.

Called by the broker. Pure: no clock inside, and chance comes from a generator that is passed in.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from taskmaster.master.broker.batches import Batch
from taskmaster.master.job_records import Attempt, FailedJob
from taskmaster.model import Failure, FailureKind

__all__ = ["Budget", "Tried", "Verdict", "Waiting", "backoff", "verdict"]

LONGEST = 300.0  # seconds of back-off
TRACED = 10  # attempts of a job whose tracebacks are kept
ALIKE = 30  # jobs that fail in the same way before any has gone well, until the cause is looked for elsewhere


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
    """Nothing is held against it: it goes back where it came from."""

    @property
    def settles(self) -> bool:
        """Whether the job is settled."""
        return self in (Verdict.FAILED, Verdict.SKIPPED)


@dataclass(frozen=True, slots=True)
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


def verdict(batch: Batch, failure: Failure, retries: int, crashes: int) -> Verdict:
    """What becomes of a job.

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
    """Seconds until the next attempt: doubled each time, and spread, so that what failed together
    does not come back together.

    Args:
        base: seconds after the first attempt.
        attempt: how many there have been.
        chance: spreads by up to a half in either direction.
    """
    return float(min(LONGEST, base * 2.0 ** min(attempt - 1, 30)) * chance.uniform(0.5, 1.5))


def with_attempt(attempts: tuple[Attempt, ...], attempt: Attempt) -> tuple[Attempt, ...]:
    """Attempts and one more. Those that are long ago lose their traceback: all of them are written
    down again with each attempt.
    """
    if len(attempts) < TRACED:
        return (*attempts, attempt)
    old = attempts[-TRACED]
    return (
        *attempts[:-TRACED],
        old._replace(message=old.message[:200], traceback=""),
        *attempts[1 - TRACED :],
        attempt,
    )


class Waiting:
    """Jobs that wait for another attempt, without holding a slot."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Batch]] = []
        self._added = 0
        self._jobs = 0

    def __len__(self) -> int:
        return self._jobs

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, _, batch in self._heap)

    def add(self, batch: Batch) -> None:
        """Let these jobs wait until they are due."""
        self._added += 1
        self._jobs += len(batch.jobs)
        heapq.heappush(self._heap, (batch.due, self._added, batch))

    def due(self, now: float) -> list[Batch]:
        """Take out what has waited long enough."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            batch = heapq.heappop(self._heap)[2]
            self._jobs -= len(batch.jobs)
            found.append(batch)
        return found


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
        """Note the first attempt of a job, or of a call, when ``done`` have gone well so far; why
        to stop, or "".
        """
        self.example = self.example or attempt
        if done or self._most is not None or self._share is not None:
            return ""
        self._alike = 1 + (self._alike if attempt.type == self._kind else 0)
        self._kind = attempt.type
        if self._alike < ALIKE:
            return ""
        return (
            f"all of the first {self._alike} attempts have failed in the same way ({attempt.type}: {attempt.message}), "
            "which looks as if none would go well. If it is the jobs' own fault, say with --max-failures how many may "
            "fail"
        )

    def over(self, failures: int, settled: int) -> str:
        """Why to stop, when so many of the session's settled jobs have failed; "" if there is no
        reason to.
        """
        if self._most is not None and failures > self._most:
            have = "1 job has" if failures == 1 else f"{failures} jobs have"
            return f"{have} failed in this session, and --max-failures allows {self._most}"
        if self._share is not None and settled >= sample(self._share) and failures > self._share * settled:
            return (
                f"{failures} of the {settled} jobs of this session have failed, and --max-failures allows "
                f"{100 * self._share:.4g}%"
            )
        return ""


def sample(share: float) -> int:
    """How many jobs have to be settled before their share of failures says something: five
    failures' worth, and at least 50.
    """
    return max(50, math.ceil(5 / share)) if share > 0 else 50
