"""The package's loggers: nothing that they log can tell a terminal or a reader of logs anything.

A slave's name and an exception's message are among the values that are logged, also by a program
that has handlers of its own. So a record is cleaned where it is made, in this one place.
"""

from __future__ import annotations

import logging

from taskmaster.redaction import clean_lines, clean_message

__all__ = ["LOG_LINE", "TIME_OF_DAY", "clean_logger"]

TIME_OF_DAY = "%Y-%m-%d %H:%M:%S%z"
LOG_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""The form of a log line for people."""


class _Cleaning(logging.Filter):
    """Cleans the values of a record, and its traceback; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            if not record.args:
                record.msg = _cleaned(record.msg)
            elif isinstance(record.args, tuple):
                record.args = tuple(map(_cleaned, record.args))
            else:
                record.args = {name: _cleaned(value) for name, value in record.args.items()}
            if record.exc_info and not record.exc_text:
                record.exc_text = clean_lines(_FORMATTER.formatException(record.exc_info))
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
    return value if value is None or isinstance(value, (int, float)) else clean_message(str(value))
