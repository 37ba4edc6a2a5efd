"""Standard input, output and error, where a process was started without some of them.

A closed descriptor 0, 1 or 2 is given to the next file or socket that is opened, and is then read,
written to or replaced as if it were the standard stream.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

__all__ = ["fill", "harden"]


def fill() -> None:
    """Open the null device in place of each standard stream that is closed.

    To be called before the process opens anything that stays open.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def harden() -> None:
    """Let what a command prints never end it.

    Keys and messages hold anything: standard output shows what its encoding lacks as an escape. And
    what cannot be written to standard error, as on a full disk, is lost, but no exit code with it.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and sys.stdout.errors == "strict":
        reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        raw = _Unfailing(sys.stderr.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(raw), sys.stderr.encoding, "backslashreplace", line_buffering=True
        )


class _Unfailing(io.FileIO):
    """A file whose writes never fail: what cannot be written is dropped."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
