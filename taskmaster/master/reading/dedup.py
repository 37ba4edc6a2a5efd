"""What earlier sessions of a run have settled above its watermark, while the source yields those
jobs again.

Filled from the store at the start; the reader asks it about each job until it is used up, the
keeper writes down what is left of it. A multiset of fingerprints: a job is recognised once for each
time it was recorded, never by its position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from taskmaster import keys
from taskmaster.master.run_record import RunRecord

__all__ = ["Earlier"]


class Earlier:
    """Fingerprints of an earlier session's settled and parked jobs; used under the master's lock.

    A job goes through two accounts: it is *unmet* until the source yields it again, and *kept* (in
    the state) until the recognised job has its place in this session's books, which is later: in
    between it waits in the queue.

    Args:
        record: the run as the store remembers it.
    """

    def __init__(self, record: RunRecord) -> None:
        edge, rest = keys.separate(record.edge), keys.separate(record.remembered)
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
        """Whether a job with this key and fingerprint was settled and has not come again so far; it
        has come now.
        """
        if key != self._mark and self._unmet_edge:
            # A source that includes `last` yields the jobs with that key first. From here on, one
            # that looks like them is another job, even if it is the very same.
            self._left -= self._unmet_edge.total()
            self._unmet_edge.clear()
        for account in (self._unmet_edge, self._unmet):
            if account[fingerprint] > 0:
                account[fingerprint] -= 1
                self._left -= 1
                return True
        return False

    def forget(self) -> None:
        """The source is at its end, or far beyond all that was remembered: what has not come by now
        has vanished.
        """
        vanished = +self._unmet
        self._changed = self._changed or bool(vanished)
        self._kept -= vanished
        self._unmet.clear()
        self._unmet_edge.clear()
        self._left = 0

    def settled_again(self, fingerprints: Iterable[bytes]) -> None:
        """These recognised jobs have their place in this session's books now."""
        for fingerprint in fingerprints:
            if self._kept_edge[fingerprint] > 0:
                self._kept_edge[fingerprint] -= 1
            elif self._kept[fingerprint] > 0:
                self._kept[fingerprint] -= 1
                self._changed = True

    def edge(self, mark: str | None) -> bytes:
        """Fingerprints of jobs whose key is the mark, which only matter while it is still the
        mark.
        """
        return b"".join(self._kept_edge.elements()) if mark == self._mark else b""

    def waiting(self) -> bytes | None:
        """What is left to be remembered, None if that has not changed since ``written``."""
        return b"".join(self._kept.elements()) if self._changed else None

    def written(self) -> None:
        """The store has what ``waiting`` gave."""
        self._changed = False
