"""What ends a slave from outside: a signal, or the end of the command that started it."""

from __future__ import annotations

import os
import selectors
import signal
import socket

from taskmaster.runtime.signals import Signals

__all__ = ["Interruption"]


class Interruption:
    """Wakes the selector when a signal comes, or when the master's process has ended or says so.

    Args:
        signals: Those that the process has received.
        selector: The supervisor's.
        lifeline: As ``SlaveConfig.lifeline``.

    Attributes:
        signals: Those that the process has received.
        orphaned: Whether the master's process has ended.
        told_to_end: Whether the master's process has told this slave to end.
    """

    def __init__(self, signals: Signals, selector: selectors.BaseSelector, lifeline: int | None) -> None:
        self.signals = signals
        self.orphaned = self.told_to_end = False
        self._selector = selector
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._former = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        selector.register(self._read, selectors.EVENT_READ, lambda: self._read.recv(64))
        if lifeline is not None:
            selector.register(lifeline, selectors.EVENT_READ, lambda: self._hear(lifeline))

    @property
    def by_master(self) -> bool:
        """Whether the command that started this slave ends, or is gone."""
        return self.orphaned or self.told_to_end

    @property
    def by_signal(self) -> bool:
        """Whether a signal has come."""
        return self.signals.received > 0

    def close(self) -> None:
        """Leave signals to what was there before."""
        signal.set_wakeup_fd(self._former)
        self._read.close()
        self._write.close()

    def _hear(self, lifeline: int) -> None:
        if os.read(lifeline, 4096):
            self.told_to_end = True
        else:
            self._selector.unregister(lifeline)
            self.orphaned = True
