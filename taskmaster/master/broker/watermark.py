"""The watermark: reports in any order become one settled prefix, and a key from which the run can
be resumed.

Pure: positions and encoded keys go in, no user code runs here.

Jobs are counted by *position*, from 0 in the order in which this session read them::

    position   0 ............ cut ...... low ............................ read
               settled        settled,   the first job that is            nothing is known
                              one key    not settled; above it            beyond this
                                         settled ranges and holes

``low`` is the end of the settled prefix. ``cut`` is the last position at or below it where the key
changes: only there may a resumed source start, because a source that continues after a key must not
leave out a second job with the same key, in whatever spelling (``key_equality``). The key of the
job just before ``cut`` is the *mark*, which the user's ``get_jobs`` is given as ``last``. What is
settled at or above ``cut`` is remembered by fingerprint until ``cut`` has passed it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster.master.records.fingerprints import FINGERPRINT_BYTES
from taskmaster.master.records.key_equality import same
from taskmaster.records import changing

__all__ = ["END", "SettledRange", "Watermark", "settled_range"]

END = ""
"""Given as the successor's key where the source is exhausted. No encoded key is empty."""


@changing(compared=True)
class SettledRange:
    """Contiguous settled jobs, ``first`` to ``end``, with what is known of their keys.

    Attributes:
        last: encoded key of the last job; None when a key among those looked at cannot be stored:
            then no cut is made inside or right after this range.
        tail: how many jobs at the end have that key.
        before: encoded key of the job before those, None if there is none in this range.
        middle: how many jobs right before those have that key.
        jobs: the jobs, until their fingerprints are known.
        prints: the fingerprints of all jobs, one after the other, once they were needed: as bytes
            of their own, those of a full span would take four times the memory. ``NO_FINGERPRINT``
            for a job that cannot have any.
        written: whether the store has them.
    """

    first: int
    end: int
    last: str | None
    tail: int
    before: str | None
    middle: int
    jobs: Sequence[Any] | None
    prints: bytes | None = None
    written: bool = False

    def part(self, first: int, end: int, key: str) -> SettledRange:
        """Return the jobs between two positions of this range, which all have the given key."""
        start, stop = first - self.first, end - self.first
        whole = self.jobs  # read once: the checkpointer lets go of the jobs whose fingerprints it has
        jobs = None if whole is None else whole[start:stop]
        prints = None if self.prints is None else self.prints[start * FINGERPRINT_BYTES : stop * FINGERPRINT_BYTES]
        return SettledRange(first, end, key, stop - start, None, 0, jobs, prints, self.written)


def settled_range(first: int, jobs: Sequence[Any], text_of: Callable[[Any], str | None]) -> SettledRange:
    """Look at the keys at the end of a settled range; runs the user's code, so never under a lock.

    Normally three keys are looked at, whatever the length: the walk goes back only over equal keys.

    Args:
        first: position of the first job.
        jobs: the jobs, at least one.
        text_of: gives a job's encoded key, None where it has none that can be stored.
    """
    count = len(jobs)
    if count == 1:
        return SettledRange(first, first + 1, text_of(jobs[0]), 1, None, 0, jobs)
    last, tail = _equal_run(jobs, count, text_of)
    before, middle = _equal_run(jobs, count - tail, text_of)
    if last is None or (before is None and tail < count):
        return SettledRange(first, first + count, None, count, None, 0, jobs)
    return SettledRange(first, first + count, last, tail, before, middle, jobs)


def _equal_run(jobs: Sequence[Any], stop: int, text_of: Callable[[Any], str | None]) -> tuple[str | None, int]:
    """Return the key of the job before ``stop``, and how many jobs that end there have it."""
    if stop == 0:
        return None, 0
    key = text_of(jobs[stop - 1])
    length = 1
    while key is not None and length < stop and _are_same(text_of(jobs[stop - length - 1]), key):
        length += 1
    return key, length


def _are_same(one: str | None, other: str | None) -> bool:
    return one == other or (one is not None and other is not None and same(one, other))


class Watermark:
    """Takes settled ranges in any order, and says from which key the run can be resumed.

    Args:
        mark: encoded key that an earlier session had reached, None on a first run.
    """

    def __init__(self, mark: str | None = None) -> None:
        self.low = 0
        self.cut = 0
        self.mark = mark
        self.following: str | None = None  # key of the job at the cut, END where there is none; None: unknown
        self._key = mark  # of the job at low - 1; None: unknown or not storable
        self._run: list[SettledRange] = []  # the settled jobs up to low that share self._key
        self._kept: list[SettledRange] = []  # settled, between cut and low
        self._above: dict[int, SettledRange] = {}  # settled, above low, by first position
        self._unwritten: list[SettledRange] = []  # those of them that the store may not have
        self._edge: list[SettledRange] = []  # the jobs whose key is the mark

    def settle(self, settled: SettledRange) -> None:
        """Note that the jobs of a range are settled or parked; each position is settled once."""
        self._above[settled.first] = settled
        if settled.first != self.low:
            self._unwritten.append(settled)
        while (following := self._above.pop(self.low, None)) is not None:
            self._pass(following)

    def settle_successor(self, successor: str | None) -> None:
        """Cut at ``low`` if the job there is known to have another key than the one before it.

        Args:
            successor: encoded key of the job at ``low``, ``END`` if the source ends there, None if
                that is not known yet.
        """
        if successor is None or self._key is None or self.cut >= self.low:
            return
        if not same(successor, self._key):
            self._cut_at(self.low, self._key, list(self._run), successor)

    def jump(self, mark: str) -> None:
        """Move the mark to a key up to which all is parked: jobs that are parked before they are
        handed out have no positions here. No two of them have the same key.
        """
        self.mark = self._key = mark
        self.following = None
        self._edge = []

    def hole(self) -> tuple[int, int]:
        """Return the first and the end position of the jobs that hold the watermark back; equal
        ones when nothing above is settled.
        """
        if not self._above:
            return self.low, self.low
        # As many steps as the hole is wide, however much is settled above it.
        return self.low, next(position for position in itertools.count(self.low) if position in self._above)

    def unwritten(self) -> list[SettledRange]:
        """Return the ranges at or above the cut that the store does not have yet."""
        self._unwritten = [settled for settled in self._unwritten if not settled.written and settled.first >= self.low]
        return [*(settled for settled in self._kept if not settled.written), *self._unwritten]

    def edge(self) -> list[SettledRange]:
        """Return the settled jobs whose key is the mark: what a source that includes ``last``
        yields again.
        """
        return list(self._edge)

    def _pass(self, settled: SettledRange) -> None:
        self.low = settled.end
        if settled.last is None:
            self._key, self._run = None, []
            self._kept.append(settled)
            return
        if settled.before is None:
            if not _are_same(settled.last, self._key):
                if self._key is not None:
                    self._cut_at(settled.first, self._key, self._run, settled.last)
                self._run = []
            self._run.append(settled)
            self._kept.append(settled)
        else:
            cut = settled.end - settled.tail
            start = cut - settled.middle
            edge = [settled.part(start, cut, settled.before)]
            if start == settled.first and _are_same(settled.before, self._key):
                edge = self._run + edge
            rest = settled.part(cut, settled.end, settled.last)
            self._kept.append(rest)
            self._cut_at(cut, settled.before, edge, settled.last)
            self._run = [rest]
        self._key = settled.last

    def _cut_at(self, position: int, mark: str, edge: list[SettledRange], following: str) -> None:
        self.following = following
        self.cut = position
        self.mark = mark
        self._edge = edge
        self._kept = [settled for settled in self._kept if settled.end > position]
