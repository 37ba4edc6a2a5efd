"""What callbacks print: from the workers' pipes to the slave's own standard output and error, in
whole lines.

Nothing here waits before ``finish``: while the reader of the slave's output is slow, the pipes are
not read, and in the end the callback's own ``print`` waits. What cannot be written, as on a full
disk, is tried again for as long as it fits into memory; then it is lost, which is said and
remembered. A reader that has gone away wants no more: what it would have got is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import selectors
import stat
import time
from collections.abc import Callable

from taskmaster.runtime.lost_output import failure_of, sentence_about

__all__ = ["Forwarder", "Output", "Outputs"]

logger = logging.getLogger(__name__)

LONGEST_LINE_BYTES = 65_536  # a longer line is broken
FULL_BYTES = 65_536  # waiting for a slow reader, above which the pipes are not read
PIPE_BYTES = 1_048_576  # most that a pipe can hold
OUTPUT_RETRY_SECONDS = 0.05  # until another attempt to write what the reader has not taken
NO_OUTPUT_SECONDS = 3600.0  # until the next attempt where nothing waits to be written
GIVE_UP_SECONDS = 2.0  # a reader that takes nothing for this time loses the rest, where that is allowed
FINISH_PAUSE_SECONDS = 0.02  # between two attempts to write the rest
NEWLINE = ord("\n")


class Output:
    """The slave's standard output or error.

    Args:
        target: Its descriptor, which other processes have, too: it stays blocking or not, as it is.
        name: What people call it.
    """

    def __init__(self, target: int, name: str = "standard output") -> None:
        self._target = target
        self._name = name
        self._lost = ""  # why lines are missing there
        self._fails = ""  # why the last attempt has failed; what waits can still be kept
        self._torn = False  # what was written last is a part of a line
        self._waiting = bytearray()
        self._most = LONGEST_LINE_BYTES if _is_file(target) else select.PIPE_BUF

    @property
    def full(self) -> bool:
        """Whether no more should be added for now."""
        return len(self._waiting) > FULL_BYTES

    @property
    def empty(self) -> bool:
        """Whether all of it is written."""
        return not self._waiting

    @property
    def problem(self) -> str:
        """What a person should know of lines that are missing there, "" if none is."""
        return sentence_about(self._name, self._lost) if self._lost else ""

    def add(self, data: bytes) -> None:
        """Take whole lines to write, now or later."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what can be written without waiting."""
        written = 0
        try:
            # A pipe that is writable takes this much at once.
            while written < len(self._waiting) and select.select([], [self._target], [], 0)[1]:
                written += os.write(self._target, self._waiting[written : written + self._most])
        except BlockingIOError:
            pass
        except OSError as exc:
            self._wrote(written)
            self._fails = failure_of(exc, self._target)
            if not self._fails:
                self._waiting.clear()  # it has no reader any more
            elif self.full:
                self._lose()
            return
        self._wrote(written)

    def finish(self, may_give_up: Callable[[], bool]) -> None:
        """Write the rest, as slowly as it is read."""
        since = time.monotonic()
        while self._waiting:
            before = len(self._waiting)
            self.flush()
            now = time.monotonic()
            if len(self._waiting) < before:
                since = now
            elif now - since > GIVE_UP_SECONDS and self._fails:
                self._lose()
                return
            elif now - since > GIVE_UP_SECONDS and may_give_up():
                return
            else:
                time.sleep(FINISH_PAUSE_SECONDS)

    def _wrote(self, size: int) -> None:
        if size:
            self._fails, self._torn = "", self._waiting[size - 1] != NEWLINE
        del self._waiting[:size]

    def _lose(self) -> None:
        """Drop what waits: it cannot be written."""
        if not self._lost:
            logger.warning("%s cannot be written: %s; what callbacks print is lost", self._name, self._fails)
        self._lost = self._fails
        self._waiting[:] = b"\n" if self._torn else b""  # the next line is one of its own


class Forwarder:
    """Forwards one pipe.

    Args:
        source: The read end of the pipe.
        output: The stream for its lines.
    """

    def __init__(self, source: int, output: Output) -> None:
        os.set_blocking(source, False)
        self.output = output
        self._source = source
        self._partial = b""

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._source

    def forward(self) -> bool:
        """Forward some of what has come; return False when there is no more to come."""
        data = self._read()
        if data is None:
            return True
        if not data:
            return False
        self._take(data)
        return True

    def close(self) -> None:
        """Forward what the pipe holds, and close it.

        Another process may go on writing to it: a program that the callback has started and that
        outlives the worker.
        """
        for _ in range(PIPE_BYTES // LONGEST_LINE_BYTES):
            data = self._read()
            if not data:
                break
            self._take(data)
        if self._partial:
            self.output.add(self._partial + b"\n")
            self._partial = b""
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    def _read(self) -> bytes | None:
        """Return what is there; None if nothing is now, b"" if nothing will be."""
        try:
            return os.read(self._source, LONGEST_LINE_BYTES) if self._source >= 0 else b""
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        whole, newline, rest = (self._partial + data).rpartition(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._partial = rest
        self.output.add(whole + newline)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False  # the slave was started without it


class Outputs:
    """The slave's standard output and error, and the pipes of its workers that lead there.

    Args:
        selector: The supervisor's.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._targets = [Output(1, "standard output"), Output(2, "standard error")]
        self._paused: list[Forwarder] = []

    def watch(self, out: int, err: int) -> list[Forwarder]:
        """Pass on what a worker prints; ``close`` each of the pipes when the worker has ended."""
        pipes = [Forwarder(source, target) for source, target in zip((out, err), self._targets, strict=True)]
        for pipe in pipes:
            self._read(pipe)
        return pipes

    def write(self) -> float:
        """Write what workers have printed; return the seconds until the next attempt."""
        for target in self._targets:
            target.flush()
        for pipe in [pipe for pipe in self._paused if not pipe.output.full]:
            self._paused.remove(pipe)
            self._read(pipe)
        return NO_OUTPUT_SECONDS if all(target.empty for target in self._targets) else OUTPUT_RETRY_SECONDS

    def close(self, pipe: Forwarder) -> None:
        """Read what is left in a pipe, and close it."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(pipe)
        if pipe in self._paused:
            self._paused.remove(pipe)
        pipe.close()

    def finish(self, may_give_up: Callable[[], bool]) -> None:
        """Write what is left.

        Args:
            may_give_up: Whether output may be lost if it is not read.
        """
        for target in self._targets:
            target.finish(may_give_up)

    @property
    def problems(self) -> list[str]:
        """A sentence for each of the two in which lines are missing."""
        return [target.problem for target in self._targets if target.problem]

    def _read(self, pipe: Forwarder) -> None:
        self._selector.register(pipe, selectors.EVENT_READ, lambda: self._forward(pipe))

    def _forward(self, pipe: Forwarder) -> None:
        if not pipe.forward():
            self.close(pipe)
        elif pipe.output.full:
            self._selector.unregister(pipe)
            self._paused.append(pipe)
