"""What a command says and logs that shows no progress, as a slave does: on standard error, and in a
log file where there is one.
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from taskmaster.redaction import clean_lines, clean_message
from taskmaster.runtime.log import LOG_LINE, TIME_OF_DAY

if TYPE_CHECKING:
    from taskmaster.runtime.log_file import JsonFormatter, LogFile

__all__ = ["CommandLog"]


class CommandLog:
    """Writes the messages of a command to standard error, and to a log file if there is one. As a
    context manager, it also takes what is logged in this process and in those that it forks.

    Args:
        path: The log file; None: there is none.
        as_json: Whether what is logged and said is a JSON object a line: in the file, or on
            standard error where there is none.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, path: str | None = None, *, as_json: bool = False) -> None:
        self._file: LogFile | None = None
        self._json: JsonFormatter | None = None
        if path is not None or as_json:
            # Only here: it takes longer to load than all else that a slave says.
            from taskmaster.runtime.log_file import JsonFormatter, LogFile

            self._file = None if path is None else LogFile(path, as_json=as_json)
            self._json = JsonFormatter() if path is None else None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        logger = logging.getLogger("taskmaster")
        if not logging.getLogger().handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(self._json or logging.Formatter(LOG_LINE, TIME_OF_DAY))
            propagated, logger.propagate = logger.propagate, False
            logger.addHandler(handler)
            self._stack.callback(setattr, logger, "propagate", propagated)
            self._stack.callback(logger.removeHandler, handler)
        if self._file is not None:
            self._stack.enter_context(self._file)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, exc, tb)

    def say(self, sentence: str) -> None:
        """Write a sentence of the command's own; further lines of it are indented."""
        self.show(clean_message(sentence))

    def give_up(self, traceback: str, sentence: str) -> None:
        """Write why this command can do nothing.

        Args:
            traceback: The user's, "" if there is none.
            sentence: As for ``say``.
        """
        if traceback:
            self.show(traceback)
        self.say(sentence)

    def show(self, text: str) -> None:
        """Write a text of several lines, such as a traceback."""
        line = clean_lines(text.rstrip())
        if self._file is not None:
            self._file.say(line)
        if self._json is not None:
            line = self._json.format(logging.makeLogRecord({"name": "taskmaster", "levelname": "INFO", "msg": line}))
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
