"""What is left out of a file because it cannot be read, if the user allows that: counted, and said
at the end of the run.
"""

from __future__ import annotations

from taskmaster.errors import SourceError, UsageError

__all__ = ["BadLines"]

MOST_LINES_SHOWN = 20  # most lines shown at the end of the run, of those that were left out


class BadLines:
    """See the module.

    Args:
        allowed: True for any number of bad lines, False for none, or how many.

    Raises:
        UsageError: It is none of these.
    """

    def __init__(self, allowed: object) -> None:
        if not isinstance(allowed, int) or allowed < 0:
            raise UsageError(f"skip_bad={allowed!r}: give True, or how many bad lines or rows may be left out.")
        self._most = None if allowed is True else int(allowed)
        self._count = 0
        self._shown: list[str] = []

    def begin(self) -> None:
        """Forget what an earlier reading has left out."""
        self._count = 0
        self._shown.clear()

    def leave_out(self, error: SourceError) -> None:
        """Leave a line out.

        Raises:
            SourceError: The one given, if no more bad lines are allowed.
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
        """See at the end of a file without jobs that this is not because all of it was bad.

        Raises:
            SourceError: It was.
        """
        if self._count:
            raise SourceError(
                f"No line of {path} is good ({self._count} read), so that nothing is left to do: has it another "
                f"encoding or format? The first: {self._shown[0]}"
            )

    def remarks(self, path: object) -> list[str]:
        """Return what there is to say of it at the end of the run."""
        if not self._count:
            return []
        more = f"\n  ... and {self._count - MOST_LINES_SHOWN} more" if self._count > MOST_LINES_SHOWN else ""
        listed = "".join(f"\n  {line}" for line in self._shown)
        what = "1 bad line or row" if self._count == 1 else f"{self._count} bad lines or rows"
        were = "was" if self._count == 1 else "were"
        return [f"{what} of {path} {were} left out in this session (skip_bad):{listed}{more}"]
