"""SIGINT and SIGTERM as something to look at, not something that happens.

Used by the master's and the slave's main loop. The first signal asks to end in good order, a second
one at once; what comes within a second of the first is the same key press or the same ``kill`` to a
group, and counts once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Signals"]

SAME = 1.0  # seconds within which signals are one
AT_ONCE = 15.0  # seconds that an end at once may take: a disk or a terminal that hangs must not keep the process alive


class Signals:
    """Catches the signals while it is entered; elsewhere than in the main thread, where Python
    allows no handlers, none come.

    Args:
        notify: called from the handler, to end a wait.

    Attributes:
        received: number of the first signal, 0 while there is none.
        repeated: another came later.
    """

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.received = 0
        self.repeated = False
        self._first_at = 0.0
        self._notify = notify
        self._former: dict[int, Any] = {}

    @property
    def name(self) -> str:
        """The first signal as a person calls it."""
        return "Interrupted" if self.received == signal.SIGINT else signal.Signals(self.received).name

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former if former is not None else signal.SIG_DFL)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self._first_at = number, now
        elif now - self._first_at > SAME:
            if not self.repeated:
                threading.Thread(target=_end_for_sure, args=(number,), name="taskmaster-end", daemon=True).start()
            self.repeated = True
        if self._notify is not None:
            self._notify()


def _end_for_sure(number: int) -> None:
    """End the process after a while, whatever it is in: nothing that has been asked for twice may
    be waited for.
    """
    time.sleep(AT_ONCE)
    what = f"taskmaster: the end hangs for {AT_ONCE:.0f} s by now; the process is ended as it is.\n"
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, what.encode())
    os._exit(128 + number)
