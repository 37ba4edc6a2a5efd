"""The last words between a master whose run is over and its slaves.

Each slave is told that the run is over, has its workers end, and says how that went. Until then,
the master answers: what they could not do would be heard by nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from taskmaster.master.broker.broker import Broker
from taskmaster.master.service import Service
from taskmaster.master.summary import OwnSlave, SlaveServer, View
from taskmaster.model import Answer, AnswerState
from taskmaster.runtime.signals import Signals
from taskmaster.units import show_count

__all__ = ["Farewell", "names_of"]

TELLING_SECONDS = 3.0  # longest time that a finished run waits until every slave has been told
LEAST_END_SECONDS = 5.0  # least time that a slave's workers have to end
LATE_SECONDS = 3.0  # further time for a slave, after that of its workers
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.001, 0.005  # between two looks who is there
MOST_NAMES = 20  # of slaves, in one sentence


class Farewell:
    """Tells each slave that the run is over, and waits until all know.

    Args:
        service: Receives the slaves' goodbyes.
        broker: Has the connected slaves.
        lock: Guards the broker.
        own_slave: The slave that was started together with the run; the caller waits for its end.
        signals: End the wait.
        clock: Function that returns monotonic seconds.
        sleep: Function that waits for seconds.
    """

    def __init__(
        self,
        service: Service,
        broker: Broker,
        lock: threading.Lock,
        own_slave: OwnSlave | None,
        signals: Signals,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._service = service
        self._broker = broker
        self._lock = lock
        self._own_slave = own_slave
        self._signals = signals
        self._clock = clock
        self._sleep = sleep

    def say(self, server: SlaveServer, view: View, grace: float, *, over: bool) -> None:
        """Let every slave hear that the run is over: those that wait to ask again are told at once.
        Wait for their goodbyes, for as long as their workers may take to end.

        Args:
            server: What slaves reach.
            view: Is told who is waited for.
            grace: Seconds that running jobs have to end.
            over: Whether the run is over; if not, only the slave that was started with it is told.
        """
        own_slave, signals = self._own_slave, self._signals
        if not over:
            if own_slave is not None:
                own_slave.dismiss(lambda: signals.repeated)
            return
        self._service.end()
        server.tell_all(Answer(AnswerState.OVER).to_wire())
        own, began, most = "" if own_slave is None else own_slave.name, self._clock(), max(LEAST_END_SECONDS, grace)
        said = False
        while (seconds := self._clock() - began) < most + LATE_SECONDS:
            with self._lock:
                self._broker.tick(self._clock())
                there = [slave.name for slave in self._broker.slaves]
                at_work = [slave.name for slave in self._broker.slaves if slave.closed is None and slave.name != own]
            if not there or (seconds >= TELLING_SECONDS and (not at_work or signals.received)):
                break
            if seconds >= TELLING_SECONDS and not said:
                said = True
                view.say(
                    f"The run is over, and workers of {show_count(len(at_work), 'slave')} still have to end: "
                    f"{names_of(at_work)}. They are waited for, {most:g} s at most; Ctrl-C ends that."
                )
            self._sleep(min(max(seconds / 10, LEAST_PAUSE_SECONDS), MOST_PAUSE_SECONDS))
        with self._lock:
            self._service.unheard = {ident: name for ident, name in self._service.unheard.items() if name != own}


def names_of(names: Iterable[str]) -> str:
    """Return names as a list for people, of whom nobody reads hundreds."""
    known = sorted(names)
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return ", ".join(known[:MOST_NAMES]) + more
