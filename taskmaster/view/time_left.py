"""When a run will be over, as far as that can be told; also while it is held. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskmaster.view.snapshot import RunState, Snapshot

__all__ = ["Speed", "Stretch", "TimeLeft", "time_left"]

EARLIEST_SECONDS = 10.0  # least working time in this session for an estimate
FEW_JOBS = 10  # settled within the measured seconds; below, the speed of the whole session is taken
FEW_SECONDS = 3.0  # of work among the measured ones; below, they say nothing: reports come twice a second
FEW_MINUTES = 4  # below which their rates say nothing of how much the speed varies
ENDED_STATES = (RunState.DRAINING, RunState.ENDING, RunState.STOPPED, RunState.FINISHED)
HELD_STATES = (RunState.PAUSING, RunState.PAUSED)
OUTLASTED = "what is left has taken longer than the jobs before it"


class Stretch(NamedTuple):
    """What was done in a stretch of time.

    Attributes:
        jobs: Jobs that were settled.
        share: Part of the work that was, by the keys; 0.0 if unknown.
        seconds: How long the run was at work in it.
    """

    jobs: int
    share: float
    seconds: float

    @property
    def speed(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds if self.seconds > 0 else 0.0

    @property
    def shares(self) -> float:
        """Part of the work a second."""
        return self.share / self.seconds if self.seconds > 0 else 0.0


class Speed(Protocol):
    """How fast jobs were settled."""

    @property
    def recent(self) -> Stretch:
        """What was done in the last seconds, as far as the rate limit was the same."""

    @property
    def steady(self) -> Stretch | None:
        """What was done since another rate limit was set; None if none was in this session."""

    @property
    def minutes(self) -> Sequence[float]:
        """Jobs a second of each of the last minutes of work."""


class TimeLeft(NamedTuple):
    """How long a run will still take.

    Attributes:
        seconds: Until all jobs are settled; None if that cannot be estimated.
        low: Seconds if the run is as fast as in its faster minutes; None if that is not known.
        high: Seconds if the run is as slow as in its slower minutes; None if that is not known.
        basis: "keys" where the position of the key says it, "rate" where the number of jobs does.
        if_resumed: Whether it counts from the moment when the run is resumed.
        why: Why nothing is estimated; "" if something is.
    """

    seconds: float | None
    low: float | None = None
    high: float | None = None
    basis: str = "rate"
    if_resumed: bool = False
    why: str = ""


def time_left(snapshot: Snapshot, speed: Speed) -> TimeLeft:
    """Return how long the run will still take.

    Time in which the run was paused says nothing of how fast it is, and is left out. A wait for a
    guard or a throttle is not left out: the rest of the run may have to wait as much again. A
    rate that somebody has set is what it will have at most, however fast it was before.
    """
    # A master of an older release does not say for how long it was at work.
    working = min(snapshot.working or snapshot.elapsed, snapshot.elapsed)
    why = _why_not(snapshot, working) or _why_not_yet(snapshot, working, speed)
    if why:
        return TimeLeft(None, why=why)
    left = _estimated(snapshot, working, speed)
    return TimeLeft(None, why=OUTLASTED) if _is_outlasted(snapshot, left.seconds or 0.0) else left


def _estimated(snapshot: Snapshot, working: float, speed: Speed) -> TimeLeft:
    held, whole = snapshot.state in HELD_STATES, _whole(snapshot, working, speed)
    limit, recent = snapshot.rate_limit or math.inf, speed.recent
    # Jobs of a minute each would show no rate at all now and an enormous one a moment later.
    telling = snapshot.state is RunState.RUNNING and recent.jobs >= FEW_JOBS and recent.seconds >= FEW_SECONDS
    if snapshot.share is not None:
        # By the key's position: where there are gaps among the keys, the rate of the jobs says
        # little. Of the session's speed and the last seconds' the slower one counts: a gap is soon
        # over, and rows that have become wide are not.
        shares = whole.shares
        if telling and recent.share > 0:
            shares = min(shares, recent.shares)
        shares = min(shares, whole.share / max(1, whole.jobs) * limit)
        seconds = (1.0 - snapshot.share) / shares
        return TimeLeft(seconds, *_range(seconds, min(whole.speed, limit), limit, speed), "keys", held)
    rate = min(recent.speed if telling else whole.speed, limit)
    seconds = ((snapshot.total or 0) - snapshot.settled) / rate
    return TimeLeft(seconds, *_range(seconds, rate, limit, speed), "rate", held)


def _is_outlasted(snapshot: Snapshot, seconds: float) -> bool:
    """Tell whether what the run's end waits for takes longer than all that is left should take, and
    than a job takes: of those that run at once, the last one outlasts the estimate in any run.
    """
    if not snapshot.reason or snapshot.state is not RunState.RUNNING:
        return False
    if snapshot.why == "retry":
        return not snapshot.cure  # else more is read when some of those that wait have run
    return snapshot.why == "last" and snapshot.running_for > max(seconds, snapshot.most_job_seconds)


def _whole(snapshot: Snapshot, working: float, speed: Speed) -> Stretch:
    """Return what the session has done, since another rate limit was set if that is long ago."""
    steady = speed.steady
    session = Stretch(snapshot.settled_here, snapshot.share_here, working)
    if steady is None or steady.seconds < EARLIEST_SECONDS or steady.jobs < FEW_JOBS:
        return session
    return steady if steady.share > 0 or snapshot.share is None else session


def _why_not(snapshot: Snapshot, working: float) -> str:
    """Return why nothing can be estimated; "" if something can."""
    if snapshot.state in ENDED_STATES:
        return "the run is ending, or has ended"
    if snapshot.pace_searches:
        return "the pace is still looking for the speed that the run may have"
    if working < EARLIEST_SECONDS:
        return f"the run has not been at work for {EARLIEST_SECONDS:.0f} s yet"
    if snapshot.share is not None:
        settled, left = snapshot.share_here, 1.0 - snapshot.share
    elif snapshot.total is not None:
        settled, left = snapshot.settled_here, snapshot.total - snapshot.settled
    else:
        return "the number of jobs is not known: count_jobs or --total would tell it"
    if left <= 0:
        return "no more jobs are expected"
    return "" if settled > 0 else "nothing has been settled in this session"


def _why_not_yet(snapshot: Snapshot, working: float, speed: Speed) -> str:
    """Return why nothing can be estimated so soon after another rate limit was set; "" if something
    can: a run that was faster than the limit will be as fast as that.
    """
    steady, limit = speed.steady, snapshot.rate_limit
    if steady is None or steady.seconds >= EARLIEST_SECONDS:
        return ""
    before = (snapshot.settled_here - steady.jobs) / max(1e-3, working - steady.seconds)
    if limit is not None and (before >= limit or steady.speed >= limit):
        return ""
    return f"another rate was set, and the run has not been at work with it for {EARLIEST_SECONDS:.0f} s yet"


def _range(seconds: float, rate: float, limit: float, speed: Speed) -> tuple[float | None, float | None]:
    """Return the estimate for the faster and for the slower quarter of the minutes, none of which
    counts as faster than the run may be now.
    """
    # A copy, made in one step: the run adds a minute while somebody else looks.
    rates = sorted(min(one, limit) for one in tuple(speed.minutes) if one > 0)
    if len(rates) < FEW_MINUTES or rate <= 0:
        return None, None
    slow, fast = rates[len(rates) // 4], rates[-1 - len(rates) // 4]
    return min(seconds, seconds * rate / fast), max(seconds, seconds * rate / slow)
