"""The throttle: may the broker hand out jobs now, and if not, why.

Asked by ``taskmaster.master.service``, under the master's lock, whenever a slave wants a batch. Two
things hold a run back: its rate (``--rate``, a token bucket, pure) and its hooks (``throttle``,
``--guard``), of which every one has to allow it. What is running runs on; nothing is called back.

Guarantee: in any stretch of time no more jobs are handed out than ``rate`` times its seconds, and
what a second allows (or one job); what a slave gives back without having begun it does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster.master.throttle.hooks import EVERY, Hook
from taskmaster.model import Want

__all__ = ["Bucket", "Throttle"]

BURST = 1.0  # seconds for which what was not handed out is saved up: a slave that asks late still gets its share
TURN = 0.008  # seconds between two slaves that wait: what they ask in vain costs the master little, however many
LAST_TURN = 8.0  # seconds after which each of them may ask again
# Seconds' worth of jobs that is worth an exchange: smaller batches cost more calls, larger ones are
# bursts.
PORTION = 0.1
LIMITING = 10.0  # seconds after which a rate that no slave has met is not called the reason any more
CLOSING = 0.5  # seconds that the end of a run waits for hooks to close what they have open
CRUMB = 1e-6  # of a job: what floats lose


class Bucket:
    """Jobs that may be handed out, as they trickle in. Pure.

    Args:
        rate: jobs a second, above 0.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate * BURST)
        self._portion = max(1.0, rate * PORTION)
        self._jobs = 1.0  # a run begins at its rate, not with what it has never saved
        self._at: float | None = None

    def ready(self, wanted: int, now: float) -> int:
        """How many jobs may be handed out; 0 while they are fewer than are worth it, for one who
        wants so many.
        """
        self._fill(now)
        return int(self._jobs + CRUMB) if self._jobs + CRUMB >= self._least(wanted) else 0

    def wait(self, wanted: int, now: float) -> float:
        """Seconds until there are jobs for one who wants so many."""
        self._fill(now)
        short = self._least(wanted) - self._jobs
        return short / self.rate if short > CRUMB else 0.0

    def takes(self, wanted: int) -> float:
        """Seconds in which there will be as many jobs as one gets at least who wants so many."""
        return self._least(wanted) / self.rate

    def spend(self, jobs: int) -> None:
        """So many were handed out, or come back unused if the number is negative."""
        self._jobs = min(self._most, self._jobs - jobs)

    def _least(self, wanted: int) -> float:
        return max(1.0, min(self._portion, wanted))

    def _fill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._jobs = min(self._most, self._jobs + passed * self.rate)


class Throttle:
    """See the module. Without arguments, it lets everything pass.

    Args:
        rate: most jobs a second; None: as many as the slaves can take.
        hooks: functions and guards that say why to wait.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rate: float | None = None,
        hooks: Sequence[Callable[[], Any]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = None if rate is None else Bucket(rate)
        self._hooks = [Hook(hook, clock) for hook in hooks]
        self._limited_at: float | None = None
        self._turn = 0.0  # when the last one of those asks who were told to ask again
        self._because = "" if rate is None else f"--rate {rate:g} a second"

    def start(self) -> None:
        """Ask the hooks from now on."""
        for hook in self._hooks:
            hook.start()

    def stop(self) -> None:
        """Ask them no more. One that hangs is left alone."""
        for hook in self._hooks:
            hook.stop()
        deadline = time.monotonic() + CLOSING
        for hook in self._hooks:
            hook.join(max(0.0, deadline - time.monotonic()))

    def why(self, now: float) -> str:
        """What the hooks wait for, as a sentence; "" if they let the run go on."""
        return "; ".join(filter(None, (hook.why(now) for hook in self._hooks)))

    def limiting(self, now: float) -> str:
        """What is to be said of the rate while it is what holds the run back; else ""."""
        held = self._limited_at is not None and now - self._limited_at < LIMITING
        return f"held at {self._because}" if held else ""

    def allow(self, want: Want, now: float) -> Want | None:
        """What of a slave's wish may be granted now; None: nothing."""
        if self.why(now):
            return None
        if self._bucket is None:
            return want
        jobs = self._bucket.ready(want.jobs, now)
        if jobs < want.jobs:
            self._limited_at = now
        if jobs == 0:
            return None
        return want if jobs >= want.jobs else want._replace(jobs=jobs, reason=self._because)

    def turn(self, want: Want, now: float) -> float:
        """Seconds after which a slave that got nothing asks again; 0 if the throttle is not what it
        waits for.

        Those that wait are told to come one after the other, or one would find what all of them
        come for.
        """
        wait, gap = EVERY, TURN
        if not self.why(now):
            if self._bucket is None:
                return 0.0
            wait = self._bucket.wait(want.jobs, now)
            if not wait:
                return 0.0
            gap = max(TURN, self._bucket.takes(want.jobs * want.batches))
        self._turn = min(now + LAST_TURN, max(now + wait, self._turn + gap))
        return self._turn - now

    def spend(self, jobs: int) -> None:
        """So many jobs were handed out; a negative number of them came back and had not been
        begun.
        """
        if self._bucket is not None:
            self._bucket.spend(jobs)
