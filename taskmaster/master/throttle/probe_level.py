"""Where the probes of ``--pace`` lie beside a run, compared with those without it. Pure.

Three figures, because a run hurts others in three ways: the *level* (all statements take longer),
the *tail* (a few take much longer, while most meet nothing of the run), and the *alarm* (things
have just become bad). The alarm is a sum of how far probes lie above the limit (CUSUM; E. S. Page,
"Continuous Inspection Schemes", Biometrika 41, 1954): it grows within two or three probes when
things get bad, and stays near nothing as long as they are well, however the single probe scatters.
A second sum of the kind is of the tail: it alarms when four times as many probes as may be are in
it, within ten to thirty probes.

It takes a hundred probes or two to know how many are in the tail, in which the share of the run
changes. Half as fast, a run is met half as often: so what is known is how many probes were in the
tail for each share, and what that says of the share of now. A run that rises is seen to come to its
limit before it is there, and one that has been slowed is not slowed further for what was before.

Probes are compared by their logarithms, because a database's times are multiplied and not added by
what slows it. A single one that is far out counts for no more than some deviations in the level.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median

from taskmaster.guards.pace import PaceLimit
from taskmaster.records import record

__all__ = ["Baseline", "ProbeLevel", "quantile"]

LEVEL_PROBES = 20  # whose mean the level is, about
TAIL_PROBES = 150  # of which the tail's share is, about
TAIL_QUANTILE = 0.95  # of the probes without the run: what the tail is compared with
TAIL_ALLOWED = 0.05  # fraction of probes that may be in the tail
TAIL_AIM = 0.035  # that is aimed at: what others do has more statements than a probe, and meets more of the run
TAIL_BAD = 0.2  # fraction of probes in the tail that is to be noticed soon
TAIL_ALARM = 4.0  # at which it alarms: after some three minutes by mere chance, while the aim is kept
SUPPOSED_PROBES = 20  # what is supposed of the tail before it is measured counts as much as this many probes
SUPPOSED_TAIL = 0.0125  # the supposed part of the probes in the tail, at the share with which a run begins
ALARM = 6.0  # deviations above the limit, summed, at which it alarms
SLACK = 0.5  # deviations by which a probe has to be above the limit to count
MOST_DEVIATIONS = 3.0  # that one probe counts for
LEAST_DEVIATION = 0.05  # of a logarithm: a probe of the utmost regularity must not make chance an alarm
LEAST_SECONDS = 1e-9
LIKELY_ERRORS = 2.0  # standard errors by which two baselines differ by chance
MOST_EARLIER = 300  # probes of earlier baselines that count in the next one


def quantile(numbers: Iterable[float], part: float) -> float:
    """Return the number below or at which a part of the numbers is; nan if there is none."""
    found = sorted(numbers)
    return found[min(len(found) - 1, int(part * len(found)))] if found else math.nan


@record()
class Baseline:
    """What the probe takes without the run.

    Attributes:
        mean: The mean of the logarithms of the seconds.
        deviation: The deviation of the logarithms.
        tail: Seconds within which nineteen of twenty probes are.
        probes: How many probes it is made of.
    """

    mean: float
    deviation: float
    tail: float
    probes: int

    @classmethod
    def of(cls, probes: Sequence[float]) -> Baseline:
        """Return the baseline that probes make; one that is far out counts for less."""
        logarithms = [math.log(max(seconds, LEAST_SECONDS)) for seconds in probes]
        middle = median(logarithms)
        deviation = max(LEAST_DEVIATION, 1.4826 * median(abs(one - middle) for one in logarithms))
        most = (MOST_DEVIATIONS + 1) * deviation
        mean = fmean(min(middle + most, max(middle - most, one)) for one in logarithms)
        return cls(mean, deviation, quantile(probes, TAIL_QUANTILE), len(probes))

    def after(self, earlier: Baseline) -> Baseline:
        """Return what this one and an earlier one say together, if they differ by no more than
        chance; else this one.
        """
        error = self.deviation * math.sqrt(1 / self.probes + 1 / earlier.probes)
        if abs(self.mean - earlier.mean) > LIKELY_ERRORS * error:
            return self
        known = min(earlier.probes, MOST_EARLIER)
        new = self.probes / (self.probes + known)
        mean, deviation, tail = (
            new * now + (1 - new) * before
            for now, before in (
                (self.mean, earlier.mean), (self.deviation, earlier.deviation), (self.tail, earlier.tail),
            )
        )  # fmt: skip
        return Baseline(mean, deviation, tail, self.probes + known)

    @property
    def seconds(self) -> float:
        """What a probe takes, about."""
        return math.exp(self.mean)


class ProbeLevel:
    """Compares probes during a run with those without it.

    Args:
        baseline: What the probe takes without the run.
        limit: What it may take beside it.

    Attributes:
        probes: How many were added since it was made or forgot.
        tail: Seconds that nineteen of twenty probes may take.
    """

    def __init__(self, baseline: Baseline, limit: PaceLimit) -> None:
        self.baseline = baseline
        self.allowed = limit.allowed(baseline.seconds)
        self.tail = limit.allowed(baseline.tail)
        self.probes = 0
        self._mean = baseline.mean
        self._limit = math.log(max(self.allowed, LEAST_SECONDS))
        self._alarm = self._tail_alarm = 0.0
        self._inside = self._shares = 0.0  # sums: of the probes that were in the tail, and of the shares

    @property
    def seconds(self) -> float:
        """What a probe takes now, about."""
        return math.exp(self._mean)

    @property
    def alarms(self) -> bool:
        """Whether probes are above the limit, or too many in the tail, and not by chance."""
        return self._alarm > ALARM or self._tail_alarm > TAIL_ALARM

    @property
    def used(self) -> float:
        """How much of the room between the baseline and the limit the level uses; 1 is all."""
        alone = self.baseline.seconds
        if self.allowed <= alone:  # too slow without the run, too
            return 0.0 if self.seconds < alone / 2 else 2.0
        return (self.seconds - alone) / (self.allowed - alone)

    def above(self, share: float) -> float:
        """Return which part of the probes is in the tail while the run has a share."""
        return min(1.0, share * self._inside / self._shares) if self._shares else 0.0

    def used_by_tail(self, aim: float, share: float) -> float:
        """Return how much of the room is used by the tail, where ``aim`` of it may be."""
        # A level that is near the limit has some of its probes in the tail by itself.
        deviations = (math.log(max(self.tail, LEAST_SECONDS)) - self._mean) / self.baseline.deviation
        by_level = math.erfc(deviations / math.sqrt(2)) / 2
        return aim * max(0.0, self.above(share) - by_level) / TAIL_AIM

    def add(self, seconds: float, share: float) -> None:
        """Note a probe beside the run, which had a share of full speed."""
        self.probes += 1
        self._add_to_tail(seconds > self.tail, share)
        logarithm = math.log(max(seconds, LEAST_SECONDS))
        deviation = self.baseline.deviation
        self._alarm = max(0.0, self._alarm + min(MOST_DEVIATIONS, (logarithm - self._limit) / deviation) - SLACK)
        most = (MOST_DEVIATIONS + 1) * deviation
        if self.probes > 3:
            logarithm = min(self._mean + most, max(self._mean - most, logarithm))
        self._mean += (logarithm - self._mean) * max(1 / LEVEL_PROBES, 1 / self.probes)

    def _add_to_tail(self, is_inside: bool, share: float) -> None:
        kept = 1 - 1 / TAIL_PROBES
        self._inside = kept * self._inside + is_inside
        self._shares = kept * self._shares + share
        # The logarithm of how much likelier the probe is where the tail is bad.
        likelier = TAIL_BAD / TAIL_ALLOWED if is_inside else (1 - TAIL_BAD) / (1 - TAIL_ALLOWED)
        self._tail_alarm = max(0.0, self._tail_alarm + math.log(likelier))

    def begin(self, share: float) -> None:
        """Begin with a share of which nothing is known."""
        self.probes, self._alarm, self._tail_alarm = 0, 0.0, 0.0
        self._inside, self._shares = SUPPOSED_TAIL * SUPPOSED_PROBES, share * SUPPOSED_PROBES

    def forget(self, share: float) -> None:
        """Begin anew with a share, after a change that makes what was before untrue."""
        tail = max(SUPPOSED_TAIL, min(TAIL_AIM, self.above(share)))
        self.begin(share)
        self._inside = tail * SUPPOSED_PROBES
