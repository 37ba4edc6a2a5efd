"""Pauses that grow from one failure to the next. Pure."""

from __future__ import annotations

__all__ = ["Backoff"]


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
        self._first = first
        self._longest = longest
        self._factor = factor

    def next(self) -> float:
        """Return the seconds until the next attempt, after one that has failed."""
        self.pause = min(self._longest, self._factor * self.pause) if self.pause else self._first
        return self.pause

    def reset(self) -> None:
        """Begin anew with the first pause: an attempt has gone well."""
        self.pause = 0.0
