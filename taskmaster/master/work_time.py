"""The clocks of a session: for how long it was at work, and for how long it was held back, by what.
Pure: the time is passed in.
"""

from __future__ import annotations

from taskmaster.master.why import WhyCode

__all__ = ["WorkTime"]

# What is not counted as work: nobody can say of such time how fast the jobs are.
IDLE = (WhyCode.PAUSED, WhyCode.STATE)
HELD_BY = {
    WhyCode.PAUSED: "paused",
    WhyCode.STATE: "state",
    WhyCode.THROTTLED: "throttled",
    WhyCode.RATE: "rate",
    WhyCode.PACE: "rate",
    WhyCode.SOURCE: "source",
    WhyCode.SLAVES: "slaves",
    WhyCode.REFUSED: "slaves",
    WhyCode.QUIET: "slaves",
}


class WorkTime:
    """See the module.

    Args:
        now: Monotonic seconds at the start of the session.

    Attributes:
        held: Seconds by reason.
        idle: Seconds in which the run was paused, by an operator or because its state could not be
            written.
    """

    def __init__(self, now: float) -> None:
        self.held: dict[str, float] = dict.fromkeys(HELD_BY.values(), 0.0)
        self.idle = 0.0
        self._began = self._at = now

    def note(self, code: WhyCode, now: float) -> None:
        """Note what has held the run since the last call."""
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        name = HELD_BY.get(code)
        if name is not None:
            self.held[name] += passed
        if code in IDLE:
            self.idle += passed

    def working(self, now: float) -> float:
        """Return the seconds of this session in which the run was not paused."""
        return max(0.0, now - self._began - self.idle)
