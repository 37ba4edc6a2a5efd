"""Which fraction of the work is settled, where the source can reckon with keys.

Updated by the checkpointer after each checkpoint, with what the store has. The watermark passes
what is parked, and parked is not done: of the fraction up to the watermark, that of the parked jobs
is taken off.
"""

from __future__ import annotations

from typing import Protocol

from taskmaster import keys
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord

__all__ = ["Completion", "Extents"]


class Extents(Protocol):
    """What a source says of its keys, see ``taskmaster.master.reading.source.Source``."""

    def position(self, key: object, /) -> float | None:
        """Return which fraction of the work lies up to a key, None if that is not known."""

    def extent(self, key: object, /) -> float | None:
        """Return which fraction of the work the job with a key is, None if that is not known."""


class Completion:
    """The settled fraction of the work. What the source raises is passed through.

    Args:
        source: says where its keys lie.
        record: the run as it was at the start of this session.

    Attributes:
        settled: the fraction that is settled, from 0 to 1; None while unknown.
        before: what it was at the start of this session.
    """

    def __init__(self, source: Extents, record: RunRecord) -> None:
        self.settled: float | None = None
        self.before = 0.0
        self._extents_of = source
        self._record: RunRecord | None = record if record.mark is not None else None  # until ``before`` is known
        self._parked = _Parked(source)
        self._first = True  # nothing has changed since the start
        self._position: tuple[str, float] | None = None  # the last mark whose position was known
        for job in record.parked:
            self._parked.add(job)

    def update(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint into account that was written."""
        if self._first and self._record is not None:
            self._note_before(self._record, self._parked)  # each job is looked at once, of a million
        self._first = False
        for job in checkpoint.park:
            self._parked.add(job)
        for number in checkpoint.unpark:
            self._parked.remove(number)
        if checkpoint.mark is not None:
            if self._record is not None:
                parked = _Parked(self._extents_of)
                for job in self._record.parked:
                    parked.add(job)
                if not self._note_before(self._record, parked):
                    return
            self.settled = self._completed(checkpoint.mark, self._parked, checkpoint.settled)
        if checkpoint.finished and self.settled is not None:
            self.settled = 1.0

    def _note_before(self, record: RunRecord, parked: _Parked) -> bool:
        """Note what was settled at the start; return whether the source knows that already."""
        before = None if record.mark is None else self._completed(record.mark, parked, record.settled)
        if before is None:
            return False
        self.before, self._record = before, None
        return True

    def _completed(self, mark: str, parked: _Parked, settled: int) -> float | None:
        if self._position is None or self._position[0] != mark:
            position = self._extents_of.position(keys.decode(mark))
            if position is None:
                return None
            self._position = (mark, position)
        passed = self._position[1]
        if not len(parked):
            return passed
        together = parked.measure()
        if together is not None:
            return max(0.0, passed - together)
        # Without extents, all jobs are taken to weigh the same.
        return passed * settled / (settled + len(parked))


class _Parked:
    """Parked jobs, and which fraction of the work they are together: each is looked at once.

    Args:
        source: Says which fraction a job is.
    """

    def __init__(self, source: Extents) -> None:
        self._source = source
        self._keys: dict[int, str] = {}  # of those that were not looked at, by id
        self._extents: dict[int, float | None] = {}  # of the others
        self._sum = 0.0
        self._unknown = 0  # those of which the source does not know it

    def __len__(self) -> int:
        return len(self._keys) + len(self._extents)

    def add(self, job: ParkedJob) -> None:
        """Add a job; one that is here already stays as it is."""
        if job.id not in self._extents:
            self._keys[job.id] = job.key

    def remove(self, number: int) -> None:
        """Remove a job by its id, if it is here."""
        if self._keys.pop(number, None) is None and number in self._extents:
            self._count(self._extents.pop(number), -1)

    def measure(self) -> float | None:
        """Return which fraction they are together, None if the source does not know it of all."""
        while self._keys:
            number, key = self._keys.popitem()
            self._extents[number] = extent = self._source.extent(keys.decode(key))
            self._count(extent, 1)
        return None if self._unknown else self._sum

    def _count(self, extent: float | None, sign: int) -> None:
        if extent is None:
            self._unknown += sign
        else:
            self._sum = self._sum + sign * extent if len(self._extents) else 0.0  # what was rounded does not add up
