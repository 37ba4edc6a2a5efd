"""The throttle: whether the broker may hand out jobs now, and if not, why.

It is asked under the master's lock whenever a slave wants a batch. Three things hold a run back:
its rate (``--rate``, a token bucket), its hooks (``throttle``, ``--hours``, ``--guard``), each of
which has to allow it, and its pace (``--pace``). Jobs that have been handed out run on; nothing is
called back.

Guarantee: in any time, no more jobs are handed out than the rate allows in it, and in one second
more (but at least one). Jobs that a slave gives back without having begun them do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from taskmaster.master.throttle.hooks import HOOK_CALL_PAUSE_SECONDS, Hook
from taskmaster.master.throttle.moves import at_once, batch_seconds, rest_ratio, share_left
from taskmaster.model import BATCH_SECONDS, Want

if TYPE_CHECKING:  # loaded where a pace is given
    from taskmaster.master.throttle.pacing import Pacing

__all__ = ["Throttle", "TokenBucket"]

# Seconds for which jobs that were not handed out are saved up: a slave that asks late gets its
# part.
BURST_SECONDS = 1.0
# Seconds between the polls of two slaves that wait: polls that get nothing cost the master little,
# however many slaves there are.
POLL_SPACING_SECONDS = 0.008
LONGEST_POLL_PAUSE_SECONDS = 8.0  # longest pause after which a waiting slave may ask again
# Seconds' worth of jobs that are worth an exchange: smaller batches cost more calls, larger ones
# are bursts.
WORTHWHILE_SECONDS = 0.1
LIMITING_SECONDS = 10.0  # after a rate has held a slave back, for which it counts as the reason
HOOKS_CLOSING_SECONDS = 0.5  # longest wait at the end of a run for hooks to close what they have open
MOST_GUARDS = 20  # whose values are shown
RANGE_SECONDS = 1.0  # that a range takes at full speed, unless its user has said otherwise
ROUNDING_JOBS = 1e-6  # what floats lose
SOON_FRACTION = 0.25  # of the time between two slaves' polls: a slave that is early by less waits for its turn


class TokenBucket:
    """Jobs that may be handed out, as they trickle in.

    Args:
        rate: Jobs a second, above 0.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate * BURST_SECONDS)
        self._worthwhile = max(1.0, rate * WORTHWHILE_SECONDS)
        self._jobs = 1.0  # a run begins at its rate, not with what it has never saved
        self._out = 0  # handed out of this bucket: what comes back of another one's is not saved up here
        self._at: float | None = None

    def available(self, wanted: int, now: float) -> int:
        """Return how many jobs may be handed out; 0 while they are fewer than a grant to a slave
        that wants ``wanted`` jobs has at least.
        """
        self._fill(now)
        return int(self._jobs + ROUNDING_JOBS) if self._jobs + ROUNDING_JOBS >= self._smallest_grant(wanted) else 0

    def wait_seconds(self, wanted: int, now: float) -> float:
        """Return the seconds until ``available`` is no longer 0."""
        self._fill(now)
        short = self._smallest_grant(wanted) - self._jobs
        return short / self.rate if short > ROUNDING_JOBS else 0.0

    def refill_seconds(self, wanted: int) -> float:
        """Return the seconds in which the smallest grant for ``wanted`` jobs trickles in."""
        return self._smallest_grant(wanted) / self.rate

    def spend(self, jobs: int) -> None:
        """Take jobs out that were handed out; a negative number puts back those that came back."""
        jobs = max(jobs, -self._out)
        self._out += jobs
        self._jobs = min(self._most, self._jobs - jobs)

    def _smallest_grant(self, wanted: int) -> float:
        return max(1.0, min(self._worthwhile, wanted))

    def _fill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._jobs = min(self._most, self._jobs + passed * self.rate)


