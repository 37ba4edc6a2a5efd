"""How a session ends before all is done: by a signal, by failures, in time, or at a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from taskmaster.errors import BudgetSpent, Interrupted, Stopped, TaskmasterError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.reader import Reader
from taskmaster.master.summary import View
from taskmaster.runtime.signals import Signals
from taskmaster.units import show_count, show_seconds

__all__ = ["Ending"]

SUCCESSOR_SECONDS = 1.0  # longest wait of --limit for the job after the last one, whose key the watermark needs


class Ending:
    """Lets what is running end, and says with which error the session ends.

    Args:
        broker: which job is where.
        lock: guards the broker.
        reader: reads no more.
        checks: knows of a job that cannot be run.
        view: gets the reason.
        signals: what hurries the end.
        grace: Gives the seconds that running jobs have to end.
        show: function that shows the run, and waits a moment.
    """

    def __init__(
        self,
        broker: Broker,
        lock: threading.Lock,
        reader: Reader,
        checks: JobChecks,
        view: View,
        signals: Signals,
        *,
        grace: Callable[[], float],
        show: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._reader = reader
        self._checks = checks
        self._view = view
        self._signals = signals
        self._grace = grace
        self._show = show

    def by_signal(self) -> Interrupted:
        """End what is running, and stop."""
        interrupted = Interrupted("", self._signals.received, self._signals.who)
        self._let_end(f"{self._signals.name}: ", "the same signal again ends at once")
        return interrupted

    def by_failures(self, why: str) -> TaskmasterError:
        """Stop because so much fails, because the callback wants it, or because a job has no
        key.
        """
        self._let_end("The run stops: ", "Ctrl-C ends at once")
        if self._signals.received:
            return Interrupted("", self._signals.received, self._signals.who)
        if not why and self._checks.error is not None:
            return self._checks.error
        example = self._broker.settlement.example
        failed = self._broker.counts().failed
        more = ""
        if why[:1].isdigit() and not why.startswith(f"{failed} "):  # jobs that still ran have failed, too
            more = f" (when all had ended, the whole run had {show_count(failed, 'failed job')})"
        return BudgetSpent(
            f"The run stopped where it can go on: {why}{more}.", user_traceback=example.traceback if example else None
        )

    def in_time(self, run_time: float) -> TaskmasterError | None:
        """Stop because ``--run-time`` is over.

        Returns:
            None if everything has come to its end meanwhile.
        """
        why = f"--run-time ({show_seconds(run_time)}) is over"
        self._let_end(f"{why}: ", "Ctrl-C ends at once")
        if self._signals.received:
            return Interrupted("", self._signals.received, self._signals.who)
        if self._broker.over:
            return None
        return self._reader.error or self._checks.error or Stopped(why)

    def at_limit(self) -> TaskmasterError:
        """Stop because ``--limit`` is reached; the source may raise where the next session
        begins.
        """
        deadline = time.monotonic() + SUCCESSOR_SECONDS
        while not (self._broker.intake.queued or self._reader.ended.is_set()) and time.monotonic() < deadline:
            if not self._reader.turn():
                time.sleep(0.005)
        why = f"--limit ({show_count(self._broker.settlement.settled, 'job')}) is reached"
        return self._reader.error or self._checks.error or Stopped(why)

    def _let_end(self, why: str, how: str) -> None:
        """Hand out nothing more, and give what is running its time to end."""
        before = self._signals.received
        with self._lock:
            self._broker.drain()
        self._reader.stop()
        self._view.say(f"{why}nothing more is handed out; running jobs have {self._grace():g} s to end ({how}).")
        began = time.monotonic()
        while (
            time.monotonic() < began + self._grace() and not self._signals.repeated and self._signals.received == before
        ):
            with self._lock:
                self._broker.tick(time.monotonic())
                if not len(self._broker.leases):
                    break
            self._show()
