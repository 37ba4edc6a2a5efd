"""The clocks of a session: for how long it was at work, and for how long it was held back, by what.
Pure: the time is passed in.
"""

from __future__ import annotations

from taskmaster.master.why import WhyCode
from taskmaster.view.snapshot import HeldBy

__all__ = ["WorkTime"]

# What is not counted as work: nobody can say of such time how fast the jobs are.
IDLE = (WhyCode.PAUSED, WhyCode.STATE)
HELD_BY = {
    WhyCode.PAUSED: HeldBy.PAUSED,
    WhyCode.STATE: HeldBy.STATE,
    WhyCode.THROTTLED: HeldBy.THROTTLED,
    WhyCode.RATE: HeldBy.RATE,
    WhyCode.PACE: HeldBy.RATE,
    WhyCode.SOURCE: HeldBy.SOURCE,
    WhyCode.SLAVES: HeldBy.SLAVES,
    WhyCode.REFUSED: HeldBy.SLAVES,
    WhyCode.QUIET: HeldBy.SLAVES,
}
"""By why a run is no faster, what holds it back. Codes that hold nothing back are left out."""


class WorkTime:
    """Adds up the time for which a session worked, and for which it was held back.

    Args:
        now: Monotonic seconds at the start of the session.

    Attributes:
        held: Seconds by reason.
        idle: Seconds in which the run was paused, by an operator or because its state could not be
            written.
    """

    def __init__(self, now: float) -> None:
        self.held = dict.fromkeys(HELD_BY.values(), 0.0)
        self.idle = 0.0
        self._began = self._at = now
        self._code = WhyCode.SLAVES

    def note(self, now: float, code: WhyCode | None = None, *, paused: bool = False) -> None:
        """Count the time since the last call to what has held the run.

        Args:
            now: Monotonic seconds.
            code: Why the run was no faster, as it was last found; None: as at the last call.
            paused: Whether an operator has held the run since the last call. The code is found once
                a second: by it a shorter hold would not be counted, and the second after one would.
        """
        self._code = code or self._code
        code = self._code
        if paused and code not in (WhyCode.STATE, WhyCode.STOPPING):
            code = WhyCode.PAUSED
        elif code is WhyCode.PAUSED and not paused:
            code = WhyCode.WORKERS
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        name = HELD_BY.get(code)
        if name is not None:
            self.held[name] += passed
        if code in IDLE:
            self.idle += passed

    def working(self, now: float) -> float:
        """Return the seconds of this session in which the run was not paused."""
        return max(0.0, now - self._began - self.idle)
