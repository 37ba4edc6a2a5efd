"""The jobs that earlier sessions of a run have settled above its watermark: they are recognised
when the source yields them again, and left out.

Filled from the store at the start. The reader asks about each job until nothing is left to be
recognised; the checkpointer writes down what is. It is a multiset of fingerprints: a job is
recognised once for each time it was recorded, never by its position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from taskmaster.master.records.fingerprints import separate
from taskmaster.master.records.key_equality import same
from taskmaster.master.records.run_record import RunRecord

__all__ = ["Dedup"]


class Dedup:
    """Fingerprints of what earlier sessions have settled and parked; used under the master's lock.

    A job is *unmet* until the source yields it again. It is *kept* in the state for longer: between
    being recognised and being settled in this session it waits in the queue.

    Args:
        record: the run as the store remembers it.
    """

    def __init__(self, record: RunRecord) -> None:
        edge, rest = separate(record.edge), separate(record.remembered)
        self._unmet_edge = Counter(edge)
        self._unmet = Counter(rest)
        self._left = len(edge) + len(rest)
        self._kept_edge = Counter(edge)
        self._kept = Counter(rest)
        self._mark = record.mark
        self._changed = False

    def __len__(self) -> int:
        return self._left

    def recognise(self, key: str | None, fingerprint: bytes) -> bool:
        """Return whether a job was settled by an earlier session; each time that it was counts
        once.

        Args:
            key: the job's encoded key.
            fingerprint: the digest of its key and payload.
        """
        if self._unmet_edge and not (key is not None and self._mark is not None and same(key, self._mark)):
            # A source that includes `last` yields the jobs with that key first. From here on, one
            # that looks like them is another job, even if it is the very same.
            self._left -= self._unmet_edge.total()
            self._unmet_edge.clear()
        for unmet in (self._unmet_edge, self._unmet):
            if unmet[fingerprint] > 0:
                unmet[fingerprint] -= 1
                self._left -= 1
                return True
        return False

    def forget(self) -> None:
        """Give up what was not met: the source is at its end, or far beyond all that was settled,
        so that these jobs have vanished from it.
        """
        vanished = +self._unmet
        self._changed = self._changed or bool(vanished)
        self._kept -= vanished
        self._unmet.clear()
        self._unmet_edge.clear()
        self._left = 0

    def settled_again(self, fingerprints: Iterable[bytes]) -> None:
        """Note that recognised jobs are settled in this session, too."""
        for fingerprint in fingerprints:
            if self._kept_edge[fingerprint] > 0:
                self._kept_edge[fingerprint] -= 1
            elif self._kept[fingerprint] > 0:
                self._kept[fingerprint] -= 1
                self._changed = True

    def edge(self, mark: str | None) -> bytes:
        """Return the fingerprints of the jobs whose key is the mark; they only matter while it is
        still the mark.
        """
        return b"".join(self._kept_edge.elements()) if mark == self._mark else b""

    def waiting(self) -> bytes | None:
        """Return what the store has to remember; None if that has not changed since ``written``."""
        return b"".join(self._kept.elements()) if self._changed else None

    def written(self) -> None:
        """Note that the store has what ``waiting`` gave."""
        self._changed = False
