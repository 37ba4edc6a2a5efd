"""The threads that probe a database and have the controller judge it: ``--pace``.

One probes, which may hang; the other has the controller do what is due. A lock guards the
controller; what is read of it without the lock are single values.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from taskmaster.guards.guard import Unknown
from taskmaster.guards.pace import PROBE_SECONDS, Pace
from taskmaster.master.throttle.foreground import Counts
from taskmaster.master.throttle.pace_controller import PaceController
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import one_line

__all__ = ["Pacing"]

logger = clean_logger(__name__)

NOBODY_PROBE_SECONDS = 0.25  # while there is nobody else who could be hurt
BASELINE_PROBE_SECONDS = 0.04  # while the run waits for it
CONTROLLER_PAUSE_SECONDS = 0.1  # from one look of the controller to the next one
START_PROBE_SECONDS = 0.025  # while the run rises fast, for some seconds
SESSIONS_SECONDS = 1.0  # from one look at who is at work to the next one
STATEMENTS_SECONDS = 3.0  # from one look at the server's count of statements to the next one, beside the run


class Pacing:
    """The pace of a run.

    Args:
        pace: The limit and the probe.
        clock: Gives monotonic seconds.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._busy: Callable[[], bool] = bool
        self._most: Callable[[], float] = lambda: 1.0
        self._handed: Callable[[], int] = int
        self._sessions: Callable[[], AbstractSet[int] | None] | None = getattr(pace.probe, "sessions", None)
        self._statements: Callable[[], Counts | None] | None = getattr(pace.probe, "statements", None)
        self._looked_at = self._counted_at = -math.inf
        self._probe = pace.probe
        self._clock = clock
        self._controller = PaceController(pace.limit, clock())
        self._lock = threading.Lock()  # of the controller
        self._stop = threading.Event()
        self._logged = ""
        self._warned = False  # of a limit that is missed without the run
        self._known = 0  # what was handed out at the last step
        self._threads = [
            threading.Thread(target=run, name=f"taskmaster-{name}", daemon=True)
            for run, name in ((self._run_probe, "probe"), (self._run_steps, "pace"))
        ]

    def watch(self, busy: Callable[[], bool], most: Callable[[], float], handed: Callable[[], int]) -> None:
        """Let the controller know of the run.

        Args:
            busy: Tells whether something of the run is at work.
            most: Gives the share of full speed that guards leave.
            handed: Gives a number that changes when jobs are handed out, or are not because as many
                workers are at work as may be.
        """
        self._busy, self._most, self._handed = busy, most, handed

    def start(self) -> None:
        """Probe from now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Probe no more, without waiting for a probe that hangs."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait until the probe has been closed, at most for ``seconds``."""
        if self._threads[0].is_alive():
            self._threads[0].join(seconds)

    def why(self) -> str:
        """Return why nothing may be handed out; "" if something may."""
        return self._controller.holds

    @property
    def share(self) -> float:
        """The share of full speed that the run may have."""
        return self._controller.share

    @property
    def searches(self) -> bool:
        """Whether how fast the run is now says nothing of how fast it will be."""
        return self._controller.searches

    def sentence(self) -> str:
        """Return what the pace is and why."""
        with self._lock:
            return self._controller.sentence()

    def figures(self) -> dict[str, Any]:
        """Return the figures of the pace, for programs."""
        with self._lock:
            return self._controller.figures()

    def cost(self) -> str:
        """Return what the run has cost others; "" if that is not known."""
        with self._lock:
            return self._controller.cost()

    def probe(self) -> None:
        """Probe once, and tell the controller."""
        sessions: AbstractSet[int] | None = None
        try:
            seconds = _seconds(self._probe())
            if looks := self._sessions is not None and self._clock() - self._looked_at >= SESSIONS_SECONDS:
                self._looked_at, sessions = self._clock(), self._sessions()
            counts = self._count()
        except BaseException as exc:
            why = str(exc) if isinstance(exc, Unknown) else one_line(exc)
            with self._lock:
                self._controller.fail(why)
            if why != self._logged:
                self._logged = why
                logger.warning("the probe of --pace is not answered, and while it is not, the run waits: %s", why)
            return
        with self._lock:
            self._controller.note(self._clock(), seconds)
            if looks:
                self._controller.note_sessions(self._looked_at, sessions)
            if counts is not None:
                self._controller.note_statements(counts)

    def _count(self) -> Counts | None:
        """Return how often statements were executed, if it is time to look; None if nothing says
        it.
        """
        every = SESSIONS_SECONDS if self._controller.measures else STATEMENTS_SECONDS
        if self._statements is None or self._clock() - self._counted_at < every:
            return None
        self._counted_at = self._clock()
        return self._statements()

    def step(self) -> None:
        """Have the controller do what is due."""
        busy, most, before, self._known = self._busy(), self._most(), self._known, self._handed()
        with self._lock:
            self._controller.step(self._clock(), busy=busy, most=most, fed=self._known != before)
            too_low = self._controller.too_low
        if too_low and not self._warned:
            self._warned = True
            logger.warning("--pace asks for what no run can hold: %s", too_low)

    def _run_probe(self) -> None:
        try:
            while not self._stop.wait(self._pause()):
                self.probe()
        finally:
            close = getattr(self._probe, "close", None)
            if close is not None:
                close()

    def _pause(self) -> float:
        """Return the seconds until the next probe."""
        if self._controller.starts:
            return START_PROBE_SECONDS
        if self._controller.measures:
            return BASELINE_PROBE_SECONDS
        return NOBODY_PROBE_SECONDS if self._controller.nobody else PROBE_SECONDS

    def _run_steps(self) -> None:
        # Apart from the probe, which may hang: then the run has to be slowed.
        while not self._stop.wait(CONTROLLER_PAUSE_SECONDS):
            self.step()


def _seconds(given: Any) -> float:
    """Return what a probe gave.

    Raises:
        Unknown: It is no time. One infinite time or NaN would stay in the pace's means for ever.
    """
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given < math.inf:
        raise Unknown(f"it gave {given!r:.40} and not the seconds that it took")
    return float(given)
