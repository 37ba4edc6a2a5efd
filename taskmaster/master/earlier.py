"""What earlier sessions of a run have settled above its watermark, while the source yields those jobs again.

Filled from the store at the start; the reader asks it about each job until it is used up, the keeper writes down what
is left of it. A multiset of fingerprints: a job is recognised once for each time it was recorded, never by its
position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from taskmaster import keys
from taskmaster.master.stores import RunRecord

__all__ = ["Earlier"]


class Earlier:
    """Fingerprints of an earlier session's settled and parked jobs; used under the master's lock.

    Args:
        record: the run as the store remembers it.
    """

    def __init__(self, record: RunRecord) -> None:
        edge, rest = keys.separate(record.edge), keys.separate(record.remembered)
        self._unmet = Counter(edge) + Counter(rest)
        self._edge = Counter(edge)
        self._rest = Counter(rest)
        self._mark = record.mark
        self._changed = False

    def __len__(self) -> int:
        return self._unmet.total()

    def recognise(self, fingerprint: bytes) -> bool:
        """Whether a job with this fingerprint was settled and has not come again so far; it has come now."""
        if self._unmet[fingerprint] <= 0:
            return False
        self._unmet[fingerprint] -= 1
        return True

    def forget(self) -> None:
        """The source is far beyond all that was remembered: what has not come by now has vanished."""
        self._unmet.clear()
        self._changed = self._changed or bool(self._rest)
        self._rest.clear()

    def settled_again(self, fingerprints: Iterable[bytes]) -> None:
        """These recognised jobs have their place in this session's books now."""
        for fingerprint in fingerprints:
            if self._edge[fingerprint] > 0:
                self._edge[fingerprint] -= 1
            elif self._rest[fingerprint] > 0:
                self._rest[fingerprint] -= 1
                self._changed = True

    def edge(self, mark: str | None) -> bytes:
        """Fingerprints of jobs whose key is the mark, which only matter while it is still the mark."""
        return b"".join(self._edge.elements()) if mark == self._mark else b""

    def waiting(self) -> bytes | None:
        """What is left to be remembered, None if that has not changed since ``written``."""
        return b"".join(self._rest.elements()) if self._changed else None

    def written(self) -> None:
        """The store has what ``waiting`` gave."""
        self._changed = False
