"""The simulated disk with the real store beside it: after each restart, both have to say the
same.
"""

from __future__ import annotations

from pathlib import Path

from support.world import Disk, Violation
from taskmaster.master.records.fingerprints import separate
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.stores.sqlite.store import SqliteStore


class FileDisk(Disk):
    """Writes each checkpoint to a state file, too; a restart of the master is a death without a
    word.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._store: SqliteStore | None = None

    def open(self) -> RunRecord:
        expected = super().open()
        self.close()
        self._store = SqliteStore.open(self._path, RunIdentity.named("simulation"), "simulation")
        record = self._store.load()
        for name in ("mark", "edge", "settled", "failures", "skipped", "next_failed", "bound"):
            if getattr(record, name) != getattr(expected, name):
                raise Violation(
                    f"{name} is {getattr(record, name)!r} in the file, and {getattr(expected, name)!r} is due"
                )
        if sorted(separate(record.remembered)) != sorted(separate(expected.remembered)):
            raise Violation("the file remembers other jobs than were written")
        if list(record.parked) != list(expected.parked):
            raise Violation(f"{record.parked} are parked in the file, and {expected.parked} are due")
        if list(self._store.failed()) != [self.failed[number] for number in sorted(self.failed)]:
            raise Violation("other jobs have failed in the file than were written")
        return record

    def write(self, checkpoint: Checkpoint) -> None:
        super().write(checkpoint)
        if self._store is not None:
            self._store.write(checkpoint)

    def close(self) -> None:
        """Without a word: what is in the write-ahead log stays there."""
        if self._store is not None:
            self._store._abandon()
