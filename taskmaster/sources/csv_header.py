"""Doubts about the header of a CSV file: data in place of names, a header that is repeated among
the rows, and a header that was not split into columns.

None of these is an error, for a name may be any text. Each is said at once, and at the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from taskmaster.runtime.log import clean_logger
from taskmaster.units import show_count

__all__ = ["Header"]

logger = clean_logger(__name__)

BYTE_ORDER_MARK = "\ufeff"
NUMBER_OR_DATE = re.compile(r"[+-]?\d+([.,]\d+)?|\d{4}-\d\d-\d\d.*")
YEAR = re.compile(r"(19|20)\d\d")
DELIMITERS = {";": ";", "\t": "\\t", "|": "|"}


class Header:
    """The names in the first row of a file.

    Args:
        path: The file.
        names: The row; empty for a file without one.
    """

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self._path = path
        self._names = list(names)
        self._marked = [BYTE_ORDER_MARK + name for name in names[:1]] + self._names[
            1:
        ]  # as in a file that was appended
        self._doubts: list[str] = []
        self._again, self._first_again = 0, 0
        for doubt in (self._as_data(), self._unseparated()):
            if doubt:
                self._doubts.append(doubt)
                logger.warning("%s", doubt)

    def compare(self, row: list[str], begin: int) -> None:
        """Note a row that equals the header.

        Args:
            row: A row after the header.
            begin: The byte at which it begins.
        """
        if row in (self._names, self._marked):
            self._again += 1
            if self._again == 1:
                self._first_again = begin
                logger.warning("%s", self._repeated())

    def remarks(self) -> list[str]:
        """Return the lines to print about the header at the end of the run."""
        return [*self._doubts, *([self._repeated()] if self._again else [])]

    def _as_data(self) -> str:
        for name in self._names:
            if NUMBER_OR_DATE.fullmatch(name) and not YEAR.fullmatch(name):
                return (
                    f"The first row of {self._path} is taken for the names of its columns and is no job, but looks "
                    f"like data ({name!r:.50}). If it is, read tuples with header=False."
                )
        return ""

    def _unseparated(self) -> str:
        other = next((sign for sign in DELIMITERS if len(self._names) == 1 and sign in self._names[0]), None)
        if other is None:
            return ""
        return (
            f"{self._path} has one column, {self._names[0]!r:.80}: if it should have more, give "
            f'delimiter="{DELIMITERS[other]}".'
        )

    def _repeated(self) -> str:
        return (
            f"{show_count(self._again, 'row')} of {self._path}, the first at byte {self._first_again}, "
            f"{'is' if self._again == 1 else 'are'} its header once more, as where several files were put together; "
            "each is a job like any other row."
        )
