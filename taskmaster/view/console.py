"""The console: progress, Taskmaster's own lines and the callbacks' output on one terminal, without
tearing each other.

It lasts as long as a run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from taskmaster import keys
from taskmaster.redaction import clean, clean_lines, clean_message
from taskmaster.runtime.log import TIME_OF_DAY
from taskmaster.view.progress import Progress
from taskmaster.view.snapshot import Snapshot

if TYPE_CHECKING:
    from taskmaster.runtime.log_file import JsonFormatter, LogFile

__all__ = ["Console", "Failed"]


class Failed(Protocol):
    """A failed job, as far as the end of a run shows it."""

    @property
    def key(self) -> str | None:
        """The job's encoded key."""

    @property
    def type(self) -> str:
        """The exception's class."""

    @property
    def message(self) -> str:
        """The exception's message."""

    @property
    def traceback(self) -> str:
        """The exception's traceback."""


class Console:
    """What a person sees of a run.

    Args:
        progress: "auto", "bar", "lines", "json" or "none".
        slave_command: The command that starts a slave, shown while there is none; "" if one was
            brought along.
        respell: Function that respells the options in a message, for a command or a script.
        describe: Gives the status of the run for programs; None: the snapshot is all there is.
        log: A log file that also gets the messages; None: none.
        as_json: Whether what is logged and said is a JSON object a line.
    """

    def __init__(
        self,
        progress: str,
        slave_command: str,
        respell: Callable[[str], str] = str,
        describe: Callable[[Snapshot], dict[str, Any]] | None = None,
        log: LogFile | None = None,
        *,
        as_json: bool = False,
    ) -> None:
        self._log = log
        self._json = _json_lines() if as_json else None
        self._progress = Progress(progress, sys.stderr, sys.stdout, slave_command=slave_command, describe=describe)
        self._handler = _Handler(self)
        self._closed = False
        self._respell = respell

    def __enter__(self) -> Self:
        self._logger = logging.getLogger("taskmaster")
        self._quiet = self._logger.propagate
        if not logging.getLogger().handlers:
            self._logger.addHandler(self._handler)
            self._logger.propagate = False
        return self

    def __exit__(self, *exc: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.propagate = self._quiet

    def update(self, snapshot: Snapshot) -> None:
        """Show the run as it is now."""
        self._progress.update(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show it for the last time."""
        self._progress.close(snapshot)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Show an event to programs."""
        self._progress.tell(event)

    def write(self, line: str, stream: TextIO) -> None:
        """Write a line of a callback above the bar."""
        self._progress.write(line, stream)

    @property
    def problem(self) -> str:
        """What a person should know of lines of callbacks that are missing, "" if none is."""
        return self._progress.problem

    def say(self, line: str) -> None:
        """Write a line of Taskmaster's own. In a script, options are spelled as keywords."""
        self.say_as_it_is(clean_message(self._respell(line)))

    def say_as_it_is(self, line: str) -> None:
        """Write a line in which options are not respelled, because it may hold text of the user."""
        line = clean_lines(line)
        if self._log is not None:
            self._log.say(line)
        if self._json is not None:
            line = self._json.format(logging.makeLogRecord({"name": "taskmaster", "levelname": "INFO", "msg": line}))
        self._progress.write(line + "\n", sys.stderr)

    def show_record(self, record: logging.LogRecord, line: str) -> None:
        """Write a log line, which a log file has by itself."""
        self._progress.write(
            (clean_lines(line) if self._json is None else self._json.format(record)) + "\n", sys.stderr
        )

    def say_kinds(self, kinds: Sequence[tuple[int, Failed]]) -> None:
        """Write the most frequent kinds of failure. Each comes with the number of its jobs, then an
        example, then the traceback of that example, which is indented: a message of several lines,
        as of a hostile row, must not look like a line of the run's own.
        """
        for count, example in kinds:
            key = keys.show(example.key) if example.key is not None else keys.NO_KEY
            self.say_as_it_is(
                clean(f"{count} x {example.type}, for example the job with the key {key}: {example.message}")
            )
            if example.traceback:
                self.say_as_it_is(indent(example.traceback.rstrip(), "  "))


def _json_lines() -> JsonFormatter:
    from taskmaster.runtime.log_file import JsonFormatter

    return JsonFormatter()


class _Handler(logging.Handler):
    """Writes log lines above the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", TIME_OF_DAY))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.show_record(record, self.format(record))
        except Exception:
            self.handleError(record)
