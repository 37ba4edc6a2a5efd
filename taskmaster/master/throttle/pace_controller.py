"""The controller of ``--pace``: which share of full speed a run may have. Pure: times and
measurements are passed in.

It has two parts. One keeps the probe at a point a little below the limit: by how far it is from
there, the share is raised or lowered in small steps (an integral controller). The other reacts at
once: on an alarm of ``probe_level`` the share is halved.

AIMD (add until it fails, then halve) has no point of rest: it finds the limit by breaking it, again
and again. Zones of fixed steps (Spirit's ``pkg/autoscale``) rest, but react to the scatter of a few
probes as to a change; in the simulation of ``tests/simulation/test_pace.py`` no setting of theirs
held the limit at four fifths of the speed.

The room is what lies between the probe without the run and the limit: with ``1.5x``, two thirds of
the limit are used before the run has done anything. While nobody else uses the database, there is
nobody to feel the run, and it has its full speed; somebody who comes is noticed within a second or
two.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any

from taskmaster.guards.pace import PaceLimit
from taskmaster.master.throttle.foreground import Counts, Foreground
from taskmaster.master.throttle.pace_advice import in_ms, missed, too_low
from taskmaster.master.throttle.probe_level import TAIL_ALLOWED, Baseline, ProbeLevel, quantile

__all__ = ["PaceController"]

FIRST_SHARE = 0.02  # with which a run begins, and goes on after a stall
LEAST_PACE_SHARE = 0.01  # a run that is slow still finds out when things are better
AIM = 0.86  # of the room, that the run uses
CHANGE_SECONDS = 0.5
# By how much the share changes in a step, for a distance from the aim of the whole room. It rises
# more slowly than it falls, for the probes of some seconds tell it how things were.
GAIN_DOWN, GAIN_UP = 0.1, 0.07
# After an alarm, up to that part of the share before it: what was borne is often borne again soon.
GAIN_BACK, BACK = 0.2, 0.8
MOST_ABOVE = 1.5  # of the room, that counts in one step
SLOW_START, SLOW_START_BELOW = 1.25, 0.25  # factor of a step at first, until that much of the room is used
QUICK_START, QUICK_SHARE = 2.0, 0.1  # the same, and the share to begin with, where nobody can be hurt
HALF = 0.5  # factor of the share after an alarm
SAID_SECONDS = 0.5  # for which the probe was not answered, from which on the end of the run says so
FEWEST_PROBES = 5  # after a change, before the next one
UNKNOWN_SECONDS, STALLED_SECONDS = 1.0, 3.0  # without a probe: slow down, then wait
# Of the first baseline, with which the run is compared for minutes: of a hundred probes, the p95 is
# off by a sixth, and the run half as fast as it may be, or half as fast again.
FIRST_PROBES = 250
BASELINE_PROBES, ABSENT_PROBES = 100, 60  # of a later one; of one while nobody else is there
QUIET_SECONDS = 10.0  # that is waited until nothing runs
BASELINE_EVERY_SECONDS = 300.0
ABSENT_EVERY_SECONDS = 120.0  # while nobody else was found: somebody may have come unseen
STALE_SECONDS = 10.0  # at the least share, and above the limit still: it is not the run
FASTER = 0.75  # of the baseline, below which it is no longer true
FASTER_PROBES = 30
KEPT_PROBES = 20_000  # for the figures at the end
RECENT_SECONDS = 1.5  # what was at work so long ago may be seen as at work now
OWN_SECONDS = 3.0  # after the run goes on: sessions that are at work then are its own
UNFED_SECONDS = 10.0  # without being fed, after which the share does not rise
FOREIGN_CHECK_SECONDS = 20.0  # after which it is seen whether a session that has come is of somebody else


class Phase(StrEnum):
    """What the controller does."""

    QUIETING = "quieting"
    """It waits until nothing of the run is at work."""
    BASELINE = "baseline"
    """It measures the probe without the run."""
    RUNNING = "running"
    """It lets the run work."""
    STALLED = "stalled"
    """The probe is not answered."""


class PaceController:
    """Raises and lowers the share of full speed by what the probes measure.

    Args:
        limit: What the probe may take.
        now: Monotonic seconds.

    Attributes:
        share: The share of full speed that the run may have, 0 to 1.
        alone: Probes without the run, in seconds.
        beside: Probes while the run worked.
        felt: Those of them at which others were there, or may have been.
        held_seconds: For how long the run was not allowed to begin anything.
        silent_seconds: For how long of these because the probe was not answered.
        nobody: Whether only the run uses the database.
        too_low: That the limit is missed without the run already, and what to choose; "" if not.
    """

    def __init__(self, limit: PaceLimit, now: float) -> None:
        self.share = 0.0
        self.alone: deque[float] = deque(maxlen=KEPT_PROBES)
        self.beside: deque[float] = deque(maxlen=KEPT_PROBES)
        self.felt: deque[float] = deque(maxlen=KEPT_PROBES)
        self.held_seconds = self.silent_seconds = 0.0
        self.nobody = False
        self.too_low = ""
        self._limit = limit
        self._phase = Phase.QUIETING
        self._since = now  # the phase began
        self._next_share = FIRST_SHARE
        self._measured: list[float] = []  # probes of this baseline
        self._present: list[bool] = []  # whether others were at work, in this baseline
        self._own: set[int] = set()  # sessions of the run
        self._look_at = math.inf  # when a session that has come is looked at
        self._look_after = FOREIGN_CHECK_SECONDS
        self._level: ProbeLevel | None = None
        self._foreground = Foreground()
        self._measured_at = now
        self._not_before = -math.inf  # when the next baseline may be measured
        self._heard_at, self._fed_at = now, -math.inf
        self._stepped_at = now
        self._at_least_since: float | None = None
        self._stale_after = STALE_SECONDS
        self._borne = 0.0  # the share before the last alarm
        self._starts = True  # slowly: the share is raised by a factor
        self._last_step = now
        self._trouble = ""

    def note(self, at: float, seconds: float) -> None:
        """Note a probe that ended."""
        self._heard_at, self._trouble = at, ""
        if self._phase is Phase.BASELINE:
            self.alone.append(seconds)
            self._measured.append(seconds)
        elif self._phase is Phase.RUNNING and self._level is not None:
            self.beside.append(seconds)
            if not self.nobody:
                self.felt.append(seconds)
            self._level.add(seconds, self.share)

    def note_sessions(self, at: float, sessions: AbstractSet[int] | None) -> None:
        """Note which sessions of others or of the run were at work in the last second.

        Args:
            at: When that was.
            sessions: Their numbers; None: it is not known.
        """
        if self._phase is Phase.BASELINE and at - self._since >= RECENT_SECONDS:
            self._present.append(sessions is None or bool(sessions))
        elif self._phase is Phase.RUNNING and self.nobody:
            if sessions is not None and at - self._since < OWN_SECONDS:
                self._own |= sessions
            elif sessions is None or sessions - self._own:
                self.nobody = False
                self._look_at = at + self._look_after
                self._look_after = min(2 * self._look_after, BASELINE_EVERY_SECONDS)

    def note_statements(self, counts: Counts) -> None:
        """Note how often the statements of the database were executed, and how long that took."""
        if self._phase in (Phase.BASELINE, Phase.RUNNING):
            self._foreground.note(counts, alone=self._phase is Phase.BASELINE)

    def fail(self, why: str) -> None:
        """Note that a probe could not be made."""
        self._trouble = why

    def step(self, now: float, *, busy: bool, most: float = 1.0, fed: bool = True) -> None:
        """Do what is due; called several times a second.

        Args:
            now: Monotonic seconds.
            busy: Whether something of the run is at work.
            most: The share that guards leave to the run.
            fed: Whether jobs were handed out since the last call, or as many workers are at work as
                may be.
        """
        if fed:
            self._fed_at = now
        if not self.share:
            self.held_seconds += now - self._last_step
            if self._is_silent:
                self.silent_seconds += now - self._last_step
        self._last_step = now
        if self._phase is Phase.RUNNING:
            self._run(now)
            # The share does not grow while something else holds the run: nothing would be learnt.
            self.share = min(self.share, max(LEAST_PACE_SHARE, most))
        elif self._phase is Phase.STALLED:
            if now - self._heard_at < UNKNOWN_SECONDS:
                self._resume(now, FIRST_SHARE)
        elif self._phase is Phase.QUIETING:
            # Beside jobs that take long, a baseline would be of the run itself, and each one would
            # allow more than the one before.
            if not busy or (self._level is None and now - self._since > QUIET_SECONDS):
                self._enter(Phase.BASELINE, now)
            elif now - self._since > QUIET_SECONDS:
                self._measured_at, self._look_at = now, math.inf
                self._not_before = now + BASELINE_EVERY_SECONDS
                self._resume(now, self._next_share)
        elif len(self._measured) >= self._enough:
            baseline = Baseline.of(self._measured)
            if self._level is not None:
                baseline = baseline.after(self._level.baseline)
            self._level = ProbeLevel(baseline, self._limit)
            self.too_low = too_low(self._limit, self.alone)
            self._measured_at, self._look_at = now, math.inf
            self.nobody = len(self._present) > 1 and not any(self._present)
            self._own.clear()
            self._resume(now, max(QUICK_SHARE, self._next_share) if self.nobody else self._next_share)

    @property
    def measures(self) -> bool:
        """Whether probes are of the database without the run."""
        return self._phase is Phase.BASELINE

    @property
    def starts(self) -> bool:
        """Whether the share rises fast, so that what others feel has to be known soon."""
        return self._starts and self._phase is Phase.RUNNING and not self.nobody and self.share < 1

    @property
    def searches(self) -> bool:
        """Whether it measures without the run, or rises fast: the run's speed says nothing yet."""
        return self.starts or self._phase in (Phase.QUIETING, Phase.BASELINE)

    @property
    def holds(self) -> str:
        """Why nothing may be begun now; "" if something may."""
        if self._is_silent:
            return f"pace: the probe is not answered{self._trouble and ': '}{self._trouble}"
        return "" if self.share else "pace: measuring the database without the run"

    def sentence(self) -> str:
        """Return what the pace is and why, for people; "" before there is one."""
        level = self._level
        if self._phase is not Phase.RUNNING or level is None or not level.probes:
            return ""
        said = f"pace {100 * self.share:.0f} %: "
        if self.nobody:
            return f"{said}{'rising, ' if self.share < 1 else ''}nobody else is at work there"
        if self._trouble:
            return f"{said}the probe is not answered: {self._trouble}"
        alone = in_ms(level.baseline.seconds)
        said += f"probe {in_ms(level.seconds)} of {in_ms(level.allowed)} allowed, {alone} without the run"
        if self.too_low:  # no share would bring it below the limit, so that nothing else says more
            return f"{said}; {self.too_low}"
        if level.used_by_tail(AIM, self.share) > max(level.used, AIM / 2):
            above = f"{100 * level.above(self.share):.0f} % of probes above {in_ms(level.tail)}"
            said += f"; {above} (the limit of the p95), of {100 * TAIL_ALLOWED:.0f} % that may be"
        times = self._foreground.times
        if times is not None and self._limit.times:
            said += f"; statements of others {times:.3g} times"
        return said + (f"; {self._why_above(level)}" if level.seconds > level.allowed else "")

    def figures(self) -> dict[str, Any]:
        """Return the figures, in seconds, for programs; None for what is not known yet."""
        level = self._level
        known = None if level is None or not level.probes else round(level.seconds, 6)
        return {
            "share": round(self.share, 4),
            "probe_seconds": known,
            "baseline_seconds": None if level is None else round(level.baseline.seconds, 6),
            "allowed_seconds": None if level is None else round(level.allowed, 6),
            "nobody_else": self.nobody,
            "held_seconds": round(self.held_seconds, 1),
        }

    def cost(self) -> str:
        """Return what the run has cost others, for its end; "" if that is not known."""
        if not self.alone or not self.beside:
            return ""
        beside, alone = (
            f"{in_ms(quantile(probes, 0.5))} (p95 {in_ms(quantile(probes, 0.95))})"
            for probes in (self.beside, self.alone)
        )
        silent = ""
        if self.silent_seconds >= SAID_SECONDS:
            silent = f", and for {self.silent_seconds:.0f} s because the probe was not answered"
        return (
            f"Pace: the probe took {beside} beside the run, as the median, and {alone} without it; the run was held "
            f"for {self.held_seconds - self.silent_seconds:.0f} s to measure that{silent}.{self._missed()}"
        )

    # -- inside ------------------------------------------------------------------------------------

    @property
    def _enough(self) -> int:
        """How many probes make a baseline."""
        looked = len(self._present) > 1  # fewer looks say nothing of who is there
        if self.nobody and looked:
            return ABSENT_PROBES
        is_first = self._level is None and (any(self._present) or not looked)
        return FIRST_PROBES if is_first else BASELINE_PROBES

    @property
    def _is_silent(self) -> bool:
        """Whether the run is held because the probe is not answered."""
        return self._phase is Phase.STALLED or (self._trouble != "" and self._phase is not Phase.RUNNING)

    def _why_above(self, level: ProbeLevel) -> str:
        """Return what is done where the probe is above the limit."""
        if level.probes < FEWEST_PROBES:  # since the share was changed, or it was measured
            return "a few more probes will tell whether the run has to be slowed"
        if self.share <= LEAST_PACE_SHARE:
            return "the run is at its slowest; soon the database is measured without it"
        came = "somebody else has come to work there, and " if self._look_at < math.inf else ""
        return f"{came}the run is slowed"

    def _missed(self) -> str:
        """Return by how much the limit was missed beside others."""
        if not self.felt:
            return " Nobody else was at work there."
        said = missed(self._limit, self.felt, self.alone)
        return said and f" {said}"

    def _run(self, now: float) -> None:
        level = self._level
        if level is None:  # it runs from the first baseline on
            return
        silent = now - self._heard_at
        due = now - self._stepped_at >= CHANGE_SECONDS
        if silent > STALLED_SECONDS:
            self._enter(Phase.STALLED, now)
        elif silent > UNKNOWN_SECONDS:
            if due:
                self._halve(now, level)
        elif self.nobody:
            if due:
                self._change(now, QUICK_START)
        elif level.alarms:
            self._halve(now, level)
        elif due and level.probes >= FEWEST_PROBES:
            felt = self._foreground.used(self._limit.times)
            self._approach(now, max(level.used, level.used_by_tail(AIM, self.share), felt))
        if self._phase is Phase.RUNNING and now >= self._not_before and self._is_stale(now, level):
            self._next_share = max(FIRST_SHARE, self.share)
            self._enter(Phase.QUIETING, now)

    def _approach(self, now: float, used: float) -> None:
        """Go a step to the share at which the run uses as much of the room as it is to use."""
        self._starts = self._starts and used < SLOW_START_BELOW
        if self._starts:
            self._change(now, SLOW_START)
        else:
            distance = max(-MOST_ABOVE, min(1.0, AIM - used))
            gain = GAIN_DOWN if distance < 0 else GAIN_BACK if self.share < BACK * self._borne else GAIN_UP
            self._change(now, math.exp(gain * distance))

    def _halve(self, now: float, level: ProbeLevel) -> None:
        self._starts = False
        slowest, self._borne = self.share <= LEAST_PACE_SHARE, self.share
        self._change(now, HALF)
        if not slowest:  # else all is as it was
            level.forget(self.share)

    def _change(self, now: float, factor: float) -> None:
        self._stepped_at = now
        if factor > 1 and now - self._fed_at > UNFED_SECONDS:
            return  # that others feel nothing of a run that waits says nothing of one that works
        self.share = min(1.0, max(LEAST_PACE_SHARE, self.share * factor))
        if self.share > LEAST_PACE_SHARE:
            self._at_least_since = None
        elif self._at_least_since is None:
            self._at_least_since = now

    def _is_stale(self, now: float, level: ProbeLevel) -> bool:
        """Return whether the baseline has to be measured again."""
        if now - self._measured_at >= (ABSENT_EVERY_SECONDS if self.nobody else BASELINE_EVERY_SECONDS):
            self._stale_after, self._look_after = STALE_SECONDS, FOREIGN_CHECK_SECONDS
            return True
        if self.nobody:
            return False
        if now >= self._look_at:
            return True
        if self._at_least_since is not None and now - self._at_least_since >= self._stale_after:
            self._stale_after = min(2 * self._stale_after, BASELINE_EVERY_SECONDS)  # it may stay so for long
            return True
        if level.probes < FASTER_PROBES or now - self._measured_at <= STALE_SECONDS:
            return False
        return level.seconds < FASTER * level.baseline.seconds

    def _enter(self, phase: Phase, now: float) -> None:
        self._phase, self._since, self.share = phase, now, 0.0
        self._at_least_since = None
        self._measured.clear()
        self._present.clear()

    def _resume(self, now: float, share: float) -> None:
        if self._level is None:
            self._enter(Phase.QUIETING, now)
            return
        self._starts = self._phase is Phase.BASELINE
        self._enter(Phase.RUNNING, now)
        self._level.begin(share)
        self.share, self._stepped_at = share, now
