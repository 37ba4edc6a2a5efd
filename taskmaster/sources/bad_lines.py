"""Lines of a file that cannot be read and are left out, if the user allows that: they are counted,
and listed at the end of the run.
"""

from __future__ import annotations

from taskmaster.errors import SourceError, UsageError

__all__ = ["BadLines"]

MOST_LINES_SHOWN = 20  # most of the left-out lines that are listed at the end of the run


class BadLines:
    """Counts the lines that are left out, and keeps the first of them.

    Args:
        allowed: How many bad lines may be left out: True for any number, False for none.

    Raises:
        UsageError: ``allowed`` is none of these.
    """

    def __init__(self, allowed: object) -> None:
        if not isinstance(allowed, int) or allowed < 0:
            raise UsageError(f"skip_bad={allowed!r}: give True, or how many bad lines or rows may be left out.")
        self._most = None if allowed is True else int(allowed)
        self._count = 0
        self._shown: list[str] = []

    def begin(self) -> None:
        """Forget the lines that an earlier reading has left out."""
        self._count = 0
        self._shown.clear()

    def leave_out(self, error: SourceError) -> None:
        """Count a line that is left out.

        Raises:
            SourceError: ``error``, if no more bad lines are allowed.
        """
        if self._most is not None and self._count >= self._most:
            if self._most:
                before = "1 bad one was" if self._most == 1 else f"{self._most} bad ones were"
                raise SourceError(f"{error} {before} left out before (skip_bad={self._most}).")
            raise error
        self._count += 1
        if len(self._shown) < MOST_LINES_SHOWN:
            self._shown.append(str(error))

    def check_some_good(self, path: object) -> None:
        """Check, at the end of a file that gave no job, that no line was left out.

        Raises:
            SourceError: All lines were bad.
        """
        if self._count:
            raise SourceError(
                f"No line of {path} is good ({self._count} read), so that nothing is left to do: has it another "
                f"encoding or format? The first: {self._shown[0]}"
            )

    def remarks(self, path: object) -> list[str]:
        """Return the lines to print about this at the end of the run."""
        if not self._count:
            return []
        more = f"\n  ... and {self._count - MOST_LINES_SHOWN} more" if self._count > MOST_LINES_SHOWN else ""
        listed = "".join(f"\n  {line}" for line in self._shown)
        what = "1 bad line or row" if self._count == 1 else f"{self._count} bad lines or rows"
        were = "was" if self._count == 1 else "were"
        return [f"{what} of {path} {were} left out in this session (skip_bad):{listed}{more}"]
