"""How a child has ended, in its own words.

The system tells the end of a child once, to whoever asks first. In a process that runs the user's
code, that may be a handler of SIGCHLD, or a thread that waits for any child; where SIGCHLD is
ignored, nobody is told. What is left then looks like an exit code of 0.
"""

from __future__ import annotations

import os
import signal

__all__ = ["ExitWord", "say_exit"]


class ExitWord:
    """A pipe over which a child says its exit code as the last thing that it does.

    Attributes:
        child_end: Descriptor to which the child writes, until ``begun`` is called.
    """

    def __init__(self) -> None:
        self._end, self.child_end = os.pipe()
        os.set_blocking(self._end, False)

    def begun(self) -> None:
        """Close the child's end of the pipe: there is a child that has it."""
        os.close(self.child_end)

    def code(self) -> int:
        """Return the exit code of a child that has ended, as ``Popen`` does: one that has said
        nothing was killed. Ask once.
        """
        try:
            said = os.read(self._end, 1)
        except BlockingIOError:  # somebody else holds the child's end
            said = b""
        self.close()
        return said[0] if said else -signal.SIGKILL

    def close(self) -> None:
        """Ask for nothing any more."""
        if self._end >= 0:
            os.close(self._end)
            self._end = -1


def say_exit(child_end: int, code: int) -> None:
    """In the child: say with which exit code it is going to end."""
    try:
        os.write(child_end, bytes([code & 0xFF]))
    except OSError:
        pass  # nobody listens any more
