"""A file that has what Taskmaster logs and says of a run, as lines for people or as JSON objects.

It is opened anew when logrotate has moved it away. A file that cannot be written any more stops no
run: a warning says so, once. Tokens are hidden in it, for the file stays, and others may read it.
They are also hidden in JSON lines that go elsewhere: a collector of logs reads those.
"""

from __future__ import annotations

import errno
import json
import logging
import logging.handlers
import os
import re
import stat
import traceback
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Self

from taskmaster.errors import TaskmasterError, UsageError
from taskmaster.redaction import clean_lines, clean_message, without_tokens
from taskmaster.runtime.log import LOG_LINE, TIME_OF_DAY, clean_logger
from taskmaster.runtime.ownership import is_trusted, others_write, user

__all__ = ["JsonFormatter", "LogFile"]

logger = clean_logger(__name__)

_AT_MARGIN = re.compile(r"\n(?=\S)")
LOG_FILE_MODE = 0o640  # of a new file; a row of a table may stand in a traceback


class JsonFormatter(logging.Formatter):
    """Makes a JSON object in a line of each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with ``at``, ``level``, ``logger``, ``message``, and its traceback."""
        found = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = clean_lines(self.formatException(record.exc_info))
        if record.exc_text:
            found["traceback"] = record.exc_text
        return without_tokens(json.dumps(found))


class LogFile:
    """An open log file.

    Args:
        path: The file; lines are added at its end.
        as_json: Whether they are JSON objects.

    Raises:
        UsageError: It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, as_json: bool = False) -> None:
        try:
            self._handler = _Handler(path, encoding="utf-8", errors="backslashreplace")
        except OSError as exc:
            raise UsageError(
                f"--log-file is {os.fspath(path)!r}, which cannot be written: {exc.strerror or exc}. Give another file."
            ) from None
        self._handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(LOG_LINE, TIME_OF_DAY))

    def __enter__(self) -> Self:
        logging.getLogger("taskmaster").addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if exc is not None and str(exc):
            known = isinstance(exc, TaskmasterError)
            text = str(exc) if known else "".join(traceback.format_exception(exc))
            self.say(clean_message(text), logging.ERROR)
        logging.getLogger("taskmaster").removeHandler(self._handler)
        with suppress(OSError):  # what it still holds does not fit on the disk
            self._handler.close()

    def say(self, line: str, level: int = logging.INFO) -> None:
        """Write a line that is no log line: what Taskmaster says, whatever the level of the log."""
        about = {"name": "taskmaster", "levelno": level, "levelname": logging.getLevelName(level), "msg": line}
        self._handler.handle(logging.makeLogRecord(about))


class _Handler(logging.handlers.WatchedFileHandler):
    """Writes to the file, and puts up with it if that is not possible."""

    _has_warned = False

    def format(self, record: logging.LogRecord) -> str:
        """Return what is written of a record, without the tokens in it.

        No line but the first begins at the margin: the message of an exception may hold one that
        looks like a line of the log.
        """
        return _AT_MARGIN.sub("\n    ", without_tokens(super().format(record)))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; to look whether the file was moved may fail, too."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  # as in logging
        """Warn, once."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("the log file %s cannot be written; the run goes on", self.baseFilename)

    def _open(self) -> TextIOWrapper:
        descriptor = _open(Path(self.baseFilename))
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


def _open(path: Path) -> int:
    """Open the file, or make it.

    In a directory in which others can write, they could have put a link there, or a file of their
    own: what is logged would go to them, or into any file of this user's. A pipe is not waited for.

    Raises:
        OSError: It cannot be written, or belongs to another user.
    """
    with suppress(FileNotFoundError):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode) and not is_trusted(about.st_uid):
            raise PermissionError(errno.EPERM, f"it is a link that {user(about.st_uid)} has made")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, LOG_FILE_MODE)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe that nobody reads") from None
        raise
    os.set_blocking(descriptor, True)
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode):
        why = ""
        if not is_trusted(about.st_uid):
            why = f"it belongs to {user(about.st_uid)}, who can read what is logged"
        elif about.st_nlink > 1 and others_write(path.parent.stat()):
            why = "it is another file's second name, and other users can make one there"
        if why:
            os.close(descriptor)
            raise PermissionError(errno.EPERM, why)
    return descriptor
