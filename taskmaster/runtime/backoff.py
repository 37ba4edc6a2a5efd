"""Pauses that grow from one failure to the next. Pure."""

from __future__ import annotations

__all__ = ["Backoff", "pause_after"]


def pause_after(failures: int, first: float, longest: float, factor: float = 2.0) -> float:
    """Return the seconds to wait after this many failures in a row (at least one)."""
    steps = min(max(failures, 1) - 1, 64)  # more would overflow long after the longest pause was reached
    return min(longest, first * factor**steps)


class Backoff:
    """Pauses between attempts: ``first``, then each longer than the one before, up to ``longest``.

    Args:
        first: Seconds of the first pause.
        longest: Seconds of the longest pause.
        factor: How many times as long as the last pause the next one is.

    Attributes:
        pause: Seconds of the pause that ``next`` gave last; 0.0 while nothing has failed.
    """

    def __init__(self, first: float, longest: float, factor: float = 2.0) -> None:
        self.pause = 0.0
        self._failures = 0
        self._first = first
        self._longest = longest
        self._factor = factor

    def next(self) -> float:
        """Return the seconds until the next attempt, after one that has failed."""
        self._failures += 1
        self.pause = pause_after(self._failures, self._first, self._longest, self._factor)
        return self.pause

    def reset(self) -> None:
        """Begin anew with the first pause: an attempt has gone well."""
        self.pause = 0.0
        self._failures = 0
