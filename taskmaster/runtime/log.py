"""The package's loggers: nothing that they log can tell a terminal or a reader of logs anything.

A slave's name and an exception's message are among the values that are logged, also by a program
that has handlers of its own. So a record is cleaned where it is made, in this one place. A long
value is cut, and a line that comes again and again is left out most times: a peer that has the key
can have the same warning made thousands of times a second, and must not fill a disk with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from taskmaster.redaction import clean_lines, clean_message

__all__ = ["LOG_LINE", "TIME_OF_DAY", "clean_logger"]

TIME_OF_DAY = "%Y-%m-%d %H:%M:%S%z"
LOG_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""The form of a log line for people."""


LONGEST_VALUE = 50_000  # characters; a traceback of a job has 20,000 at most
ALLOWANCES = {logging.WARNING: (100.0, 1.0), logging.INFO: (20_000.0, 10.0)}
"""How many lines of a kind are let through at once, and how many a second after these: of warnings
and worse, and of lines of a lower level.
"""
MOST_KINDS = 1000  # of lines that are counted


class _Repeats:
    """Knows which lines come too often; those of one message, with whatever values, are alike."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, bool, str], tuple[float, float, int]] = {}  # left, as of when, and left out

    def left_out(self, record: logging.LogRecord) -> int | None:
        """Return how many lines like this one were left out before it; None if it is to be left
        out, too.
        """
        if record.levelno < logging.INFO:
            return 0
        loud = record.levelno >= logging.WARNING
        most, a_second = ALLOWANCES[logging.WARNING if loud else logging.INFO]
        kind, now = (record.name, loud, str(record.msg)[:200]), self._clock()
        left, at, before = self._kinds.get(kind, (most, now, 0))
        left = min(most, left + a_second * (now - at))
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
        if left < 1.0:
            self._kinds[kind] = left, now, before + 1
            return None
        self._kinds[kind] = left - 1.0, now, 0
        return before


class _Cleaning(logging.Filter):
    """Cleans the values of a record, and its traceback; lets every record pass that does not come
    too often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.repeats = _Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        before = self.repeats.left_out(record) if isinstance(record.msg, str) else 0
        if before is None:
            return False
        try:
            if not record.args:
                record.msg = _cleaned(record.msg)
            elif isinstance(record.args, tuple):
                record.args = tuple(map(_cleaned, record.args))
            else:
                record.args = {name: _cleaned(value) for name, value in record.args.items()}
            if record.exc_info and not record.exc_text:
                record.exc_text = clean_lines(_FORMATTER.formatException(record.exc_info))
            if before:
                record.msg = f"{record.getMessage()} (others like this one that were left out: {before:,})"
                record.args = None
        except Exception:
            # A value whose __str__ is broken is for the handler to complain about, as always.
            return True
        return True


_FORMATTER = logging.Formatter()
_CLEANING = _Cleaning()


def clean_logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose records are cleaned."""
    logger = logging.getLogger(name)
    logger.addFilter(_CLEANING)
    return logger


def _cleaned(value: object) -> object:
    """Return a value as it is logged: numbers as they are, for formats such as ``%d``."""
    return value if value is None or isinstance(value, (int, float)) else clean_message(_cut(str(value)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}\N{HORIZONTAL ELLIPSIS}"
