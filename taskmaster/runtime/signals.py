"""SIGINT, SIGTERM and SIGHUP as something to look at, not something that happens.

The first signal asks to end in good order, a second one at once. What comes within a second of the
first is the same key press or the same ``kill`` to a group, and counts once.
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

from taskmaster.runtime.invocation import is_command

__all__ = ["Signals"]

SAME_SIGNAL_SECONDS = 1.0  # two equal signals within this time count as one
AT_ONCE_SECONDS = 15.0  # limit for ending at once: a hung disk or terminal must not keep the process alive
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Catches the signals while it is entered, in the main thread: Python allows no other one.

    A SIGHUP that was ignored, as under ``nohup``, stays ignored. A signal that the process was
    started with as blocked would never be heard, and is unblocked.

    Args:
        notify: Called from the handler, to end a wait.
        final: Whether the process only ends afterwards: what comes then is ignored, so that its
            exit code says how it went, and not that somebody wanted its end when it had come
            already.

    Attributes:
        received: The number of the first signal, 0 while there is none.
        repeated: Whether another signal came later.
    """

    def __init__(self, notify: Callable[[], None] | None = None, *, final: bool = False) -> None:
        self.received = 0
        self.repeated = False
        self._asked_by = ""
        self._first_at = 0.0
        self._notify = notify
        self._final = final
        self._former: dict[int, Any] = {}
        self._former_mask: set[int] = set()
        self._over: dict[int, Any] | None = None  # what signals come to when it is left
        self._left = threading.Event()  # by a script, which goes on after what was asked to end

    @property
    def name(self) -> str:
        """Return the first signal as a person calls it."""
        if self._asked_by:
            return self._asked_by
        return "Interrupted" if self.received == signal.SIGINT else signal.Signals(self.received).name

    @property
    def who(self) -> str:
        """Return who has asked for the end otherwise than by a signal, "" if nobody has."""
        return self._asked_by[:1].lower() + self._asked_by[1:]

    def ask(self, by: str, *, at_once: bool = False) -> None:
        """Do what a SIGTERM does, because somebody asks for it otherwise; any thread may call this.

        Where a wait has to be ended from inside of a handler, a SIGTERM to the main thread does it:
        a job that runs there hears of nothing else.

        Args:
            by: Who asks, in the place of the signal's name.
            at_once: Whether to do what a second signal does.
        """
        if not self.received:
            self._asked_by = by
            self.received, self._first_at = signal.SIGTERM, time.monotonic()
        if at_once:
            self._repeat(signal.SIGTERM)
        main = threading.main_thread().ident
        if self._notify is not None and self._former and main is not None:
            signal.pthread_kill(main, signal.SIGTERM)  # counts as the same, within a second

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._handle)
            self._former_mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._former)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not is_command():
            self._left.set()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._former_mask & self._former.keys())
        changed, self._former = self._former, {}
        self._over = dict.fromkeys(changed, signal.SIG_IGN) if self._final else changed
        for number, former in changed.items():
            after = signal.SIG_IGN if self._final else former
            if self._final or signal.getsignal(number) == self._handle:  # else a callback's own, which stays
                signal.signal(number, after if after is not None else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._over is not None:  # called by a handler that was set on top of this one
            _do_as(self._over.get(number), number, frame)
            return
        now = time.monotonic()
        if not self.received:
            self.received, self._first_at = number, now
        elif now - self._first_at > SAME_SIGNAL_SECONDS:
            self._repeat(number)
        if self._notify is not None:
            self._notify()

    def _repeat(self, number: int) -> None:
        if not self.repeated:
            end = threading.Thread(target=_end_for_sure, args=(number, self._left), name="taskmaster-end", daemon=True)
            end.start()
        self.repeated = True


def _do_as(former: Any, number: int, frame: FrameType | None) -> None:
    """Do what a former handler does about a signal."""
    if callable(former):
        former(number, frame)
    elif former is not signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _end_for_sure(number: int, left: threading.Event) -> None:
    """End the process after a while, whatever it is in: nothing that has been asked for twice may
    be waited for. A script that has its run behind it is not ended, nor is somebody's notebook.
    """
    if left.wait(AT_ONCE_SECONDS):
        return
    what = f"taskmaster: the end hangs for {AT_ONCE_SECONDS:.0f} s by now; the process is ended as it is.\n"
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, what.encode())
    os._exit(128 + number)
