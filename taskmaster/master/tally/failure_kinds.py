"""Failed jobs by what they failed with: the class of the exception, and the last location in the
user's code. Pure.

Their number is bounded, however many jobs fail, and in however many ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from taskmaster import keys
from taskmaster.master.records.job_records import FailedJob
from taskmaster.records import changing
from taskmaster.redaction import clean

__all__ = ["LONGEST_EXAMPLE_TRACEBACK", "MOST_KINDS_COUNTED", "FailureKinds", "Kind", "location_of"]

MOST_KINDS_COUNTED = 100  # that are told apart; the jobs of the others are only counted
LONGEST_MESSAGE = 300  # characters of a message
LONGEST_FILE_SHOWN = 100  # characters of a file
LONGEST_EXAMPLE_TRACEBACK = 4000  # characters that are kept of an example's traceback: its end
FRAME_BEGINS = '  File "'
FRAME = re.compile(r'  File "([^"\n]*)", line (\d+)(?:, in (\S+))?')


@changing(compared=True)
class Kind:
    """A kind of failure.

    Attributes:
        type: The class of the exception.
        where: "jobs.py:31 clean()"; "" where there is no traceback.
        count: Jobs that failed so.
        first_at: When the first of them did (seconds since the epoch).
        last_at: When the last one did.
        key: The key of the last one, encoded; None if it has none.
        message: What the exception of the last one said.
        traceback: The traceback of the last one.
    """

    type: str
    where: str
    count: int
    first_at: float
    last_at: float
    key: str | None
    message: str
    traceback: str

    def describe(self, longest: int) -> dict[str, Any]:
        """Return the kind as plain values, cleaned.

        Args:
            longest: Characters of the traceback that are wanted: its end; 0: none.
        """
        return {
            "type": clean(self.type),
            "where": clean(self.where),
            "count": self.count,
            "first_at": round(self.first_at, 3),
            "last_at": round(self.last_at, 3),
            "key": keys.NO_KEY if self.key is None else keys.show(self.key)[:LONGEST_MESSAGE],
            "message": clean(self.message),
            "traceback": self.traceback[-longest:] if longest else "",
        }


def location_of(traceback: str) -> str:
    """Return the last location in a traceback: file, line and function; "" if there is none."""
    found = FRAME.match(traceback, max(0, traceback.rfind(FRAME_BEGINS)))
    if found is None:
        return ""
    path, line, function = found.groups()
    call = f" {function}()" if function and not function.startswith("<") else ""
    return f"{path.rpartition('/')[2][-LONGEST_FILE_SHOWN:]}:{line}{call}"[:LONGEST_MESSAGE]


class FailureKinds:
    """Counters of failed jobs, by class and location, each with an example.

    Args:
        known: Kinds of earlier sessions, each as its number and an example.

    Attributes:
        others: Failed jobs of kinds that are not told apart, because there are too many.
    """

    def __init__(self, known: Sequence[tuple[int, FailedJob]] = ()) -> None:
        self.others = 0
        self._kinds: dict[tuple[str, str], Kind] = {}
        for count, example in known:
            self.add(example, count)

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, job: FailedJob, count: int = 1) -> None:
        """Count a job that has failed for good."""
        kind = job.type[:LONGEST_MESSAGE], location_of(job.traceback)
        at, message = job.attempts[-1].at, job.message[:LONGEST_MESSAGE]
        traceback = job.traceback[-LONGEST_EXAMPLE_TRACEBACK:]
        found = self._kinds.get(kind)
        if found is not None:
            found.count += count
            found.last_at, found.key, found.message, found.traceback = at, job.key, message, traceback
        elif len(self._kinds) < MOST_KINDS_COUNTED:
            self._kinds[kind] = Kind(*kind, count, at, at, job.key, message, traceback)
        else:
            self.others += count

    def remove(self, job: FailedJob) -> None:
        """Count a job no longer: it is run again."""
        kind = job.type[:LONGEST_MESSAGE], location_of(job.traceback)
        found = self._kinds.get(kind)
        if found is None:
            # Of an earlier session, only one example of each class is known, with its location.
            found = next((one for (name, _), one in self._kinds.items() if name == kind[0]), None)
        if found is None:
            self.others = max(0, self.others - 1)
            return
        found.count -= 1
        if found.count <= 0:
            del self._kinds[found.type, found.where]

    def by_class(self) -> dict[str, int] | None:
        """Return how many jobs have failed with each class, the most frequent first; None if there
        may be others.
        """
        if self.others or len(self._kinds) >= MOST_KINDS_COUNTED:
            return None
        found: dict[str, int] = {}
        for kind in self.top(MOST_KINDS_COUNTED):
            found[kind.type] = found.get(kind.type, 0) + kind.count
        return found

    def top(self, most: int, after: int = 0) -> list[Kind]:
        """Return the most frequent kinds, leaving out the first ``after`` of them."""
        ranked = sorted(self._kinds.values(), key=lambda kind: (-kind.count, -kind.last_at))
        return ranked[after : after + most]
