"""What callbacks print: from the workers' pipes to the slave's own standard output and error, in whole lines.

Called by ``taskmaster.slave.pool``.
"""

from __future__ import annotations

import os

__all__ = ["Forwarder"]

LONGEST = 65_536  # bytes of a line that has no end; what is longer is broken


class Forwarder:
    """Forwards one pipe.

    Args:
        source: read end of the pipe, non-blocking.
        target: descriptor that lines are written to.
    """

    def __init__(self, source: int, target: int) -> None:
        os.set_blocking(source, False)
        self._source = source
        self._target = target
        self._partial = b""

    def fileno(self) -> int:
        """For selectors."""
        return self._source

    def forward(self) -> bool:
        """Forward what has come; False when the pipe has been closed at its other end."""
        while True:
            try:
                data = os.read(self._source, LONGEST)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                self._write(self._partial + b"\n" if self._partial else b"")
                self._partial = b""
                return False
            whole, newline, rest = (self._partial + data).rpartition(b"\n")
            if len(rest) > LONGEST:
                whole, newline, rest = whole + newline + rest, b"\n", b""
            self._partial = rest
            self._write(whole + newline)

    def close(self) -> None:
        """Forward what is left and close the pipe."""
        self.forward()
        os.close(self._source)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:
                continue
            except OSError:
                return  # nobody reads it any more
