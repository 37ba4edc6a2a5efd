"""How fast a run was of late: jobs settled and read a second, over several spans. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Speeds"]

SPEED_SAMPLE_SECONDS = 1.0  # between two samples
LONGEST_LOOK_BACK_SECONDS = 600.0  # how far samples reach back


class Speeds:
    """Samples of the counters, from which recent rates are computed.

    Args:
        now: Monotonic seconds at the start of the session.
    """

    def __init__(self, now: float) -> None:
        most = int(LONGEST_LOOK_BACK_SECONDS / SPEED_SAMPLE_SECONDS) + 1
        self._samples: deque[tuple[float, int, int]] = deque([(now, 0, 0)], most)
        self._latest = (now, 0, 0)

    def note(self, now: float, settled: int, read: int) -> bool:
        """Note how many jobs the session has settled and read; return whether a second has
        passed.
        """
        self._latest = (now, settled, read)
        if now - self._samples[-1][0] < SPEED_SAMPLE_SECONDS:
            return False
        self._samples.append(self._latest)
        return True

    def settled(self, seconds: float) -> float:
        """Return the jobs settled a second in the last seconds."""
        return self._over(seconds, 1)

    def read(self, seconds: float) -> float:
        """Return the jobs read a second in the last seconds."""
        return self._over(seconds, 2)

    def _over(self, seconds: float, column: int) -> float:
        now = self._latest[0]
        # The newest sample that is old enough; while there is none, the beginning.
        back = min(len(self._samples), int(seconds / SPEED_SAMPLE_SECONDS) + 1)
        index = len(self._samples) - back
        while index > 0 and now - self._samples[index][0] < seconds:
            index -= 1
        then = self._samples[index]
        passed = now - then[0]
        return float(self._latest[column] - then[column]) / passed if passed > 0 else 0.0
