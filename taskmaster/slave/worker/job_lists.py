"""What ``handle_jobs`` has changed in the list that it was given, and what it returns.

A loop that takes jobs out of the list over which it goes leaves out each second one; a callback
that takes out what it has done, or gives back what it has not, says that jobs are left. To count
all of them as done would lose those in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from taskmaster.redaction import clean_lines
from taskmaster.units import show_count

__all__ = ["JobLists", "JobsLeft"]


class JobsLeft(Exception):
    """A call has taken some of its jobs out of its list, and has left others in it."""


class JobLists:
    """Compares the lists of one worker with what they were.

    Args:
        name: What messages call the callback.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: set[str] = set()

    def check(self, given: Sequence[Any], left: Sequence[Any], result: Any) -> None:
        """Look at a call that has gone well.

        Args:
            given: The jobs that it was given.
            left: The list in which it was given them, as it is now.
            result: What it has returned.

        Raises:
            JobsLeft: It has taken out some of them: the jobs are run again, in smaller lists, and
                at last alone.
        """
        of_all = show_count(len(given), "job")
        if 0 < len(left) < len(given):
            why = (
                f"{self._name} has left {len(left)} of its {of_all} in the list that it was given, and has taken the "
                "others out: which of them were done cannot be told"
            )
            cure = "Go over list(jobs) in a loop that takes jobs out, take out all of them or none"
            self._say(f"{why}, so they are run again, in smaller lists. {cure}, and raise an exception if some failed.")
            raise JobsLeft(f"{why}. {cure}.")
        if _are_some_of(result, given):
            self._say(
                f"{self._name} has returned {len(result)} of the {of_all} that it was given. That says nothing: all "
                "count as done. If some are not, let it raise an exception: then the list is run again, and its "
                "halves, until the bad jobs are alone."
            )

    def _say(self, sentence: str) -> None:
        """Say something of this kind once."""
        kind = sentence.partition("has ")[2].split()[0]
        if kind not in self._said:
            self._said.add(kind)
            sys.stderr.write(clean_lines(f"taskmaster: {sentence}\n"))


def _are_some_of(result: Any, given: Sequence[Any]) -> bool:
    """Return whether a list holds some of the jobs, and nothing else."""
    if not isinstance(result, list | tuple | set | frozenset) or not 0 < len(result) < len(given):
        return False
    jobs = {id(job) for job in given}
    return len({id(one) for one in result} & jobs) == len(result)
