"""Which fraction of the work is settled, where the source can reckon with keys.

Updated by the checkpointer after each checkpoint, with what the store has. The watermark passes
what is parked, and parked is not done: of the fraction up to the watermark, that of the parked jobs
is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from taskmaster import keys
from taskmaster.master.run_record import Checkpoint, RunRecord

__all__ = ["Completion", "Extents"]


class Extents(Protocol):
    """What a source says of its keys, see ``taskmaster.master.reading.source.Source``."""

    def position(self, key: object, /) -> float | None:
        """Return which fraction of the work lies up to a key, None if that is not known."""

    def extent(self, key: object, /) -> float | None:
        """Return which fraction of the work the job with a key is, None if that is not known."""


class Completion:
    """See the module. What the source raises is passed through.

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
        self._parked = {job.id: job.key for job in record.parked}
        self._extents: dict[str, float | None] = {}  # by key, of those that are parked
        self._position: tuple[str, float] | None = None  # the last mark whose position was known

    def update(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint into account that was written."""
        self._parked.update((job.id, job.key) for job in checkpoint.park)
        for number in checkpoint.unpark:
            self._extents.pop(self._parked.pop(number, ""), None)
        if checkpoint.mark is not None:
            if self._record is not None and self._record.mark is not None:
                parked = [job.key for job in self._record.parked]
                before = self._completed(self._record.mark, parked, self._record.settled)
                if before is None:
                    return  # the source does not know yet
                self.before, self._record = before, None
                self._extents = {key: self._extents[key] for key in self._parked.values() if key in self._extents}
            self.settled = self._completed(checkpoint.mark, self._parked.values(), checkpoint.settled)
        if checkpoint.finished and self.settled is not None:
            self.settled = 1.0

    def _completed(self, mark: str, parked: Iterable[str], settled: int) -> float | None:
        if self._position is None or self._position[0] != mark:
            position = self._extents_of.position(keys.decode(mark))
            if position is None:
                return None
            self._position = (mark, position)
        passed = self._position[1]
        waiting = list(parked)
        if not waiting:
            return passed
        extents = [self._extent(key) for key in waiting]
        known = [extent for extent in extents if extent is not None]
        if len(known) == len(extents):
            return max(0.0, passed - sum(known))
        # Without extents, all jobs are taken to weigh the same.
        return passed * settled / (settled + len(waiting))

    def _extent(self, key: str) -> float | None:
        if key not in self._extents:
            self._extents[key] = self._extents_of.extent(keys.decode(key))
        return self._extents[key]