class Throttle:
    """Decides whether jobs may be handed out. Without arguments, it lets everything pass.

    Args:
        rate: Most jobs a second; None: as many as the slaves can take.
        hooks: Functions and guards that say why to wait.
        clock: Gives monotonic seconds.
        pacing: Finds the share of full speed that a database allows; None: nothing does.
    """

    def __init__(
        self,
        rate: float | None = None,
        hooks: Sequence[Callable[[], Any]] = (),
        clock: Callable[[], float] = time.monotonic,
        pacing: Pacing | None = None,
    ) -> None:
        self._pacing = pacing
        self._working: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._lend: Callable[[float | None], None] = lambda _: None
        self._lent: float | None = None
        self._handed = 0
        self._full = 0  # how often a slave got nothing because as many workers are at work as may be
        self._bucket = None if rate is None else TokenBucket(rate)
        self._hooks = [Hook(hook, clock) for hook in hooks]
        self._threads: list[Hook | Pacing] = [*self._hooks, *([] if pacing is None else [pacing])]
        self._limited_at: float | None = None
        self._next_poll = 0.0  # when the last slave asks of those that were told to ask again
        self._promised = 0.0  # when a slave that was early asks again: others keep to their turns until then
        self._because = "" if rate is None else f"--rate {rate:g} a second"

    def set_rate(self, rate: float | None, because: str) -> None:
        """Let at most ``rate`` jobs a second be handed out, and none of what was saved up.

        Args:
            rate: Jobs a second; None: as many as the slaves can take.
            because: The reason that is shown while the rate limits the run.
        """
        self._bucket = None if rate is None else TokenBucket(rate)
        self._because, self._limited_at, self._next_poll = because, None, 0.0
        self._promised = 0.0

    @property
    def rate(self) -> float | None:
        """Jobs a second that may be handed out at most; None: as many as the slaves can take."""
        bucket = self._bucket  # once: an operator may take the rate away in between
        return None if bucket is None else bucket.rate

    def guards(self) -> list[dict[str, Any]]:
        """Return the guards with a number: its name, value (None: not known) and limit."""
        return [figure for hook in self._hooks if (figure := hook.figure()) is not None][:MOST_GUARDS]

    def start(self) -> None:
        """Ask the hooks, and probe, from now on."""
        for part in self._threads:
            part.start()

    def stop(self) -> None:
        """Ask and probe no more. A hook or probe that hangs is left alone."""
        for part in self._threads:
            part.stop()
        deadline = time.monotonic() + HOOKS_CLOSING_SECONDS
        for part in self._threads:
            part.join(max(0.0, deadline - time.monotonic()))

    def why(self, now: float) -> str:
        """Return what the hooks and the pace wait for; "" if they let the run go on."""
        if not self._threads:
            return ""
        paced = "" if self._pacing is None else self._pacing.why()
        return "; ".join(filter(None, (paced, *(hook.why(now) for hook in self._hooks))))

    def watch(self, working: Callable[[], tuple[int, int]], lend: Callable[[float | None], None]) -> None:
        """Let what moves the run know of it.

        Args:
            working: Gives how many batches are in the hands of slaves, and how many workers those
                have that are given jobs.
            lend: Is told how many seconds the source's next jobs should take; None: as many as the
                source itself is set to.
        """
        self._working, self._lend = working, lend
        if self._pacing is not None:
            # Ranges are made before the first share is found, and those would be as long as ever.
            self._lent = batch_seconds(0.0, RANGE_SECONDS)
            lend(self._lent)
            self._pacing.watch(lambda: working()[0] > 0, lambda: self._left()[0], lambda: self._handed + self._full)

    @property
    def share(self) -> float:
        """The share of full speed that the pace and the guards leave to the run."""
        left = self._left()[0]
        return left if self._pacing is None else min(left, self._pacing.share)

    @property
    def rest(self) -> float:
        """How long workers rest after a batch, in multiples of its time."""
        return rest_ratio(self.share) if self._threads else 0.0

    def cost(self) -> list[str]:
        """Return what the run has cost others, for its end; nothing if nobody has measured it."""
        return [] if self._pacing is None or not (said := self._pacing.cost()) else [said]

    def _left(self) -> tuple[float, str]:
        """Return the share of full speed that the guards leave, and which one leaves least."""
        found = [(share_left(used), hook.name) for hook in self._hooks if (used := hook.utilisation) is not None]
        return min(found, default=(1.0, ""))

    def limiting(self, now: float) -> str:
        """Return that the rate holds the run back, for the progress line; "" if it does not."""
        held = self._limited_at is not None and now - self._limited_at < LIMITING_SECONDS
        return f"held at {self._because}" if held else ""

    def slowing(self) -> str:
        """Return how the pace stands, and which guard slows the run; "" if there is neither."""
        left, name = self._left()
        paced = "" if self._pacing is None else self._pacing.sentence()
        slowed = f"slowed to {100 * left:.0f} %: {name} is near its limit" if left < 1 else ""
        return "; ".join(filter(None, (paced, slowed)))

    @property
    def slows(self) -> bool:
        """Whether workers rest for the pace, or for a guard."""
        return self.rest > 0

    @property
    def searches(self) -> bool:
        """Whether the pace still looks for the speed that the run may have."""
        return self._pacing is not None and self._pacing.searches

    def pace(self) -> dict[str, Any] | None:
        """Return the figures of the pace, for programs; None if there is none."""
        return None if self._pacing is None else self._pacing.figures()

    def allow(self, want: Want, now: float) -> Want | None:
        """Return what a slave may be given of what it wants; None: nothing now."""
        if not self._threads and self._bucket is None:
            return want  # asked for each batch
        if self.why(now):
            return None
        if self._enough_work():
            # One job may take hours. If the share could not rise meanwhile, the others would wait
            # for it, also where nobody feels anything of the run any more.
            self._full += 1
            return None
        if self._threads:
            want = self._in_time(want)
        if self._bucket is None:
            return want
        jobs = self._bucket.available(want.jobs, now)
        if jobs < want.jobs:
            self._limited_at = now
        if jobs == 0:
            return None
        return want if jobs >= want.jobs else want._replace(jobs=jobs, reason=self._because)

    def poll_pause(self, want: Want, now: float, turn: float = 0.0) -> float:
        """Return the seconds after which a slave that got nothing asks again; 0.0 if it is not the
        throttle that it waits for.

        Slaves that wait are told to ask one after the other. If all asked at once, one would get
        the jobs for which all of them came. A slave that asks before its turn, because it has had
        something to report, keeps it: two turns of one slave are one in which nobody gets anything.

        Args:
            want: What it wants.
            now: Monotonic seconds.
            turn: When it was to ask again by what it was told last.
        """
        wait, spacing = HOOK_CALL_PAUSE_SECONDS, POLL_SPACING_SECONDS
        if not self.why(now) and self._enough_work():
            wait = batch_seconds(self.share, BATCH_SECONDS) / 2
        elif not self.why(now):
            if self._bucket is None:
                return 0.0
            wait = self._bucket.wait_seconds(want.jobs, now)
            if not wait:
                return 0.0
            spacing = max(POLL_SPACING_SECONDS, self._bucket.refill_seconds(want.jobs * want.batches))
            if wait < SOON_FRACTION * spacing and now >= self._promised:
                # It has come in its turn, but the one before it was late: a whole turn of nothing
                # would make the run a third slower than a rate of one job in two seconds.
                self._promised = now + wait
                return wait
        if now < turn <= self._next_poll:
            return turn - now
        self._next_poll = min(now + LONGEST_POLL_PAUSE_SECONDS, max(now + wait, self._next_poll + spacing))
        return self._next_poll - now

    def _enough_work(self) -> bool:
        """Return whether as many workers are at work as may be at once."""
        if not self._threads:
            return False
        batches, workers = self._working()
        return batches >= at_once(self.share, workers)

    def _in_time(self, want: Want) -> Want:
        """Return a wish for batches as short as a slow run has them, and tell the source."""
        share = self.share
        part = batch_seconds(share, BATCH_SECONDS) / BATCH_SECONDS
        lent = None if part >= 1 else batch_seconds(share, RANGE_SECONDS)
        if lent != self._lent:
            self._lent = lent
            self._lend(lent)
        if part >= 1:
            return want
        return want._replace(jobs=max(1, int(part * want.jobs)), reason="short ones spare others")

    def spend(self, jobs: int) -> None:
        """Count jobs that were handed out; a negative number: jobs that came back and had not been
        begun.
        """
        self._handed += jobs
        if self._bucket is not None:
            self._bucket.spend(jobs)
