"""What callbacks print: from the workers' pipes to the slave's own standard output and error, in whole lines.

Called by ``taskmaster.slave.pool``. Nothing is lost and nothing here waits: while whoever reads the slave's output is
slow, the pipes are not read, and in the end the callback's own ``print`` waits.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable

__all__ = ["Forwarder", "Output"]

LONGEST = 65_536  # bytes of a line that has no end; what is longer is broken
FULL = 65_536  # bytes on their way to a slow reader before no more are read
LEFT = 1_048_576  # bytes that a pipe can hold
PATIENCE = 2.0  # seconds without anything being read before the rest is given up, where it may be


class Output:
    """The slave's standard output or error.

    Args:
        target: its descriptor, which others have too: it stays as it is, blocking or not.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._waiting = bytearray()
        self._piece = LONGEST if _is_file(target) else select.PIPE_BUF

    @property
    def full(self) -> bool:
        """Whether no more should be added for now."""
        return len(self._waiting) > FULL

    @property
    def empty(self) -> bool:
        """Whether all of it is written."""
        return not self._waiting

    def add(self, data: bytes) -> None:
        """Write whole lines, now or later."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what can be written without waiting."""
        written = 0
        try:
            # A pipe that is writable takes this much at once.
            while written < len(self._waiting) and select.select([], [self._target], [], 0)[1]:
                written += os.write(self._target, self._waiting[written : written + self._piece])
        except BlockingIOError:
            pass
        except OSError:
            written = len(self._waiting)  # nobody reads it any more
        del self._waiting[:written]

    def finish(self, may_give_up: Callable[[], bool]) -> None:
        """Write the rest, as slowly as it is read."""
        since = time.monotonic()
        while self._waiting:
            before = len(self._waiting)
            self.flush()
            now = time.monotonic()
            if len(self._waiting) < before:
                since = now
            elif now - since > PATIENCE and may_give_up():
                return
            else:
                time.sleep(0.02)


class Forwarder:
    """Forwards one pipe.

    Args:
        source: read end of the pipe.
        output: where its lines go.
    """

    def __init__(self, source: int, output: Output) -> None:
        os.set_blocking(source, False)
        self.output = output
        self._source = source
        self._partial = b""

    def fileno(self) -> int:
        """For selectors."""
        return self._source

    def forward(self) -> bool:
        """Forward some of what has come; False when there is no more to come."""
        data = self._read()
        if data is None:
            return True
        if not data:
            return False
        self._take(data)
        return True

    def close(self) -> None:
        """Forward what the pipe holds and close it.

        Somebody may go on writing to it: a program that the callback has started outlives the worker.
        """
        for _ in range(LEFT // LONGEST):
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
        """What is there; None if nothing is now, b"" if nothing will be."""
        try:
            return os.read(self._source, LONGEST) if self._source >= 0 else b""
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        whole, newline, rest = (self._partial + data).rpartition(b"\n")
        if len(rest) > LONGEST:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._partial = rest
        self.output.add(whole + newline)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False  # the slave was started without it
