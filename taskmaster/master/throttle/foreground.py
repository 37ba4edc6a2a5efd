"""How long the statements of others take beside a run, by the server's own count of them
(``pg_stat_statements``). Pure.

A statement counts if it was seen while the run was not at work: those of the run, and new ones,
have nothing to be compared with. Each statement is compared with its own former time, so that
others' asking for other things is not taken for slowness.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Counts", "Foreground"]

LEAST_CALLS = 10  # of a statement without the run, from which its mean is known
LEAST_COMPARED = 30  # calls beside the run that say something
NEWEST_COMPARISON_WEIGHT = 0.5  # of the newest comparison

Counts = Mapping[int, tuple[int, float]]
"""How often each statement was executed, and the seconds that all of these took."""


class Foreground:
    """Compares the mean times of other users' statements with and without the run.

    Attributes:
        times: How many times as long the statements take as without the run; None if that is not
            known.
    """

    def __init__(self) -> None:
        self.times: float | None = None
        self._means: dict[int, float] = {}  # seconds of each, without the run
        self._last: Counts | None = None
        self._was_alone = False

    def note(self, counts: Counts, *, alone: bool) -> None:
        """Note how the counts stand.

        Args:
            counts: The counts of the database's statements.
            alone: Whether the run is not at work, so that these belong to the measurement without
                it.
        """
        if alone != self._was_alone or self._last is None:
            if alone:
                self._means.clear()
            self._was_alone, self._last = alone, counts
            if not alone:
                self.times = None
            return
        if alone:  # all since the first look of this baseline
            grown = {**{key: counts[key] for key in counts.keys() - self._last.keys()}, **_grown(self._last, counts)}
            self._means = {
                key: spent / calls for key, (calls, spent) in grown.items() if calls >= LEAST_CALLS and spent
            }
            return
        known = {key: one for key, one in _grown(self._last, counts).items() if key in self._means}
        if sum(calls for calls, _ in known.values()) >= LEAST_COMPARED:
            expected = sum(calls * self._means[key] for key, (calls, _) in known.items())
            newest = sum(spent for _, spent in known.values()) / expected
            self.times = newest if self.times is None else self.times + NEWEST_COMPARISON_WEIGHT * (newest - self.times)
            self._last = counts

    def used(self, times: float) -> float:
        """Return how much is used of the room that a limit in times leaves; 1 is all."""
        return 0.0 if self.times is None or times <= 1 else (self.times - 1) / (times - 1)


def _grown(before: Counts, now: Counts) -> dict[int, tuple[int, float]]:
    """Return what came since; nothing of a statement whose counts were reset, or are new."""
    return {
        key: (calls - before[key][0], seconds - before[key][1])
        for key, (calls, seconds) in now.items()
        if key in before and calls > before[key][0] and seconds >= before[key][1]
    }
